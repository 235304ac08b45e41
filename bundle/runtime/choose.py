"""Select the settings that depend on one key of a config."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def choose(
    name: str, value: str, options: Mapping[str, Mapping[str, Any]], default: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Return the settings of one of several options, merged with the defaults.

    Args:
        name: the key that selects the option.
        value: the value of the key.
        options: the settings of each option.
        default: settings common to all options; those of an option override them.

    Raises:
        ValueError: If there is no such option.
    """
    if value not in options:
        raise ValueError(f"{name} {value!r} is not known; take one of {', '.join(options)}.")
    return {**(default or {}), **options[value]}
