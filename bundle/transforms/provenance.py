"""What a result's provenance tells: how it was made, and of what; see `bundle.images.provenance`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bundle.images import Opened
from bundle.images.provenance import Own, write_provenance
from bundle.runtime import Job, noted
from bundle.runtime.resolver import calling_config
from monai.bundle import ConfigParser

KERNEL_KEYS = ("source_kernel", "target_kernel")
#: Keys that name files, which may be named after patients, or say what else is told by a hash.
UNTOLD = ("_meta_", "bundle_root", "dataset_dir", "output_dir", "weights", "series_uid", *KERNEL_KEYS)


class Provenance:
    """Write the provenance of results.

    Args:
        job: weights and settings.
        device: that the networks run on.
        seed: of the noise and of whatever else is drawn.
        defaults: the config file whose keys are the defaults; settings of the calling config that differ are told.
    """

    def __init__(self, job: Job, device: Any = "cpu", seed: int = 0, defaults: str | Path | None = None) -> None:
        self.job, self.device, self.seed = job, str(device), seed
        config = calling_config() or {} if defaults else {}
        before = parsed(defaults) if defaults else {}
        self.settings = {key: value for key, value in differing(config, before).items() if key not in UNTOLD}

    def __call__(self, result: Path, source: Opened, replaced: Own | None, whole: Path) -> None:
        """Write it for a result that is whole, but has not got its name yet.

        Args:
            result: the name that it will have.
            source: the image that it was made from.
            replaced: the result of this bundle that has the name until then; nothing if there is none.
            whole: where the result lies now.
        """
        made = {
            "weights": {"sha256": self.job.weights_hash},
            "job": self.job.key(),
            "device": self.device,
            "seed": self.seed,
            "settings": self.settings,
        }
        write_provenance(result, whole, source.path, source.files, {**made, **noted()}, replaced)


def parsed(path: str | Path) -> dict[str, Any]:
    """Return a config file as a parser hands it on: with its macros replaced, and nothing evaluated."""
    parser = ConfigParser(ConfigParser.load_config_file(path))
    parser.parse()
    return parser.get()


def differing(config: Mapping[str, Any], defaults: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """Return the entries of a config that differ from the defaults, as ``a#b``: as they are written, not evaluated."""
    found: dict[str, Any] = {}
    for key, value in config.items():
        default = defaults.get(key)
        if isinstance(value, Mapping) and isinstance(default, Mapping):
            found |= differing(value, default, f"{before}{key}#")
        elif value != default:
            found[before + key] = value
    return found
