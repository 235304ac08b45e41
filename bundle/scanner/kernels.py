"""A catalogue of reconstruction kernels, by manufacturer and name, and its file format, also used for calibrations.

::

    {"version": 1,
     "kernels": [{"manufacturer": "SIEMENS", "name": "B30f", "source": "what it was measured on",
                  "knots": [0, ...], "gains": [1, ...], "deviations": [0, ...]}, ...],
     "conversions": [{"from": "B70f", "to": "B30f", "source": "...", "knots": [...], "gains": [...],
                      "deviations": [...], "levels": [-1000, ...], "shifts": [-4.2, ...]}, ...]}

Knots are frequencies in cycles/mm; levels and shifts are in HU. Transfer functions are estimated by
`bundle.scanner.finding`. A kernel is ``upright`` if it was measured at surfaces perpendicular to the slice. Files of
earlier versions give the gains of these as an ``edge`` instead.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from bundle.scanner.conversion import Conversion
from bundle.scanner.transfer import Transfer

CATALOGUE = Path(__file__).with_name("kernels.json")
VERSION = 1
MOST_BYTES = 1 << 20
MOST_ENTRIES = 1000
MOST_NUMBERS = 256
LARGEST = 1e4  # largest absolute value of a number in a file
MOST_TEXT = 500


@dataclass(frozen=True)
class Kernels:
    """Kernels, and directly calibrated conversions between kernels.

    Args:
        kernels: transfer functions with name, manufacturer and source.
        conversions: names of source and target kernel, and the conversion.
        path: path of the file.
    """

    kernels: tuple[Transfer, ...] = ()
    conversions: tuple[tuple[str, str, Conversion], ...] = ()
    path: str = ""

    def find(self, name: str, manufacturer: str = "") -> Transfer | None:
        """Return the kernel with a name as found in DICOM; None if there is none.

        Args:
            name: name of the kernel, case-insensitive; of several values separated by backslashes, the first counts.
            manufacturer: manufacturer as found in DICOM, such as "SIEMENS Healthineers"; empty for any.
        """
        wanted = first_value(name).lower()
        for kernel in self.kernels:
            made_by = kernel.manufacturer.lower()
            if first_value(kernel.name).lower() == wanted and (not manufacturer or made_by in manufacturer.lower()):
                return kernel
        return None

    def conversion(self, source: str, target: str) -> Conversion | None:
        """Return the calibrated conversion between two kernel names, case-insensitive; None if there is none."""
        wanted = source.lower(), target.lower()
        return next((found for a, b, found in self.conversions if (a.lower(), b.lower()) == wanted), None)

    def extended(self, own: Kernels) -> Kernels:
        """Return these kernels combined with a user's own, which replace kernels of the same name.

        Conversions from or to a replaced kernel are dropped.

        Args:
            own: kernels of the user's file.
        """
        replaced = {kernel.name.lower() for kernel in own.kernels}
        kept = (each for each in self.kernels if each.name.lower() not in replaced)
        conversions = (each for each in self.conversions if not {each[0].lower(), each[1].lower()} & replaced)
        return Kernels((*own.kernels, *kept), (*own.conversions, *conversions), own.path)

    def names(self) -> str:
        """Return all names, as text for messages."""
        return ", ".join(kernel.name for kernel in self.kernels)


def read_kernels(path: str | Path = CATALOGUE) -> Kernels:
    """Read a file of kernels; nothing in it is evaluated or followed.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If the file is too large, does not have this format, or has two kernels of one name and
            manufacturer.
    """
    path = Path(path)
    if (size := path.stat().st_size) > MOST_BYTES:
        raise ValueError(
            f"kernel file {str(path)!r} has {size} bytes, more than {MOST_BYTES}; it was not written by this bundle."
        )
    try:
        content = json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse)
        if not isinstance(content, dict) or content.get("version") != VERSION:
            raise ValueError(f"its version is not {VERSION}")
        entries = [_list(content, key) for key in ("kernels", "conversions")]
        kernels = tuple(
            _transfer(entry, manufacturer=_text(entry, "manufacturer"), name=_text(entry, "name"))
            for entry in entries[0]
        )
        _check_names(kernels)
        conversions = tuple(
            (
                _text(entry, "from"),
                _text(entry, "to"),
                Conversion(_transfer(entry), _numbers(entry, "levels"), _numbers(entry, "shifts")),
            )
            for entry in entries[1]
        )
    except (ValueError, RecursionError) as error:
        raise ValueError(
            f"kernel file {str(path)!r} cannot be read: {error}; make it by the run id calibrating."
        ) from None
    return Kernels(kernels, conversions, str(path))


def first_value(name: object) -> str:
    """Return the first value of a ConvolutionKernel, which may have several, separated by backslashes."""
    return str(name).split("\\")[0].strip()


@cache
def catalogue() -> Kernels:
    """Return the kernels that come with the bundle; the file is read once."""
    return read_kernels()


def as_json(kernels: Kernels) -> str:
    """Return the text of a file of kernels."""
    content = {
        "version": VERSION,
        "kernels": [
            {"manufacturer": kernel.manufacturer, "name": kernel.name, **_entry(kernel)} for kernel in kernels.kernels
        ],
        "conversions": [
            {
                "from": a,
                "to": b,
                **_entry(found.filter),
                "levels": list(found.levels),
                "shifts": [round(shift, 2) for shift in found.shifts],
            }
            for a, b, found in kernels.conversions
        ],
    }
    lines = json.dumps(content, indent=1)
    return lines + "\n"


def _entry(kernel: Transfer) -> dict[str, Any]:
    parts = {name: [round(v, 5) for v in getattr(kernel, name)] for name in ("knots", "gains", "deviations")}
    return {"source": kernel.source, **parts, "upright": kernel.upright}


def _transfer(entry: Any, **about: str) -> Transfer:
    knots, gains, deviations, edge = (_numbers(entry, key) for key in ("knots", "gains", "deviations", "edge"))
    if not isinstance(upright := entry.get("upright", bool(edge)), bool):
        raise ValueError("'upright' is neither true nor false")
    return Transfer(knots, gains, deviations, source=_text(entry, "source"), upright=upright, **about)


def _check_names(kernels: Sequence[Transfer]) -> None:
    named = [(kernel.manufacturer.lower(), first_value(kernel.name).lower()) for kernel in kernels]
    for place, kernel in enumerate(kernels):
        if named[place] in named[:place]:
            raise ValueError(
                f"it has two kernels {kernel.name!r} of the manufacturer {kernel.manufacturer!r}, and each needs its "
                "own name"
            )


def _list(content: Mapping[str, Any], key: str) -> Sequence[Any]:
    found = content.get(key, [])
    if not isinstance(found, list) or len(found) > MOST_ENTRIES or not all(isinstance(each, dict) for each in found):
        raise ValueError(f"{key!r} is not a list of at most {MOST_ENTRIES} objects")
    return found


def _numbers(entry: Mapping[str, Any], key: str) -> tuple[float, ...]:
    found = entry.get(key, [])
    if not isinstance(found, list) or len(found) > MOST_NUMBERS:
        raise ValueError(f"{key!r} is not a list of at most {MOST_NUMBERS} numbers")
    if not all(type(v) in (int, float) and abs(v) <= LARGEST for v in found):
        raise ValueError(f"{key!r} holds what is not a number of at most {LARGEST:g}")
    return tuple(float(v) for v in found)


def _text(entry: Mapping[str, Any], key: str) -> str:
    found = entry.get(key, "")
    if not isinstance(found, str) or len(found) > MOST_TEXT or not found.isprintable():
        raise ValueError(f"{key!r} is not printable text of at most {MOST_TEXT} characters")
    return found


def _refuse(constant: str) -> float:
    raise ValueError(f"{constant} is not a number of JSON")
