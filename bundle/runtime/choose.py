"""Settings that depend on one key of a config."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def choose(
    name: str, value: str, options: Mapping[str, Mapping[str, Any]], default: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """The settings of one of several options, on top of those that all have.

    Args:
        name: the key that says which option is taken.
        value: its value.
        options: the settings of each option.
        default: settings of all options, which their own override.

    Raises:
        ValueError: If there is no such option.
    """
    if value not in options:
        raise ValueError(f"{name} {value!r} is not known; take one of {', '.join(options)}.")
    return {**(default or {}), **options[value]}
