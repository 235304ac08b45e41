"""Where the body and the lungs are in a target slice, for measures within them."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import binary_closing, binary_erosion, binary_fill_holes, gaussian_filter, label

SMOOTHING = 2.0  # voxels
BODY = -400.0  # HU
LUNG = -600.0  # HU
INSIDE = 6  # voxels by which the filled body is eroded, to leave out the air around it
CLOSING = 10  # voxels
SMALLEST = 0.1  # of the largest component


def body_mask(target: np.ndarray) -> np.ndarray:
    """Return the largest component above -400 HU of a smoothed slice, `(x, y)` in HU, filled; boolean."""
    parts, count = label(gaussian_filter(target, SMOOTHING) > BODY)
    if not count:
        return np.zeros(target.shape, bool)
    return np.asarray(binary_fill_holes(parts == np.argmax(np.bincount(parts.ravel())[1:]) + 1))


def lung_mask(target: np.ndarray) -> np.ndarray:
    """Return what is below -600 HU in a smoothed slice, `(x, y)` in HU, inside the body; boolean.

    The body is closed, filled, and eroded by 6 voxels. Components below a tenth of the
    largest one are left out.
    """
    closed = binary_fill_holes(binary_closing(body_mask(target), iterations=CLOSING))
    air = (gaussian_filter(target, SMOOTHING) < LUNG) & binary_erosion(closed, iterations=INSIDE)
    parts, count = label(air)
    if not count:
        return np.zeros(target.shape, bool)
    sizes = np.bincount(parts.ravel())
    sizes[0] = 0
    return np.asarray(np.isin(parts, np.flatnonzero(sizes > SMALLEST * sizes.max())) & air)
