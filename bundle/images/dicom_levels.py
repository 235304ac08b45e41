"""Convert the stored values of an X-ray's DICOM file to grey levels and back.

Files store their levels in several ways; here they always run from 0, as dark as air, to 2 ** BitsStored - 1:

- signed values are shifted to start at 0 (Pixel Representation);
- levels are inverted if high values are dark: MONOCHROME1, or a negative slope (PS3.3, C.7.6.3.1.2 and C.11.1.1.2).

Rescaling is linear, so only the sign of its slope matters for the whole range, and the intercept does not.
"""

from __future__ import annotations

import numpy as np
from bundle.images.bit_depth import level_type
from bundle.images.dicom_pixels import stored_type
from pydicom.dataset import Dataset


def levels_of(stored: np.ndarray, header: Dataset) -> np.ndarray:
    """Return the levels of stored values, unsigned 8 or 16 bits, from 0, as dark as air."""
    bits = int(header.BitsStored)
    levels = stored.astype(np.int32) + _lowest(header)
    levels = 2**bits - 1 - levels if _is_turned(header) else levels
    return levels.astype(level_type(bits))


def stored_of(levels: np.ndarray, header: Dataset) -> np.ndarray:
    """Invert `levels_of`; the values are little endian, of the type that the header allocates."""
    values = levels.astype(np.int32)
    values = 2 ** int(header.BitsStored) - 1 - values if _is_turned(header) else values
    return (values - _lowest(header)).astype(stored_type(header))


def _lowest(header: Dataset) -> int:
    """Return how far the lowest stored value lies below zero."""
    return 2 ** (int(header.BitsStored) - 1) if header.PixelRepresentation else 0


def _is_turned(header: Dataset) -> bool:
    """Return whether high stored values are dark."""
    falling = float(header.get("RescaleSlope") or 1) < 0
    return (header.PhotometricInterpretation == "MONOCHROME1") != falling
