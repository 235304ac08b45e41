"""Lung densitometry: the emphysema index, which a sharp kernel's noise increases, and the mean density.

Densities are measured in the lungs of the target. Without a target use `bundle.transforms.densitometry`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from bundle.images import Slabs, slabs
from bundle.transforms import lungs
from torch import Tensor

EMPHYSEMA = -950.0  # HU
LUNG_LIMIT = -500.0  # HU; higher values are vessels and walls
STRIDE = 4  # voxels; lungs are found on this coarse grid, 1/64 of the volume. Must divide the slab size


@dataclass(frozen=True)
class Density:
    """Density of a lung.

    Args:
        below: fraction of the lung below -950 HU, the emphysema index, in percent.
        mean: mean lung density, in HU.
    """

    below: float
    mean: float


UNKNOWN = Density(math.nan, math.nan)


def lung_blocks(target: Slabs) -> Tensor:
    """Return a boolean lung mask with one voxel per ``STRIDE`` voxels; all false if no lungs are found."""
    coarse = [target.slab(start, stop)[::STRIDE, ::STRIDE, ::STRIDE] for start, stop in slabs(target.shape[2])]
    mask = lungs(torch.cat(coarse, -1)[None], LUNG_LIMIT, stride=1)[0]
    return mask & ~mask.all()


def densitometry(image: Slabs, target: Slabs, lung: Tensor) -> Density:
    """Measure the density of an image in the lung voxels of its target; NaN without lungs.

    Args:
        image: the image to measure.
        target: image whose voxels below -500 HU within ``lung`` are lung.
        lung: `lung_blocks` of the target.
    """
    below = total = 0
    summed = 0.0
    for start, stop in slabs(target.shape[2]):
        mask = lung[..., start // STRIDE : -(-stop // STRIDE)]
        for axis, size in enumerate((*target.shape[:2], stop - start)):
            mask = mask.repeat_interleave(STRIDE, axis).narrow(axis, 0, size)
        voxels = image.slab(start, stop)[mask & (target.slab(start, stop) < LUNG_LIMIT)]
        total += voxels.numel()
        below += int((voxels < EMPHYSEMA).sum())
        summed += float(voxels.double().sum())
    return Density(100 * below / total, summed / total) if total else UNKNOWN
