"""The seam metric: how much larger the jumps across the faces of tiles are than the jumps right beside them.

A face is compared with what lies two voxels to either side, not with the whole image; and the ratio is divided by that
of the target at the same places. So anatomy, which differs from place to place, cancels, and 1.00 is invisible::

    voxels    . . . . | . . . .
    jumps      - b -  f  - b -       f across a face, b beside it

Two voxels, and not one: a result that was upsampled from a scale of half the size has larger jumps between the voxels
of that scale than within them, everywhere alike, and most tiles begin where one of them does.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from bundle.evaluation.metrics.similarity import LUNG, Window, windowed
from bundle.images import Slabs, slabs

BESIDE = 2  # voxels


def jumps(image: Slabs, window: Window = LUNG) -> list[np.ndarray]:
    """The mean absolute difference of neighbouring voxels, in a window, at every position between two, per axis.

    Entry ``i`` of an axis lies between voxels ``i`` and ``i + 1``.
    """
    x, y, z = image.shape
    sums = [np.zeros(x - 1), np.zeros(y - 1), np.zeros(z - 1)]
    for start, stop in slabs(z):
        slab = windowed(
            image.slab(start, min(stop + 1, z)), window
        ).double()  # one more slice: the jump to the next slab
        own = slab[..., : stop - start]
        sums[0] += torch.diff(own, dim=0).abs().sum((1, 2)).numpy()
        sums[1] += torch.diff(own, dim=1).abs().sum((0, 2)).numpy()
        across = torch.diff(slab, dim=2).abs().sum((0, 1)).numpy()
        sums[2][start : start + len(across)] = across
    return [total / count for total, count in zip(sums, (y * z, x * z, x * y), strict=True)]


def seam(found: Sequence[np.ndarray], target: Sequence[np.ndarray], faces: Sequence[Sequence[int]]) -> float:
    """A result's jumps across faces, relative to those beside and to the target's; NaN where there are none.

    Args:
        found: the result's `jumps`.
        target: the target's.
        faces: per axis, the first voxel behind each face.

    Returns:
        The mean over the axes that have faces.
    """
    ratios = [
        contrast(own, places) / contrast(same, places) for own, same, places in zip(found, target, faces, strict=True)
    ]
    return float(np.nanmean(ratios)) if not np.isnan(ratios).all() else np.nan


def contrast(axis: np.ndarray, places: Sequence[int]) -> float:
    """The mean jump at places, over that beside them; NaN where there is none."""
    at = {place - 1 for place in places if 0 < place <= len(axis)}
    near = {place + step for place in at for step in (-BESIDE, BESIDE)} & set(range(len(axis))) - at
    beside = axis[sorted(near)].sum() / max(len(near), 1)
    return float(axis[sorted(at)].mean() / beside) if at and beside else np.nan


def faces_of(windows: Sequence[Sequence[tuple[int, int]]], shape: Sequence[int]) -> list[list[int]]:
    """Where windows, start and stop, begin and end inside an image, per axis."""
    return [
        sorted({edge for window in axis for edge in window if 0 < edge < size})
        for axis, size in zip(windows, shape, strict=True)
    ]


def grid(shape: Sequence[int], side: int, step: int | None = None) -> list[list[tuple[int, int]]]:
    """Windows of one side, a step apart, the last one moved back into the image, per axis."""
    step = step or side
    return [
        [(min(a, max(size - side, 0)), min(a + side, size)) for a in range(0, max(size - side, 0) + step, step)]
        for size in shape
    ]
