"""Seam metric: how much larger the jumps across the faces of tiles are than the jumps next to them.

The jump across a face is compared with the jumps two voxels to either side, not with the whole image, and the ratio is
divided by that of the target at the same positions. Anatomy thus cancels, and 1.00 means that no seam is visible::

    voxels    . . . . | . . . .
    jumps      - b -  f  - b -       f across a face, b beside it

The distance is two voxels, not one: a result upsampled from a scale of half the size has larger jumps between the
voxels of that scale than within them, everywhere, and most tiles begin at such a voxel.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from bundle.evaluation.metrics.similarity import LUNG, IntensityWindow, windowed
from bundle.images import Slabs, slabs

BESIDE = 2  # voxels


def jumps(image: Slabs, window: IntensityWindow = LUNG) -> list[np.ndarray]:
    """Return, per axis, the mean absolute windowed difference between neighbouring voxels at each position.

    Entry ``i`` of an axis is the difference between voxels ``i`` and ``i + 1``.
    """
    x, y, z = image.shape
    sums = [np.zeros(x - 1), np.zeros(y - 1), np.zeros(z - 1)]
    for start, stop in slabs(z):
        # one more slice, for the jump to the next slab
        slab = windowed(image.slab(start, min(stop + 1, z)), window).double()
        own = slab[..., : stop - start]
        sums[0] += torch.diff(own, dim=0).abs().sum((1, 2)).numpy()
        sums[1] += torch.diff(own, dim=1).abs().sum((0, 2)).numpy()
        across = torch.diff(slab, dim=2).abs().sum((0, 1)).numpy()
        sums[2][start : start + len(across)] = across
    return [total / count for total, count in zip(sums, (y * z, x * z, x * y), strict=True)]


def seam(result: Sequence[np.ndarray], target: Sequence[np.ndarray], faces: Sequence[Sequence[int]]) -> float:
    """Return a result's jumps across faces, relative to those next to them and to the target's; NaN without faces.

    Args:
        result: the result's `jumps`.
        target: the target's `jumps`.
        faces: per axis, the first voxel after each face.

    Returns:
        The mean over the axes that have faces.
    """
    ratios = [
        contrast(own, places) / contrast(other, places)
        for own, other, places in zip(result, target, faces, strict=True)
    ]
    return float(np.nanmean(ratios)) if not np.isnan(ratios).all() else np.nan


def contrast(axis: np.ndarray, places: Sequence[int]) -> float:
    """Return the mean jump at some places, divided by that next to them; NaN without places."""
    at = {place - 1 for place in places if 0 < place <= len(axis)}
    near = {place + step for place in at for step in (-BESIDE, BESIDE)} & set(range(len(axis))) - at
    beside = axis[sorted(near)].sum() / max(len(near), 1)
    return float(axis[sorted(at)].mean() / beside) if at and beside else np.nan


def faces_of(windows: Sequence[Sequence[tuple[int, int]]], shape: Sequence[int]) -> list[list[int]]:
    """Return, per axis, where windows (start, stop) begin or end inside an image."""
    return [
        sorted({edge for window in axis for edge in window if 0 < edge < size})
        for axis, size in zip(windows, shape, strict=True)
    ]


def grid(shape: Sequence[int], side: int, step: int | None = None) -> list[list[tuple[int, int]]]:
    """Return, per axis, windows of equal side at a regular step; the last one is shifted back into the image."""
    step = step or side
    return [
        [(min(a, max(size - side, 0)), min(a + side, size)) for a in range(0, max(size - side, 0) + step, step)]
        for size in shape
    ]
