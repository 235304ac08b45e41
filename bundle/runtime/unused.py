"""Find top-level keys of a config that nothing uses, such as misspelt ones of an overlay."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from bundle.runtime.literal import is_code

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
#: A reference to a key, or to a part of it: of MONAI's kind, also a relative one, or by its name in quotes within an
#: expression.
REFERENCE, QUOTED = re.compile(r"[@%](?:#|::)*(\w+)"), re.compile(r"['\"](\w+)['\"]")


def unused(config: Mapping[str, Any], options: Iterable[Any] = ()) -> list[str]:
    """Return the top-level keys that hold plain values, to which nothing refers, and which none of our configs has.

    A step that can be run, a component or an expression is no plain value. A name that begins with ``_`` is that of a
    comment, or of MONAI's ``_meta_``.

    Args:
        config: the config as written. If its macros are replaced already, a block or list is used if it, or a block or
            list in it, is also elsewhere.
        options: values that are to be set in it, which may refer to its keys.
    """
    named = set(_references([config, *options])) | known_keys()
    left = [key for key, value in config.items() if key not in named and not key.startswith("_") and not is_code(value)]
    return [key for key in left if not _is_copied(config[key], [config[other] for other in config if other != key])]


def _is_copied(value: Any, others: Any) -> bool:
    """Return whether a block or list, or one in it, is found elsewhere, as a macro copies it."""
    found = list(_parts(others))
    return any(part and part in found for part in _parts(value))


def _parts(value: Any) -> Iterator[Any]:
    """Yield the blocks and lists in a value, itself included."""
    if isinstance(value, (Mapping, list, tuple)):
        yield value
        for part in value.values() if isinstance(value, Mapping) else value:
            yield from _parts(part)


@cache
def known_keys() -> frozenset[str]:
    """Return the top-level keys of all of the bundle's own configs."""
    texts = (path.read_text(encoding="utf-8") for path in CONFIGS.glob("*.json") if path.stem != "metadata")
    return frozenset(re.split("#|::", key.lstrip("+"))[0] for text in texts for key in json.loads(text))


def _references(value: Any) -> Iterator[str]:
    """Yield the keys that a config, or a part of it, refers to."""
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        for each in value:
            yield from _references(each)
    elif isinstance(value, str):
        yield from REFERENCE.findall(value)
        if value.startswith("$"):
            yield from QUOTED.findall(value)
