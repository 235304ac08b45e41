"""Noise in flat soft tissue: what is left of a small patch where anatomy does not vary, and its power spectrum."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

SIDE = 24  # voxels of a patch
TISSUE = (-60.0, 160.0)  # HU: what a smoothed flat patch may hold


def spread_slices(depth: int, most: int) -> list[int]:
    """At most so many slices, spread over a depth, its first and last among them."""
    return [int(z) for z in np.unique(np.linspace(0, depth - 1, min(depth, most)).astype(int))]


def mean_power(patches: Tensor, spacing: Sequence[float]) -> Tensor:
    """The mean noise power of patches, each less its parabola: HU^2 mm^2 on the grid of an FFT, `(SIDE, SIDE)`.

    Args:
        patches: `(n, SIDE * SIDE)`, float64, in HU, n at least 1.
        spacing: voxel size in mm, of the first two axes.
    """
    x, y = (axis.ravel() - (SIDE - 1) / 2 for axis in np.mgrid[:SIDE, :SIDE])
    basis = torch.from_numpy(np.linalg.qr(np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], 1))[0])
    left = (patches - (patches @ basis) @ basis.T).reshape(-1, SIDE, SIDE)
    window = torch.from_numpy(np.outer(np.hanning(SIDE), np.hanning(SIDE)))
    return torch.fft.fft2(left * window).abs().square().mean(0) / window.square().sum() * math.prod(spacing[:2])
