r"""Measure airway walls by the half maximum along rays, as most tools do.

::

    HU            ___peak___
                 /          \          inner edge: half way from the lumen's lowest value to the peak
        lumen __/            \__ lung   outer edge: half way from the peak to the lung's lowest value
               inner       outer
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import map_coordinates

RAYS = 48
STEP = 0.05  # mm
BEYOND = 2.0  # mm beyond the true outer edge in which the peak is searched
OUTSIDE = 2.5  # mm beyond the peak in which the lung's lowest value is searched


@dataclass(frozen=True)
class Wall:
    """Measurements of an airway.

    Args:
        area: area of the lumen in mm^2.
        thickness: thickness of the wall in mm.
    """

    area: float
    thickness: float


def measured(image: np.ndarray, pixel: float, middle: tuple[float, float], outer: float) -> Wall:
    """Measure an airway in a slice.

    Args:
        image: `(x, y)` in HU.
        pixel: pixel size in mm.
        middle: middle of the airway in pixels.
        outer: true outer radius in mm, which bounds the search.
    """
    angles = 2 * math.pi * np.arange(RAYS) / RAYS
    r = np.arange(0, outer + BEYOND + OUTSIDE, STEP)
    ways = np.cos(angles), np.sin(angles)
    at = [centre + r[None, :] * way[:, None] / pixel for centre, way in zip(middle, ways, strict=True)]
    edges = np.array([_edges(ray, r, outer + BEYOND) for ray in map_coordinates(image, at, order=3, mode="nearest")])
    inner, outside = edges.T
    return Wall(float(math.pi * (inner**2).mean()), float((outside - inner).mean()))


def _edges(ray: np.ndarray, r: np.ndarray, most: float) -> tuple[float, float]:
    """Return the inner and the outer edge along a ray, in mm."""
    peak = int(ray[r <= most].argmax())
    inside, outside = ray[: peak + 1][::-1], ray[peak : peak + round(OUTSIDE / STEP)]
    return r[peak] - _fall(inside), r[peak] + _fall(outside)


def _fall(values: np.ndarray) -> float:
    """Return the distance in mm from the peak, the first value, to the half between it and the lowest value."""
    half = (values[0] + values.min()) / 2
    below = np.flatnonzero(values < half)
    if not len(below):
        return float(len(values) - 1) * STEP
    k = below[0]
    return float(k - (half - values[k]) / (values[k - 1] - values[k])) * STEP
