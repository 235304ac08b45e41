"""Noise in flat soft tissue: patches where the anatomy does not vary, and their power spectrum."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view
from scipy.ndimage import gaussian_filter
from torch import Tensor

SIDE = 24  # voxels of a patch
TISSUE = (-60.0, 160.0)  # HU: range of the smoothed values of a patch


def spread_slices(depth: int, most: int) -> list[int]:
    """Return at most so many slices spread over a depth, including the first and the last one."""
    return [int(z) for z in np.unique(np.linspace(0, depth - 1, min(depth, most)).astype(int))]


def tissue_patches(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Find the patches of a slice, `(x, y)` in HU, that lie in soft tissue.

    Returns:
        The first voxel of each patch of `SIDE` voxels, `(n, 2)`; and the range of its smoothed values in HU, `(n,)`,
        which is small if the patch is flat.
    """
    if min(image.shape) < SIDE:
        return np.zeros((0, 2), int), np.zeros(0)
    step = SIDE // 2
    smooth = sliding_window_view(gaussian_filter(image, 3), (SIDE, SIDE))[::step, ::step].astype(np.float64)
    low, high = smooth.min((2, 3)), smooth.max((2, 3))
    tissue = (low > TISSUE[0]) & (high < TISSUE[1])
    return np.argwhere(tissue) * step, (high - low)[tissue]


def mean_power(patches: Tensor, spacing: Sequence[float]) -> Tensor:
    """Return the mean noise power of patches, each minus its parabola: HU^2 mm^2 on the grid of an FFT, `(SIDE, SIDE)`.

    Args:
        patches: `(n, SIDE * SIDE)`, float64, in HU, n at least 1.
        spacing: voxel size in mm, of the first two axes.
    """
    x, y = (axis.ravel() - (SIDE - 1) / 2 for axis in np.mgrid[:SIDE, :SIDE])
    basis = torch.from_numpy(np.linalg.qr(np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], 1))[0])
    noise = (patches - (patches @ basis) @ basis.T).reshape(-1, SIDE, SIDE)
    window = torch.from_numpy(np.outer(np.hanning(SIDE), np.hanning(SIDE)))
    return torch.fft.fft2(noise * window).abs().square().mean(0) / window.square().sum() * math.prod(spacing[:2])
