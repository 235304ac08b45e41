"""Write the settings of a training next to its weights."""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import bundle
import monai
import torch
from bundle.runtime.files import atomic
from bundle.runtime.resolver import calling_config, calling_resolver
from ignite import distributed
from monai.bundle.reference_resolver import ReferenceResolver

#: Marks values that are not plain data, such as a network or a function.
OTHER = object()
#: Settings that may change while a training is interrupted: how long it lasts, and where and how it runs.
FREE = {
    *("max_epochs", "max_minutes", "val_interval", "progress", "resume", "displayable_configs"),
    *("bundle_root", "output_dir", "weights", "update_weights", "device"),
}


def record_settings(path: str | Path, **more: Any) -> None:
    """Write the resolved settings of the calling config, including overrides.

    Every key with a plain value is written: a number, string, boolean, null, or a list of these. A new key is therefore
    never forgotten. Disabled blocks are left out. In distributed training only the process of rank 0 writes.

    Args:
        path: a ``.json`` file; its folder is created if missing.
        more: further entries.

    Raises:
        RuntimeError: If the function is not called from a MONAI config.
    """
    resolver = calling_resolver()
    if resolver is None:
        raise RuntimeError(
            "record_settings is not called from a MONAI config; write_record writes settings that are given."
        )
    settings = {**settings_of(resolver), **more}
    if distributed.get_rank() == 0:
        write_record(path, settings, finished=False)


def warn_of_changes(path: str | Path) -> None:
    """Warn of the settings of the calling config that differ from the record of the training that it resumes.

    What only follows from other settings is left out, as are those in `FREE`.

    Args:
        path: the record; without one nothing is compared.
    """
    path, resolver = Path(path), calling_resolver()
    if resolver is None or not path.is_file():
        return
    before = dict(_flat(json.loads(path.read_text(encoding="utf-8"))["settings"]))
    now = json.loads(json.dumps(settings_of(resolver), default=str))
    written, changed = dict(_flat(calling_config() or {})), []
    for key, value in _flat(now):
        follows = "#" in key and str(written.get(key))[:1] in ("$", "@")
        if key in before and not _same(before[key], value) and key.split("#")[0] not in FREE and not follows:
            changed.append(f"{key} was {before[key]!r} and is {value!r}")
    if changed:
        print(
            f"warning: the training of {str(path)!r} goes on with other settings, and its record will hold only the "
            f"new ones: {'; '.join(changed)}. Take the same ones, or start anew by --resume False.",
            file=sys.stderr,
        )


def _same(one: Any, other: Any) -> bool:
    """Return whether two values are equal, or one path in two spellings."""
    texts = isinstance(one, str) and isinstance(other, str)
    return one == other or (texts and os.path.realpath(one) == os.path.realpath(other))


def _flat(settings: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the settings by keys such as ``losses#weight``."""
    for key, value in settings.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{before}{key}#")
        else:
            yield before + key, value


def mark_finished(path: str | Path) -> None:
    """Mark a training as finished in its record; without a record nothing is written."""
    path = Path(path)
    if path.is_file():
        _write(path, {**json.loads(path.read_text(encoding="utf-8")), "finished": True})


def write_record(path: str | Path, settings: Mapping[str, Any], **more: Any) -> None:
    """Write settings and software versions as JSON.

    Args:
        path: a ``.json`` file; its folder is created if missing.
        settings: names and values; values that JSON cannot represent are written as strings.
        more: further entries beside the settings.
    """
    versions = {
        "bundle": bundle.__version__,
        "monai": monai.__version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
    }
    _write(Path(path), {"settings": dict(settings), "versions": versions, **more})


def _write(path: Path, record: Mapping[str, Any]) -> None:
    """Write a record atomically."""
    text = json.dumps(record, indent=4, default=str)
    with atomic(path) as part:
        part.write_text(text + "\n", encoding="utf-8")


def settings_of(resolver: ReferenceResolver) -> dict[str, Any]:
    """Return the settings of a parsed config, nested as in the config.

    Args:
        resolver: the ``ref_resolver`` of a `ConfigParser` whose config is parsed.
    """
    root = resolver.get_item("")
    found = _settings(resolver, "", {} if root is None else root.get_config())
    return found if isinstance(found, dict) else {}


def _settings(resolver: ReferenceResolver, name: str, config: Any) -> Any:
    """Return the settings at an id of the config and below it."""
    if not isinstance(config, dict):
        value = _value(resolver, name, config)
        return value if _plain(value) and not isinstance(value, dict) else OTHER
    if _value(resolver, f"{name}::_disabled_", config.get("_disabled_")) is True:
        return OTHER
    below = {key: _settings(resolver, f"{name}::{key}".removeprefix("::"), value) for key, value in config.items()}
    return {key: value for key, value in below.items() if value is not OTHER and not key.startswith("_")} or OTHER


def _value(resolver: ReferenceResolver, name: str, config: Any) -> Any:
    """Return the value at an id, or `OTHER` if that would instantiate a component or run a list of expressions."""
    if name in resolver.resolved_content:
        value = resolver.resolved_content[name]
        return str(value) if isinstance(value, (torch.device, Path)) else value
    if isinstance(config, dict):
        values = {key: _value(resolver, f"{name}::{key}", value) for key, value in config.items()}
        return OTHER if "_target_" in config else values
    if isinstance(config, str) and config[:1] in ("$", "@"):
        names = ReferenceResolver.match_refs_pattern(config)
        items = {other: resolver.get_item(other) for other in names}
        known = all(item and _plain(_value(resolver, other, item.get_config())) for other, item in items.items())
        return resolver.get_resolved_content(name) if names and known else OTHER
    return config


def _plain(value: Any) -> bool:
    """Return whether a value is plain data, without expressions."""
    if isinstance(value, dict):
        return all(map(_plain, value.values()))
    if isinstance(value, (list, tuple)):
        return all(map(_plain, value))
    if isinstance(value, str):
        return value[:1] not in ("$", "@")
    return value is None or isinstance(value, (bool, int, float))
