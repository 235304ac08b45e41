"""Record in a result's provenance how it was made and from what; see `bundle.images.provenance`."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from bundle.images import Opened
from bundle.images.provenance import Own, write_provenance
from bundle.runtime import Job, noted
from bundle.runtime.resolver import calling_config
from monai.bundle import ConfigParser

KERNEL_KEYS = ("source_kernel", "target_kernel")
#: Keys that are left out, in any block: they name places, which may be named after patients, or a hash is recorded.
UNTOLD = {
    *("_meta_", "imports", "bundle_root", "dataset_dir", "source_path", "output_dir", "result_path", "plan_file"),
    *("weights", "load_path", "catalogue", *KERNEL_KEYS, "series_uid", "found", "data", "images"),
    *("path", "folder", "root", "defaults", "value"),
}
#: In an expression, a text within quotes that has a separator may be a path.
SEPARATOR, QUOTED = re.compile(r"[/\\]"), re.compile(r"'[^']*'|\"[^\"]*\"")


class Provenance:
    """Write the provenance of results.

    Args:
        job: weights and settings.
        device: device that the networks run on.
        seed: seed of the noise and of all other random numbers.
        defaults: config file with the default values; settings of the calling config that differ are recorded, except
            those that are or may be paths (`is_told`).
    """

    def __init__(self, job: Job, device: Any = "cpu", seed: int = 0, defaults: str | Path | None = None) -> None:
        self.job, self.device, self.seed = job, str(device), seed
        config = calling_config() or {} if defaults else {}
        before = parsed(defaults) if defaults else {}
        known = set(_names(before))
        self.settings = {key: value for key, value in differing(config, before).items() if is_told(key, value, known)}

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


def is_told(key: str, value: Any, known: Collection[str] = ()) -> bool:
    """Return whether a setting is recorded; that depends on its key and not on the files that happen to exist.

    What is below a key of `UNTOLD` is not recorded. A text is recorded if the default config has its key, in any block,
    since it is no path then; that of another key may be one. An expression is recorded if no path is within its quotes.

    Args:
        key: the key, such as ``kernel_choice#catalogue``.
        value: its value as written.
        known: the names of the keys of the default config whose value is no block.
    """
    if isinstance(value, Mapping):
        return all(is_told(f"{key}#{name}", each, known) for name, each in value.items())
    if isinstance(value, (list, tuple)):
        return all(is_told(key, each, known) for each in value)
    *_, name = names = key.split("#")
    if UNTOLD & set(names) or isinstance(value, Path):
        return False
    if not isinstance(value, str) or value.startswith("@"):
        return True
    if value.startswith("$"):
        return not any(SEPARATOR.search(text) for text in QUOTED.findall(value))
    return name in known


def _names(config: Any) -> Iterator[str]:
    """Yield the names of the keys of a config whose value is no block, in any block."""
    if isinstance(config, Mapping):
        yield from (key.split("#")[-1] for key, value in config.items() if not isinstance(value, Mapping))
    for value in config.values() if isinstance(config, Mapping) else config if isinstance(config, list) else ():
        yield from _names(value)


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
