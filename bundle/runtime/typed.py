"""Paths as they were typed: python-fire makes numbers, lists and truth values of what looks like one.

::

    --dataset_dir 1e5    fire: 100000.0    typed: "1e5"
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

#: The module that calls what a command names.
FIRE = "fire.core"


def typed_path(name: str, value: Any) -> str:
    """The path that an option was given on the command line, as it was typed there.

    Args:
        name: of the option, such as ``dataset_dir``.
        value: what has become of it; text and paths stay what they are, unless the command line says what they were.

    Raises:
        ValueError: If the value is no path, and the command line does not tell what it was.
    """
    from fire.parser import DefaultParseValue

    for word in _given(name, _words()):
        parsed = DefaultParseValue(word)
        same = type(parsed) is type(value) and (parsed == value or (isinstance(value, str) and _as_id(parsed) == value))
        if parsed is None or same:
            return word
    if isinstance(value, (str, Path)) or type(value) in (int, float):
        return str(value)
    raise ValueError(f"{name} {value!r} is no path; write it as text, with its folder, such as ./NAME.")


def _as_id(text: str) -> str:
    """What MONAI makes of a text, in which it sees the names of its keys: the older of two separators goes."""
    return text.replace("#", "::")


def _given(name: str, words: Sequence[str]) -> list[str]:
    """The values that an option has among some words, the last first."""
    found = []
    for word, after in zip(words, [*words[1:], ""], strict=False):
        flag, equals, value = word.partition("=")
        if word.startswith("-") and flag.lstrip("-").replace("-", "_") == name:
            found.append(value if equals else after)
    return found[::-1]


def _words() -> Sequence[str]:
    """The words of the command line, or of the command that fire was given by a program."""
    frame = sys._getframe()
    while frame.f_back:
        frame = frame.f_back
        if frame.f_globals.get("__name__") == FIRE and frame.f_code.co_name == "Fire":
            return [str(word) for word in frame.f_locals.get("args", ())]
    return sys.argv[1:]
