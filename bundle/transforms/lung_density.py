"""Measure lung density: count voxels per HU, slab by slab, and compute the measures from the histogram."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from bundle.images import Slabs, slabs
from bundle.transforms.lung_mask import LEFT, RIGHT

AREAS = (-950, -910, -856)  # HU: low attenuation areas
PERCENTILE = 15  # percent
RANGE = (-2048, 4095)  # HU: values beyond are counted at the ends
BINS = RANGE[1] - RANGE[0] + 1
SIDES = {"left": (LEFT,), "right": (RIGHT,), "both": (LEFT, RIGHT)}
#: Field, its heading in the printed table, and its format there.
COLUMNS = (
    *((f"laa{-area}_percent", f"LAA{area} %", ".2f") for area in AREAS),
    (f"perc{PERCENTILE}_hu", f"Perc{PERCENTILE} HU", ".0f"),
    ("mean_hu", "mean HU", ".1f"),
    ("volume_ml", "volume ml", ".0f"),
)


def histograms(image: Slabs, sides: np.ndarray, factor: Sequence[int], thickness: int) -> dict[str, np.ndarray]:
    """Count the voxels per integer HU, from -2048 to 4095, for ``left``, ``right`` and ``both`` lungs.

    Args:
        image: image in HU.
        sides: mask of the lungs, see `LungMask`, coarser by the factor.
        factor: voxels of the image per voxel of the mask, along each axis.
        thickness: slices that are read together.
    """
    at = [np.arange(size) // times for size, times in zip(image.shape[:2], factor, strict=False)]
    counts = np.zeros((max(LEFT, RIGHT) + 1, BINS), np.int64)
    for start, stop in slabs(image.shape[2], thickness):
        side = sides[np.ix_(*at, np.arange(start, stop) // factor[2])]
        voxels = image.slab(start, stop).numpy()
        for index in (LEFT, RIGHT):
            counts[index] += counted(voxels[side == index])
    return by_side(counts)


def counted(voxels: np.ndarray) -> np.ndarray:
    """Count the voxels per integer HU, from -2048 to 4095."""
    return np.bincount(np.rint(voxels).clip(*RANGE).astype(np.int64) - RANGE[0], minlength=BINS)


def by_side(counts: np.ndarray) -> dict[str, np.ndarray]:
    """Return the counts for ``left``, ``right`` and ``both`` lungs from those of `LEFT` and `RIGHT`, `(3, ...)`."""
    return {name: counts[list(indices)].sum(0) for name, indices in SIDES.items()}


def densities(counts: Mapping[str, np.ndarray], voxel: float) -> dict[str, dict[str, float | None]]:
    """Return the measures of each lung from its histogram; without lung, they are null and the volume is 0.

    - ``laaN_percent``: share of the voxels below -N HU;
    - ``perc15_hu``: the lowest HU that at least 15 % of the voxels do not exceed;
    - ``mean_hu``: mean lung density;
    - ``volume_ml``: volume.

    Args:
        counts: histograms, see `histograms`.
        voxel: volume of a voxel in ml.
    """
    levels = np.arange(RANGE[0], RANGE[1] + 1)
    found: dict[str, dict[str, float | None]] = {}
    for name, count in counts.items():
        total = int(count.sum())
        values: list[float | None] = [None] * (len(AREAS) + 2)
        if total:
            below = [round(100 * int(count[levels < area].sum()) / total, 4) for area in AREAS]
            rank = int(np.argmax(100 * np.cumsum(count) >= PERCENTILE * total))
            values = [*below, int(levels[rank]), round(int(count @ levels) / total, 4)]
        found[name] = dict(zip((key for key, *_ in COLUMNS), [*values, round(total * voxel, 3)], strict=True))
    return found
