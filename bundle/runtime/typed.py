"""Paths as they were typed: python-fire makes numbers, lists and truth values of what looks like one.

::

    --dataset_dir 1e5    fire: 100000.0    typed: "1e5"
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bundle.runtime.errors import end_in_one_line

#: The module that calls what a command names.
FIRE = "fire.core"


def typed_path(name: str, value: Any, several: bool = False) -> str | list[str]:
    """The path that an option was given on the command line, as it was typed there.

    Args:
        name: of the option, such as ``dataset_dir``.
        value: what has become of it; text and paths stay what they are, unless the command line says what they were.
        several: whether it may be a list of paths as well.

    Returns:
        The path; a list if there are several, and no path is called as the list is written.

    Raises:
        ValueError: If the value is not a path, and the command line does not tell what it was; if it is empty, or
            followed by another word; if it cannot be known whether ``::`` in it was typed as ``#``.
    """
    from fire.parser import DefaultParseValue

    for word, after in _given(name, _words()):
        parsed = DefaultParseValue(word)
        if parsed is None or (type(parsed) is type(value) and value in (parsed, _as_id(parsed))):
            if after and not after.startswith("-"):
                end_in_one_line()  # MONAI takes the word for the run id of the step that has this done
                raise ValueError(f"{name} {word!r} is followed by {after!r}; put a pattern, or a list, in quotes.")
            if several and _are_paths(parsed) and not Path(word).exists():
                return [str(path) for path in parsed]
            return _not_empty(name, word)
    if several and _are_paths(value):
        return [_as_typed(name, str(path)) for path in value]
    if isinstance(value, (str, Path)) or type(value) in (int, float):
        return _not_empty(name, _as_typed(name, value))
    raise ValueError(f"{name} {value!r} is not a path; write it as text, with its folder, such as ./NAME.")


def _not_empty(name: str, path: str) -> str:
    if not path.strip():
        raise ValueError(f"{name} {path!r} is empty; give a path, '.' for the folder that you are in.")
    return path


def _are_paths(value: Any) -> bool:
    """Whether a value is a list of paths, not an empty one."""
    return isinstance(value, (list, tuple)) and bool(value) and all(isinstance(path, (str, Path)) for path in value)


def _as_id(value: Any) -> Any:
    """What MONAI makes of a text, in which it sees the names of its keys: the older of two separators goes."""
    if isinstance(value, (list, tuple)):
        return type(value)(map(_as_id, value))
    return value.replace("#", "::") if isinstance(value, str) else value


def _as_typed(name: str, value: Any) -> str:
    """The path that a program has given: of two that MONAI makes one of, the one that exists, or whose folder does."""
    path = str(value)
    other = path.replace("::", "#")
    if other == path or isinstance(value, Path):
        return path
    for existing in (Path.exists, lambda each: each.parent.exists() and each.parent != Path()):
        there = [each for each in (path, other) if existing(Path(each))]
        if len(there) == 1:
            return there[0]
    raise ValueError(f"{name} {other!r} may also be {path!r}: configs read # as ::; make the one that is meant first.")


def _given(name: str, words: Sequence[str]) -> list[tuple[str, str]]:
    """The values that an option has among some words, each with the word behind it, the last first."""
    found = []
    for word, after, then in zip(words, [*words[1:], ""], [*words[2:], "", ""], strict=False):
        flag, equals, value = word.partition("=")
        if word.startswith("-") and flag.lstrip("-").replace("-", "_") == name:
            found.append((value, after) if equals else (after, then))
    return found[::-1]


def _words() -> Sequence[str]:
    """The words of the command line, or of the command that fire was given by a program."""
    frame = sys._getframe()
    while frame.f_back:
        frame = frame.f_back
        if frame.f_globals.get("__name__") == FIRE and frame.f_code.co_name == "Fire":
            return [str(word) for word in frame.f_locals.get("args", ())]
    return sys.argv[1:]
