"""Hash the settings of a config that results depend on: all but those that are known to be harmless.

A new key, or one of an overlay, counts unless it is listed here, so that no result is taken for that of other settings.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from bundle.runtime.resolver import calling_config

#: Keys that change no result.
HARMLESS = {
    # where images and results are, and which files are written
    *("bundle_root", "dataset_dir", "source_path", "recursive", "output_dir", "result_path", "output_postfix"),
    *("output_ext", "overwrite", "skip_existing", "provenance", "summary", "plan_file", "num_samples"),
    # what is written beside a result, also of one that exists
    *("densitometry", "report"),
    # which images are refused
    *("isolated", "check_input", "check"),
    # how they are computed: with other tiles, results differ by rounding; images are translated without noise, and a
    # generated one is named by its own seed
    *("device", "streaming", "tile_size", "memory_budget", "seed", "rank", "world_size", "backend"),
    # what `bundle.runtime.Job` hashes itself, or as resolved; of files, their contents (`KernelChoice.settings`)
    *("weights", "amp", "job", "source_kernel", "target_kernel", "kernel_choice"),
    # the steps of a run
    *("_meta_", "imports", "found", "results", "planned", "data", "dataset", "dataloader", "checking", "initialize"),
    *("inference", "finalize", "run", "plan", "planning", "inspection", "inspecting", "generating"),
}


def config_hash() -> str:
    """Return a hash of the calling config as written, without the keys in `HARMLESS`."""
    return hashlib.sha256(
        json.dumps(_counted(calling_config() or {}), sort_keys=True, default=str).encode()
    ).hexdigest()


def _counted(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that count, also of those that programs display; 1 and 1.0 are alike."""
    counted = {key: _number(value) for key, value in config.items() if key not in HARMLESS}
    if isinstance(shown := config.get("displayable_configs"), Mapping):
        counted["displayable_configs"] = _counted(shown)
    return counted


def _number(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _number(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_number(each) for each in value]
    return float(value) if type(value) is int else value
