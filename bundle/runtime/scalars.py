"""Tell what a value of a config is: a whole number, a count, a finite number; a boolean is none of them."""

from __future__ import annotations

import math
from typing import Any


def is_whole(value: Any) -> bool:
    """Return whether a value is a whole number."""
    return isinstance(value, int) and not isinstance(value, bool)


def is_count(value: Any) -> bool:
    """Return whether a value is a whole number from 1 on."""
    return is_whole(value) and value >= 1


def is_finite(value: Any) -> bool:
    """Return whether a value is a finite number."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
