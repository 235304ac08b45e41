"""Find and fill padding: what a scanner stores outside its circular field of view, which no kernel has acted on.

::

    -2000 -2000 -2000 | 35 60 41      A filter would smear the padding into the body, and the rim of the circle is not
      30     34    36 | 35 60 41      an edge of the body. So it is filled from the voxels beside it before filtering,
                                      and put back afterwards.

A voxel is padding if it is darker than anything in a scan, or if it lies in a square of SIDE voxels that are all at the
floor of -1024 HU or below: with noise, clipped air does not look like that.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from bundle.scanner.clipping import FLOOR, unclipped
from bundle.scanner.filters import RADIUS, smoothed, with_border
from bundle.scanner.flat import FILTER_RANGE
from bundle.scanner.squares import SIDE, in_squares
from monai.networks.layers import gaussian_1d
from torch import Tensor
from torch.nn import functional as F

DARK = -1500.0  # HU: neither air nor its noise is darker
SIGMA, REACH = 2.0, RADIUS - SIDE + 1  # voxels: the Gaussian from whose neighbourhood padding is filled; where it ends
LEAST = 1e-3  # smallest weight of the voxels beside it for which padding is filled


def padding(image: Tensor) -> Tensor | None:
    """Return the mask of the padding of a CT, `(x, y, z)`, boolean; None if there is none.

    Args:
        image: `(x, y, z)` in HU; a voxel depends on those up to `SIDE - 1` away in the slice.
    """
    mask = image < DARK
    squares = in_squares(image <= FLOOR)
    if squares is not None:
        mask = mask | squares
    return mask if mask.any() else None


def prepared(image: Tensor, outside: Tensor | None) -> Tensor:
    """Return a CT as filters need it, `(x, y, z)`, float32, in HU: padding filled, and metal clipped, which would ring.

    Values clipped at -1024 HU are restored in the mean (`bundle.scanner.clipping`).

    Args:
        image: `(x, y, z)` in HU.
        outside: mask of its `padding`; None for none.
    """
    restored = unclipped(image.to(torch.float32)).clamp(*FILTER_RANGE)
    if outside is None:
        return restored
    inside = (~outside).to(torch.float32)
    total, weight = (smoothed(with_border(part), _gaussian()) for part in (restored * inside, inside))
    return torch.where(outside & (weight > LEAST), total / weight.clamp(min=LEAST), restored)


def put_back(result: Tensor, image: Tensor, outside: Tensor | None) -> Tensor:
    """Return a filtered CT, `(x, y, z)`, with the padding of the CT itself, clipped as before filtering."""
    return result if outside is None else torch.where(outside, image.clamp(*FILTER_RANGE), result)


def near_padding(image: Tensor) -> Tensor:
    """Return the mask of the voxels of a slice, `(x, y)`, up to `RADIUS` from padding, where no filter is known."""
    outside = padding(image[..., None])
    if outside is None:
        return torch.zeros(image.shape, dtype=torch.bool)
    return F.max_pool2d(outside.movedim(-1, 0).float(), 2 * RADIUS + 1, 1, RADIUS)[0] > 0


@lru_cache(maxsize=1)
def _gaussian() -> Tensor:
    taps = gaussian_1d(torch.tensor(SIGMA), REACH / SIGMA, approx="sampled", normalize=True)
    return F.pad(taps, (RADIUS - REACH,) * 2)
