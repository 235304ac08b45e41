"""Grey levels of an X-ray's DICOM file.

A file stores its levels in one of several ways; here they all run from 0, as dark as air, to 2 ** BitsStored - 1:

- signed values start at 0 (Pixel Representation);
- if high values are dark, levels are turned: MONOCHROME1, or a falling rescale (PS3.3, C.7.6.3.1.2 and C.11.1.1.2).

Rescaling is linear, so that of the whole range only its direction counts; slope and intercept themselves do not.
"""

from __future__ import annotations

import numpy as np
from bundle.images.bit_depth import level_type
from bundle.images.dicom_pixels import stored_type
from pydicom.dataset import Dataset


def levels_of(stored: np.ndarray, header: Dataset) -> np.ndarray:
    """Levels of stored values, 8 or 16 bits unsigned: from 0, as dark as air."""
    bits = int(header.BitsStored)
    levels = stored.astype(np.int32) + _lowest(header)
    levels = 2**bits - 1 - levels if _is_turned(header) else levels
    return levels.astype(level_type(bits))


def stored_of(levels: np.ndarray, header: Dataset) -> np.ndarray:
    """The inverse of `levels_of`, little endian in the bits that the header allocates."""
    values = levels.astype(np.int32)
    values = 2 ** int(header.BitsStored) - 1 - values if _is_turned(header) else values
    return (values - _lowest(header)).astype(stored_type(header))


def _lowest(header: Dataset) -> int:
    """How far the lowest value lies below zero."""
    return 2 ** (int(header.BitsStored) - 1) if header.PixelRepresentation else 0


def _is_turned(header: Dataset) -> bool:
    """Whether high stored values are dark."""
    falling = float(header.get("RescaleSlope") or 1) < 0
    return (header.PhotometricInterpretation == "MONOCHROME1") != falling
