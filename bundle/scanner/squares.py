"""Find squares of voxels in slices that are all of one kind, and those that all have one value, which no scanner shows.

What fills the corners beside a turned or resampled scan, or what a table was replaced by, has no noise. It may have any
value, and its rim is not an edge of the body, as no kernel has acted on it.
"""

from __future__ import annotations

from functools import reduce

import torch
from torch import Tensor
from torch.nn import functional as F

SIDE = 7  # voxels
BLOCK = (SIDE + 1) // 2  # any SIDE voxels in a row contain this many that begin at a multiple of it


def in_squares(mask: Tensor) -> Tensor | None:
    """Return where a mask has squares of SIDE voxels in the slice, as a mask; None if it has none.

    Args:
        mask: `(x, y, z)`, boolean.
    """
    if not _may_have(mask):
        return None
    squares = _met(~_met(~mask.movedim(-1, 0), 0), SIDE - 1).movedim(0, -1)
    return squares if squares.any() else None


def constant(image: Tensor) -> Tensor | None:
    """Return the mask of squares of SIDE voxels that equal their neighbours; None if there are none.

    Args:
        image: `(x, y, z)`.
    """
    same = torch.zeros(image.shape, dtype=torch.bool)
    here = image[:-1, :-1]
    same[:-1, :-1] = (image[1:, :-1] == here) & (image[:-1, 1:] == here)
    return in_squares(same)


def _may_have(mask: Tensor) -> bool:
    """Return whether there may be a square of SIDE voxels: a quick test, as most CTs have none."""
    if min(mask.shape[:2]) < SIDE:
        return False
    for axis in range(2):  # one after the other, by whole rows: a tenth of the time of `all` over both
        blocks = mask.narrow(axis, 0, mask.shape[axis] // BLOCK * BLOCK).unflatten(axis, (-1, BLOCK))
        mask = reduce(torch.logical_and, blocks.unbind(axis + 1))
    return bool(mask.any())


def _met(mask: Tensor, more: int) -> Tensor:
    """Return where a square of SIDE voxels meets a mask `(z, x, y)`, which is extended by ``more`` voxels before."""
    grown = F.pad(mask.float(), (more,) * 4)
    return F.max_pool2d(F.max_pool2d(grown, (SIDE, 1), 1), (1, SIDE), 1) > 0
