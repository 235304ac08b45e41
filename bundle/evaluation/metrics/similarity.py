"""SSIM, MAE and MSE in an intensity window, per slice and per block, with the memory of one slab.

On volumes that fit into memory they equal MONAI's `SSIMMetric` (2D), `MAEMetric` and `MSEMetric` of the slices.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from bundle.images import SLAB, Slabs, slabs
from monai.metrics.regression import compute_ssim_and_cs
from torch import Tensor
from torch.nn import functional as F

IntensityWindow = Sequence[float]
LUNG = (-1000.0, 200.0)  # HU, scaled to 0..1
NAMES = ("ssim", "mae", "mse")
#: Size of a block in voxels. Blocks do not overlap; incomplete ones are left out.
BLOCK = (64, 64, SLAB)
SIDE, SIGMA = 11, 1.5  # Gaussian window of the SSIM, MONAI's defaults


@dataclass(frozen=True)
class Comparison:
    """Comparison of a result with its target: the values of each metric, by its name.

    Args:
        slices: one value per slice.
        blocks: one value per block of `BLOCK` voxels.
    """

    slices: dict[str, np.ndarray]
    blocks: dict[str, np.ndarray]

    def mean(self, name: str) -> float:
        """Return the mean over the slices, which is the mean over the image."""
        return float(self.slices[name].mean())


def compare(result: Slabs, target: Slabs, window: IntensityWindow = LUNG) -> Comparison:
    """Compare two images on one grid, slab by slab.

    Args:
        result: the image to measure.
        target: the reference.
        window: intensity window that is scaled to 0..1, in the images' units.

    Raises:
        ValueError: If the shapes differ, or a slice is too small for the SSIM's window.
    """
    if result.shape != target.shape or min(target.shape[:2]) < SIDE:
        raise ValueError(
            f"result {result.shape} and target {target.shape} must be of one shape, at least {SIDE} voxels in x and y."
        )
    slices: dict[str, list[np.ndarray]] = {name: [] for name in NAMES}
    blocks: dict[str, list[np.ndarray]] = {name: [] for name in NAMES}
    depth = target.shape[2]
    for start, stop in slabs(depth):
        for name, values in zip(NAMES, maps(result.slab(start, stop), target.slab(start, stop), window), strict=True):
            slices[name].append(values.double().nanmean((1, 2)).numpy())
            if stop - start == min(BLOCK[2], depth):
                blocks[name].append(block_means(values))
    return Comparison(*({name: np.concatenate(parts[name]) for name in NAMES} for parts in (slices, blocks)))


def windowed(image: Tensor, window: IntensityWindow = LUNG) -> Tensor:
    """Scale an intensity window to 0..1, and clip values beyond it."""
    return (image.clamp(*window) - window[0]) / (window[1] - window[0])


def maps(result: Tensor, target: Tensor, window: IntensityWindow) -> tuple[Tensor, Tensor, Tensor]:
    """Return maps of SSIM, absolute and squared error of two slabs, `(x, y, z)`: three maps `(z, x, y)`.

    The SSIM is NaN near the border, where its window does not fit.
    """
    a, b = (windowed(image, window).movedim(-1, 0)[:, None] for image in (result, target))
    ssim, _ = compute_ssim_and_cs(a, b, 2, (SIDE, SIDE), (SIGMA, SIGMA), data_range=1.0)
    ssim = F.pad(ssim, (SIDE // 2,) * 4, value=torch.nan)
    difference = a - b
    return ssim[:, 0], difference.abs()[:, 0], difference.square()[:, 0]


def block_means(values: Tensor) -> np.ndarray:
    """Return the mean of each block of a map, `(z, x, y)`, one block thick; a smaller image is one block."""
    sides = [min(side, size) for side, size in zip(BLOCK, values.shape[1:], strict=False)]
    cut = values.double().unfold(1, sides[0], sides[0]).unfold(2, sides[1], sides[1])
    return cut.nanmean((0, 3, 4)).flatten().numpy()
