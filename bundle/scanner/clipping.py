"""What a scanner cut off at the bottom of its 12 bits, put back in the mean.

Noise that would fall below -1024 HU becomes -1024: the mean of air and of dark lung rises, by 20 HU and more at a low
dose, and no filter afterwards knows it. But how many voxels lie at the floor, and how far the others are above it, tell
mean and spread of what was there (Tobin, Econometrica 26 (1958) 24), and so what is to be expected below the floor.
"""

from __future__ import annotations

import math

import torch
from bundle.scanner.acquisition import HU_RANGE
from bundle.scanner.filters import RADIUS, filtered
from monai.networks.layers import gaussian_1d
from torch import Tensor
from torch.nn import functional as F

FLOOR = float(HU_RANGE[0])
NEAR = 400.0  # HU above the floor: what is brighter is no air or lung, and is not asked
SIGMA = 4.0  # voxels: the neighbourhood that is asked, a Gaussian in the slice, ends at RADIUS
MOST = 0.5  # of a neighbourhood at the floor: where there is more, it is padding, or there is nothing to go by
LEAST = 1e-3


def unclipped(image: Tensor) -> Tensor:
    """Give each voxel at the floor the value that is to be expected below it; all others stay as they are.

    Args:
        image: `(slices, x, y)`, float32, in HU.

    Returns:
        The same shape. An image that holds values below the floor nearby was not cut off there, and stays.
    """
    at_floor = image == FLOOR
    if not at_floor.any():
        return image
    around = F.pad(image[:, None], (RADIUS,) * 4, mode="replicate")[:, 0]
    near = around < FLOOR + NEAR
    asked, floor, excess = (
        means[at_floor] for means in _blurred(near, around == FLOOR, (around - FLOOR).clamp(min=0) * near)
    )
    share = (floor / asked).clamp(LEAST, 1 - LEAST)
    # A normal distribution of mean FLOOR + depth * spread, of which the share lies below the floor.
    depth = -torch.special.ndtri(share)
    density = (-depth.square() / 2).exp() / math.sqrt(2 * math.pi)
    spread = excess / asked / (density + depth * torch.special.ndtr(depth))
    told = floor / asked < MOST
    below = around < FLOOR
    if below.any():
        told &= _blurred(below)[0][at_floor] < floor * LEAST
    out = image.clone()
    out[at_floor] = torch.where(told, FLOOR + spread * (depth - density / share), FLOOR)
    return out


def _blurred(*parts: Tensor) -> tuple[Tensor, ...]:
    """Weighted means over the neighbourhood, in the slice, of parts that have it all around."""
    taps = gaussian_1d(torch.tensor(SIGMA), RADIUS / SIGMA, approx="sampled", normalize=True)
    return filtered(torch.cat(parts).movedim(0, -1), torch.outer(taps, taps)).movedim(-1, 0).chunk(len(parts))
