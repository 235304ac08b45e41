"""Keep texts that are data, such as file names, from being read as code by a config.

::

    $HOME.nii    MONAI evaluates what begins with $, follows @ and copies %    ./$HOME.nii is a name
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

#: First signs of a text that MONAI's `ConfigParser` evaluates, follows or copies.
SIGNS = ("$", "@", "%")
#: Null, which MONAI's command line cannot express otherwise.
NULL = "$None"


def is_code(value: Any) -> bool:
    """Return whether a config would evaluate or follow a value, or a part of it, or build what it names."""
    if isinstance(value, Mapping):
        return "_target_" in value or any(map(is_code, value.values()))
    if isinstance(value, (list, tuple)):
        return any(map(is_code, value))
    return isinstance(value, str) and value.startswith(SIGNS) and value != NULL


def check_literal(name: str, value: Any) -> None:
    """Refuse a value that a config would take for code.

    Args:
        name: what the value was given as, such as ``--series_description``.
        value: the value, parsed.

    Raises:
        ValueError: If `is_code` says so.
    """
    if is_code(value):
        raise ValueError(
            f"{name} {value!r} would be read as code: text must not begin with {', '.join(SIGNS)}, and no mapping may "
            "have a _target_. Write another text, or a path with its folder, as ./NAME; code belongs in an overlay."
        )


def literal_path(path: str | Path) -> str:
    """Return a path as text that a config does not evaluate: one that begins like code gets its folder, ``./``."""
    return f"./{path}" if is_code(str(path)) or str(path) == NULL else str(path)


def literal_word(word: str, several: bool = False) -> str:
    """Return the same for a path that was typed, and which python-fire may take for a number, a list or a mapping.

    Args:
        word: the word as typed.
        several: whether it may also be a list of paths, unless a path has that name.
    """
    from fire.parser import DefaultParseValue

    parsed = DefaultParseValue(word)
    if isinstance(parsed, str) and parsed == word:
        return literal_path(word)
    listed = isinstance(parsed, (list, tuple)) and all(isinstance(path, str) for path in parsed)
    if several and listed and parsed and not Path(word).exists():
        return repr(list(map(literal_path, parsed))) if is_code(parsed) else word
    return f"./{word}"
