"""Recover paths and texts as they were typed: python-fire converts what looks like a number, list or boolean.

::

    --dataset_dir 1e5    fire: 100000.0    typed: "1e5"
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bundle.runtime.errors import end_in_one_line

#: The module of fire that runs a command.
FIRE = "fire.core"


def typed_path(name: str, value: Any, several: bool = False) -> str | list[str]:
    """Return the path of a command-line option as it was typed.

    Args:
        name: name of the option, such as ``dataset_dir``.
        value: the value after parsing; text, paths and numbers that the command line does not explain stay as they are.
        several: whether the option also accepts a list of paths.

    Returns:
        The path; or a list of paths, unless a path with the name of the list as typed exists.

    Raises:
        ValueError: If the value is not a path and is not found on the command line; if it is empty or followed by
            another word; or if it is unclear whether ``::`` in it was typed as ``#``.
    """
    if found := _typed(name, value):
        word, parsed = found
        if several and _are_paths(parsed) and not Path(word).exists():
            return [str(path) for path in parsed]
        return _not_empty(name, word)
    if several and _are_paths(value):
        return [_as_typed(name, str(path)) for path in value]
    if isinstance(value, (str, Path)) or type(value) in (int, float):
        return _not_empty(name, _as_typed(name, value))
    raise ValueError(f"{name} {value!r} is not a path; write it as text, with its folder, such as ./NAME.")


def typed_text(name: str, value: Any) -> str:
    """Return the text of a command-line option as it was typed, such as ``31`` for the name of a kernel.

    Args:
        name: name of the option, such as ``series_description``.
        value: the value after parsing; texts, paths and numbers that the command line does not explain become text.

    Raises:
        ValueError: If the value is no text and is not found on the command line, or is followed by another word.
    """
    if found := _typed(name, value):
        return found[0]
    if isinstance(value, (str, Path)) or type(value) in (int, float):
        return str(value)
    raise ValueError(f"{name} {value!r} is not a text; write it in quotes.")


def _typed(name: str, value: Any) -> tuple[str, Any] | None:
    """Return the word of the command line that gave a value, and what fire made of it; None if there is none.

    Raises:
        ValueError: If another word follows it.
    """
    from fire.parser import DefaultParseValue

    for word, after in _given(name, _words()):
        parsed = DefaultParseValue(word)
        if parsed is None or (type(parsed) is type(value) and value in (parsed, _as_id(parsed))):
            if after and not after.startswith("-"):
                end_in_one_line()  # not set up yet: MONAI takes the extra word for the run id of the step that does so
                raise ValueError(
                    f"{name} {word!r} is followed by {after!r}; put a pattern, a list, or several words, in quotes."
                )
            return word, parsed
    return None


def _not_empty(name: str, path: str) -> str:
    if not path.strip():
        raise ValueError(f"{name} {path!r} is empty; give a path, '.' for the folder that you are in.")
    return path


def _are_paths(value: Any) -> bool:
    """Return whether a value is a non-empty list of paths."""
    return isinstance(value, (list, tuple)) and bool(value) and all(isinstance(path, (str, Path)) for path in value)


def _as_id(value: Any) -> Any:
    """Return a text as MONAI changes it: it takes ``#`` for a separator of keys, and replaces it with ``::``."""
    if isinstance(value, (list, tuple)):
        return type(value)(map(_as_id, value))
    return value.replace("#", "::") if isinstance(value, str) else value


def _as_typed(name: str, value: Any) -> str:
    """Return the path that a program gave: with ``::`` or ``#``, whichever path exists, or whose parent exists."""
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
    """Return the values of an option among the words, each with the word after it; the last one comes first."""
    found = []
    for word, after, then in zip(words, [*words[1:], ""], [*words[2:], "", ""], strict=False):
        flag, equals, value = word.partition("=")
        if word.startswith("-") and flag.lstrip("-").replace("-", "_") == name:
            found.append((value, after) if equals else (after, then))
    return found[::-1]


def _words() -> Sequence[str]:
    """Return the words of the command line, or of the command that a program passed to fire."""
    frame = sys._getframe()
    while frame.f_back:
        frame = frame.f_back
        if frame.f_globals.get("__name__") == FIRE and frame.f_code.co_name == "Fire":
            return [str(word) for word in frame.f_locals.get("args", ())]
    return sys.argv[1:]
