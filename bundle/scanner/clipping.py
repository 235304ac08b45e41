"""What a scanner cut off at the bottom of its 12 bits, put back in the mean.

Noise that would fall below -1024 HU becomes -1024: the mean of air and of dark lung rises, by 20 HU and more at a low
dose, and no filter afterwards knows it. But how many voxels lie at the floor, and how far the others are above it, tell
mean and spread of what was there (Tobin, Econometrica 26 (1958) 24), and so what is to be expected below the floor.
"""

from __future__ import annotations

import math

import torch
from bundle.scanner.acquisition import HU_RANGE
from monai.networks.layers import gaussian_1d, separable_filtering
from torch import Tensor

FLOOR = float(HU_RANGE[0])
NEAR = 400.0  # HU above the floor: what is brighter is no air or lung, and is not asked
SIGMA, RADIUS = 4.0, 12  # voxels: the neighbourhood that is asked, a Gaussian in the slice and where it ends
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
    near = image < FLOOR + NEAR
    above = (image - FLOOR).clamp(min=0) * near
    asked, floor, excess, below = (_blurred(part.to(image.dtype)) for part in (near, at_floor, above, image < FLOOR))
    asked = asked.clamp(min=1e-6)
    share = (floor / asked).clamp(LEAST, 1 - LEAST)
    # A normal distribution of mean FLOOR + depth * spread, of which the share lies below the floor.
    depth = -torch.special.ndtri(share)
    density = (-depth.square() / 2).exp() / math.sqrt(2 * math.pi)
    spread = excess / asked / (density + depth * torch.special.ndtr(depth))
    expected = FLOOR + spread * (depth - density / share)
    told = at_floor & (floor / asked < MOST) & (below < floor * LEAST)
    return torch.where(told, expected, image)


def _blurred(image: Tensor) -> Tensor:
    """Weighted means over the neighbourhood, in the slice, the border repeated."""
    taps = gaussian_1d(torch.tensor(SIGMA), RADIUS / SIGMA, approx="sampled", normalize=True)
    return separable_filtering(image[:, None], [taps, taps], mode="replicate")[:, 0]
