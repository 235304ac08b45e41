"""Record in a result's provenance how it was made and from what; see `bundle.images.provenance`."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bundle.images import Opened
from bundle.images.provenance import Own, write_provenance
from bundle.runtime import Job, noted
from bundle.runtime.resolver import calling_config
from monai.bundle import ConfigParser

KERNEL_KEYS = ("source_kernel", "target_kernel")
#: Keys that are left out, in any block: their files may be named after patients, or a hash is recorded instead.
UNTOLD = {"_meta_", "bundle_root", "dataset_dir", "output_dir", "weights", "series_uid", "catalogue", *KERNEL_KEYS}
#: What makes a text a path; in an expression, only the texts within quotes may be paths.
SEPARATOR, QUOTED = re.compile(r"[/\\]"), re.compile(r"'[^']*'|\"[^\"]*\"")


class Provenance:
    """Write the provenance of results.

    Args:
        job: weights and settings.
        device: device that the networks run on.
        seed: seed of the noise and of all other random numbers.
        defaults: config file with the default values; settings of the calling config that differ are recorded, except
            those with the path of a file.
    """

    def __init__(self, job: Job, device: Any = "cpu", seed: int = 0, defaults: str | Path | None = None) -> None:
        self.job, self.device, self.seed = job, str(device), seed
        config = calling_config() or {} if defaults else {}
        before = parsed(defaults) if defaults else {}
        self.settings = {key: value for key, value in differing(config, before).items() if is_told(key, value)}

    def __call__(self, result: Path, source: Opened, replaced: Own | None, whole: Path) -> None:
        """Write the provenance of a result that is complete but does not have its final name yet.

        Args:
            result: final path of the result.
            source: the image that it was made from.
            replaced: the earlier result of this bundle at that path; None if there is none.
            whole: current path of the result.
        """
        made = {
            "weights": {"sha256": self.job.weights_hash},
            "job": self.job.key(),
            "device": self.device,
            "seed": self.seed,
            "settings": self.settings,
        }
        write_provenance(result, whole, source.path, source.files, {**made, **noted()}, replaced)


def is_told(key: str, value: Any) -> bool:
    """Return whether a setting is recorded: its key is none of `UNTOLD`, and no path is in its value."""
    if isinstance(value, Mapping):
        return all(is_told(f"{key}#{name}", each) for name, each in value.items())
    if isinstance(value, (list, tuple)):
        return all(is_told(key, each) for each in value)
    return not UNTOLD & set(key.split("#")) and not _is_path(value)


def _is_path(value: Any) -> bool:
    if not isinstance(value, str):
        return isinstance(value, Path)
    if value.startswith("$"):
        return any(SEPARATOR.search(text) for text in QUOTED.findall(value))
    return bool(SEPARATOR.search(value)) or os.path.exists(value)  # noqa: PTH110  Path raises if it is too long


def parsed(path: str | Path) -> dict[str, Any]:
    """Parse a config file: macros are replaced, but nothing is evaluated."""
    parser = ConfigParser(ConfigParser.load_config_file(path))
    parser.parse()
    return parser.get()


def differing(config: Mapping[str, Any], defaults: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """Return the entries of a config that differ from the defaults, by keys such as ``a#b``, without evaluation."""
    found: dict[str, Any] = {}
    for key, value in config.items():
        default = defaults.get(key)
        if isinstance(value, Mapping) and isinstance(default, Mapping):
            found |= differing(value, default, f"{before}{key}#")
        elif value != default:
            found[before + key] = value
    return found
