"""The emphysema index: the share of the lung below -950 HU, which a kernel's noise drives up."""

from __future__ import annotations

import math

import torch
from bundle.lungs import lungs
from bundle.volumes import Slabs, slabs
from torch import Tensor

EMPHYSEMA = -950.0  # HU
AIR = -500.0  # HU: above lie vessels and walls
STRIDE = 4  # voxels: the lungs are looked for on a grid as coarse, 1/64 of the volume; divides the slabs


def lung_blocks(target: Slabs) -> Tensor:
    """Where the lungs are, every ``STRIDE`` voxels, boolean; all false where none are found."""
    coarse = [target.slab(start, stop)[::STRIDE, ::STRIDE, ::STRIDE] for start, stop in slabs(target.shape[2])]
    found = lungs(torch.cat(coarse, -1)[None], AIR, stride=1)[0]
    return found & ~found.all()


def emphysema_index(image: Slabs, target: Slabs, lung: Tensor) -> float:
    """The share of the target's lung voxels that are below -950 HU in the image, in percent; NaN without lungs.

    Args:
        image: what is measured.
        target: whose voxels below -500 HU are lung, within `lung`.
        lung: `lung_blocks` of the target.
    """
    below = total = 0
    for start, stop in slabs(target.shape[2]):
        mask = lung[..., start // STRIDE : -(-stop // STRIDE)]
        for axis, size in enumerate((*target.shape[:2], stop - start)):
            mask = mask.repeat_interleave(STRIDE, axis).narrow(axis, 0, size)
        mask = mask & (target.slab(start, stop) < AIR)
        total += int(mask.sum())
        below += int((image.slab(start, stop)[mask] < EMPHYSEMA).sum())
    return 100 * below / total if total else math.nan
