"""What densitometry reads off a lung: the emphysema index, which a kernel's noise drives up, and the mean density."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from bundle.images import Slabs, slabs
from bundle.transforms import lungs
from torch import Tensor

EMPHYSEMA = -950.0  # HU
AIR = -500.0  # HU: above lie vessels and walls
STRIDE = 4  # voxels: the lungs are looked for on a grid as coarse, 1/64 of the volume; divides the slabs


@dataclass(frozen=True)
class Density:
    """A lung.

    Args:
        below: share of it below -950 HU, the emphysema index, in percent.
        mean: mean lung density, in HU.
    """

    below: float
    mean: float


UNKNOWN = Density(math.nan, math.nan)


def lung_blocks(target: Slabs) -> Tensor:
    """Where the lungs are, every ``STRIDE`` voxels, boolean; all false where none are found."""
    coarse = [target.slab(start, stop)[::STRIDE, ::STRIDE, ::STRIDE] for start, stop in slabs(target.shape[2])]
    found = lungs(torch.cat(coarse, -1)[None], AIR, stride=1)[0]
    return found & ~found.all()


def densitometry(image: Slabs, target: Slabs, lung: Tensor) -> Density:
    """Measure the target's lung voxels in an image; not-a-numbers without lungs.

    Args:
        image: what is measured.
        target: whose voxels below -500 HU are lung, within `lung`.
        lung: `lung_blocks` of the target.
    """
    below = total = 0
    summed = 0.0
    for start, stop in slabs(target.shape[2]):
        mask = lung[..., start // STRIDE : -(-stop // STRIDE)]
        for axis, size in enumerate((*target.shape[:2], stop - start)):
            mask = mask.repeat_interleave(STRIDE, axis).narrow(axis, 0, size)
        voxels = image.slab(start, stop)[mask & (target.slab(start, stop) < AIR)]
        total += voxels.numel()
        below += int((voxels < EMPHYSEMA).sum())
        summed += float(voxels.double().sum())
    return Density(100 * below / total, summed / total) if total else UNKNOWN
