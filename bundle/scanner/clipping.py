"""Restore, in the mean, values that a scanner clipped at the lower end of its 12 bits.

Noise below -1024 HU becomes -1024, which raises the mean of air and dark lung, by 20 HU and more at a low dose, and no
later filter can correct this. But the fraction of voxels at this floor, and how far the others lie above it, determine
the mean and standard deviation of the original values (Tobin, Econometrica 26 (1958) 24), and thus the expected value
below the floor.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from bundle.scanner.acquisition import HU_RANGE
from bundle.scanner.filters import RADIUS, smoothed, with_border
from monai.networks.layers import gaussian_1d
from torch import Tensor

FLOOR = float(HU_RANGE[0])
NEAR = 400.0  # HU above the floor: brighter voxels are neither air nor lung, and are ignored
SIGMA = 4.0  # voxels: standard deviation of the neighbourhood, a Gaussian in the slice that ends at RADIUS
MOST = 0.5  # largest fraction of a neighbourhood at the floor: with more, it is padding, or evidence is insufficient
LEAST = 1e-3


def unclipped(image: Tensor) -> Tensor:
    """Replace each voxel at the floor by its expected value; all others are unchanged.

    Args:
        image: `(x, y, slices)`, float32, in HU.

    Returns:
        The same shape. The image is unchanged near values below the floor, as it was not clipped there.
    """
    at_floor = (image.movedim(-1, 0) == FLOOR).nonzero(as_tuple=True)  # slice, x, y
    if not len(at_floor[0]):
        return image
    above = with_border(image).movedim(-1, 0).sub_(FLOOR)
    fields = above.new_empty((3, *above.shape))
    torch.lt(above, NEAR, out=fields[0])
    torch.eq(above, 0, out=fields[1])
    torch.mul(above.clamp(min=0), fields[0], out=fields[2])
    nearby, floor, excess = (means[at_floor] for means in _blurred(fields))
    share = (floor / nearby).clamp(LEAST, 1 - LEAST)
    # A normal distribution of mean FLOOR + depth * deviation, of which the fraction `share` lies below the floor.
    depth = -torch.special.ndtri(share)
    density = (-depth.square() / 2).exp() / math.sqrt(2 * math.pi)
    deviation = excess / nearby / (density + depth * torch.special.ndtr(depth))
    valid = floor / nearby < MOST
    below = above < 0
    if below.any():
        valid &= _blurred(below.float()[None])[0][at_floor] < floor * LEAST
    out = image.clone()
    out.movedim(-1, 0)[at_floor] = torch.where(valid, FLOOR + deviation * (depth - density / share), FLOOR)
    return out


def _blurred(fields: Tensor) -> Tensor:
    """Return weighted means over the neighbourhood in the slice, `(fields, slices, x, y)`.

    Args:
        fields: `(fields, slices, x, y)`, with a margin of RADIUS voxels, which the result lacks.
    """
    means = smoothed(fields.flatten(0, 1).movedim(0, -1), _neighbourhood())
    return means.movedim(-1, 0).unflatten(0, fields.shape[:2])


@lru_cache(maxsize=1)
def _neighbourhood() -> Tensor:
    return gaussian_1d(torch.tensor(SIGMA), RADIUS / SIGMA, approx="sampled", normalize=True)
