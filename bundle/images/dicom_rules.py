"""Check the header of a slice, value by value, before its position or its pixels are used.

Position: DICOM PS3.3, C.7.6.2; pixels: C.7.6.3; from stored values to HU: C.11.1.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from bundle.images.dicom_headers import value_of
from bundle.images.image import ImageError
from bundle.runtime import is_whole
from pydicom.dataset import Dataset
from pydicom.uid import CTImageStorage

#: Attributes that are checked.
PLACE = ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing")
PIXELS = (
    *("BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "SamplesPerPixel", "PhotometricInterpretation"),
    *("RescaleSlope", "RescaleIntercept", "ModalityLUTSequence", "PixelPaddingValue", "PixelPaddingRangeLimit"),
)
#: Largest position, pixel side, slope and intercept, and the inverse of the smallest side and slope, in mm or HU.
MOST = 1e6
#: Largest deviation of direction cosines from length 1 and from a right angle, as in GDCM.
COSINES = 1e-3
#: Remedy for a wrong value, for error messages.
WAY_OUT = "fetch the file again, or correct the value, for instance with dcmodify"


def refusal(header: Dataset, keyword: str, value: Any, rule: str, way_out: str = WAY_OUT) -> ImageError:
    """Return the error for a value: file, attribute, value, violated rule and remedy."""
    text = "\\".join(map(str, value)) if isinstance(value, (list, tuple)) or hasattr(value, "append") else str(value)
    shown = "is missing" if value is None else f"{text[:80] if text.isprintable() else ascii(text[:80])} is wrong"
    return ImageError(f"DICOM file {str(header.filename)!r}: its {keyword} {shown}: it has to be {rule}; {way_out}.")


def numbers(header: Dataset, keyword: str, count: int) -> np.ndarray:
    """Return the finite numbers of an attribute, `(count,)`.

    Raises:
        ImageError: If it holds anything else, or fewer or more numbers.
    """
    value = value_of(header, keyword)
    rule = f"{count} finite numbers" if count > 1 else "a finite number"
    several = isinstance(value, (list, tuple)) or hasattr(value, "append")
    try:
        found = np.array([float(part) for part in (value if several else [value])])
    except (TypeError, ValueError) as error:
        raise refusal(header, keyword, value, rule) from error
    if len(found) != count or not (np.abs(found) <= MOST).all():
        raise refusal(header, keyword, value, f"{rule} up to {MOST:.0f}")
    return found


def number(header: Dataset, keyword: str, usual: float) -> float:
    """Return the finite number of an attribute, or the default ``usual`` if it is missing.

    Raises:
        ImageError: If it does not hold exactly one number.
    """
    return usual if value_of(header, keyword) in (None, "") else float(numbers(header, keyword, 1)[0])


def check_place(header: Dataset) -> None:
    """Refuse a slice whose position, orientation or pixel size does not describe a grid in space.

    Raises:
        ImageError: If they are not finite numbers, or the directions are not of length 1 at a right angle.
    """
    numbers(header, "ImagePositionPatient", 3)
    cosines = numbers(header, "ImageOrientationPatient", 6).reshape(2, 3)
    if np.abs(cosines @ cosines.T - np.eye(2)).max() > COSINES:
        rule = "two directions of length 1 at a right angle"
        raise refusal(header, "ImageOrientationPatient", header.ImageOrientationPatient, rule)
    sides(header, "PixelSpacing")


def sides(header: Dataset, keyword: str) -> np.ndarray:
    """Return the pixel spacing in mm, between rows and between columns, `(2,)`.

    Raises:
        ImageError: If it is not two positive lengths.
    """
    found = numbers(header, keyword, 2)
    if (found < 1 / MOST).any():
        raise refusal(header, keyword, value_of(header, keyword), "two lengths above 0 mm")
    return found


def check_pixels(header: Dataset) -> None:
    """Refuse an image in colour, or one whose size or pixel format is missing or invalid.

    Raises:
        ImageError: If a value is invalid.
    """
    allowed: dict[str, tuple[Any, ...]] = {
        "SamplesPerPixel": (1,),
        "PhotometricInterpretation": ("MONOCHROME1", "MONOCHROME2"),
        "BitsAllocated": (8, 16, 32),
        "PixelRepresentation": (0, 1),
    }
    for keyword in ("Rows", "Columns"):
        if not is_whole(found := value_of(header, keyword)) or not 0 < found < 65536:
            raise refusal(header, keyword, found, "a whole number from 1 to 65535")
    for keyword, values in allowed.items():
        if (found := value_of(header, keyword)) not in values:
            raise refusal(header, keyword, found, " or ".join(map(str, values)))
    stored, high = value_of(header, "BitsStored"), value_of(header, "HighBit")
    if not is_whole(stored) or not 1 < stored <= header.BitsAllocated:
        raise refusal(header, "BitsStored", stored, f"2 to {header.BitsAllocated}, the BitsAllocated")
    if high not in (None, stored - 1):
        raise refusal(header, "HighBit", high, f"{stored - 1}, one less than the BitsStored")


def check_units(header: Dataset) -> None:
    """Refuse a slice whose stored values cannot be rescaled to HU, or another unit, by slope and intercept.

    Raises:
        ImageError: If a value is invalid.
    """
    if value_of(header, "ModalityLUTSequence"):
        way_out = "convert the series with a program that knows such tables"
        raise refusal(header, "ModalityLUTSequence", "table", "absent: slope and intercept alone are read", way_out)
    if number(header, "RescaleSlope", 1) == 0 or abs(number(header, "RescaleSlope", 1)) < 1 / MOST:
        raise refusal(header, "RescaleSlope", header.RescaleSlope, "another number than 0")
    number(header, "RescaleIntercept", 0)
    empty = [key for key in ("RescaleSlope", "RescaleIntercept") if value_of(header, key) in (None, "")]
    if len(empty) == 1:
        raise refusal(header, empty[0], None, "there, as slope and intercept are given together")
    if empty and header.get("SOPClassUID") == CTImageStorage and not header.PixelRepresentation:
        raise refusal(header, "RescaleIntercept", None, "there, or unsigned pixels cannot be told in HU")
    for keyword in ("PixelPaddingValue", "PixelPaddingRangeLimit"):
        found = value_of(header, keyword)
        if found not in (None, "") and not is_whole(found):
            raise refusal(header, keyword, found, "one whole number")
