"""Parse memory sizes given as text."""

from __future__ import annotations

import re

UNITS = {
    **{"": 1, "b": 1, "kib": 2**10, "mib": 2**20, "gib": 2**30, "tib": 2**40},
    **{"kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12},
}


def parse_bytes(size: int | float | str) -> int:
    """Return a number of bytes, given as a number or as text: ``"2GiB"``, ``"500 MB"``, ``"1.5e9"``.

    Raises:
        ValueError: If the size is not a positive number with a known unit.
    """
    match = re.fullmatch(r"\s*([0-9.]+(?:e[0-9]+)?)\s*([a-z]*)\s*", str(size).lower())
    try:
        number = float(match[1]) * UNITS[match[2]] if match else 0.0
    except (KeyError, ValueError):
        number = 0.0
    if number < 1:
        raise ValueError(
            f"memory size {size!r} is not a positive number of bytes; write it like 2GiB, 500MB or 1000000000."
        )
    return int(number)
