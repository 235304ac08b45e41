"""Measure the noise power spectrum of a CT in flat soft tissue, in patches where the anatomy does not vary."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import numpy as np
import torch
from bundle.runtime import one_thread, side_by_side
from bundle.scanner.filters import at_once
from bundle.scanner.squares import constant
from numpy.lib.stride_tricks import sliding_window_view
from scipy.ndimage import gaussian_filter
from torch import Tensor

SIDE = 24  # voxels a side of a patch
TISSUE = (-60.0, 160.0)  # HU: allowed range of the smoothed values of a patch
SLICES = 48  # most slices to search, if they have 512 x 512 voxels or fewer
FILTER_RANGE = (-1200.0, 2000.0)  # HU: range to clip to before filtering, as padding and metal would ring
FEWEST_FLATTEST = 200  # fewest patches to use, if available, even if that is more than a third of them


class Slices(Protocol):
    """A CT, `(x, y, z)` in HU, read slice by slice: a tensor, or an image on disk."""

    @property
    def shape(self) -> Sequence[int]:
        """Voxels per axis."""

    def __getitem__(self, index: Any) -> Tensor:
        """Return one slice, `image[..., z]`, or several, `image[..., first:last]`."""


@dataclass(frozen=True)
class FlatNoise:
    """The noise of a CT in its flattest soft tissue.

    Args:
        power: summed noise power of the patches of each slice, HU^2 mm^2 on an FFT grid, `(slices, SIDE, SIDE)`.
        patches: number of patches of each slice, `(slices,)`.
        spacing: pixel spacing in mm.
    """

    power: Tensor
    patches: Tensor
    spacing: tuple[float, float]

    @property
    def count(self) -> int:
        """Number of patches."""
        return int(self.patches.sum())

    def mean(self) -> Tensor:
        """Return the mean noise power, `(SIDE, SIDE)`; NaN without patches."""
        return self.power.sum(0) / self.patches.sum()


def spread_slices(depth: int, most: int) -> list[int]:
    """Return at most ``most`` slices spread evenly over a depth, including the first and the last one."""
    return [int(z) for z in np.unique(np.linspace(0, depth - 1, min(depth, most)).astype(int))]


def searched_slices(shape: Sequence[int]) -> list[int]:
    """Return the slices of a CT `(x, y, z)` to search; fewer if slices are large."""
    x, y, depth = shape
    return spread_slices(depth, max(min(SLICES, SLICES * 512**2 // (x * y)), 1))


def tissue_patches(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Find the patches of a slice, `(x, y)` in HU, that lie in soft tissue, without what a scan is filled up with.

    Returns:
        The first voxel of each patch, `(n, 2)`; and the range of its smoothed values in HU, `(n,)`, which is small if
        the patch is flat.
    """
    if min(image.shape) < SIDE:
        return np.zeros((0, 2), int), np.zeros(0)
    step = SIDE // 2
    smooth = sliding_window_view(gaussian_filter(image, 3), (SIDE, SIDE))[::step, ::step].astype(np.float64)
    low, high = smooth.min((2, 3)), smooth.max((2, 3))
    tissue = (low > TISSUE[0]) & (high < TISSUE[1])
    filling = constant(torch.from_numpy(image[..., None]))
    if filling is not None:
        tissue &= ~sliding_window_view(filling[..., 0].numpy(), (SIDE, SIDE))[::step, ::step].any((2, 3))
    return np.argwhere(tissue) * step, (high - low)[tissue]


def flat_noise(image: Slices, spacing: Sequence[float]) -> FlatNoise:
    """Collect the noise of the flattest third of the patches in soft tissue, in memory that does not grow with the CT.

    The slices are read twice: first to find the flattest patches, then to measure their noise.

    Args:
        image: `(x, y, z)` in HU, slices in the first two axes.
        spacing: voxel spacing in mm of at least the first two axes.
    """
    pixel = (float(spacing[0]), float(spacing[1]))
    numbers = searched_slices(image.shape)
    with one_thread() as threads:
        found = list(side_by_side(numbers, partial(_piece, image), tissue_patches, at_once(image.shape, threads)))
        order = np.argsort(np.concatenate([ranges for _, ranges in found]), kind="stable")
        chosen = np.zeros(len(order), bool)
        chosen[order[: max(FEWEST_FLATTEST, len(order) // 3)]] = True
        power, patches, first = torch.zeros(len(numbers), SIDE, SIDE, dtype=torch.float64), [], 0
        for k, (z, (corners, _)) in enumerate(zip(numbers, found, strict=True)):
            flat = corners[chosen[first : first + len(corners)]]
            first += len(corners)
            piece = _piece(image, z) if len(flat) else np.zeros((0, 0))
            cut = [piece[i : i + SIDE, j : j + SIDE] for i, j in flat]
            patches.append(len(cut))
            if cut:
                rows = torch.from_numpy(np.stack(cut).reshape(len(cut), -1))
                power[k] = mean_power(rows, pixel) * len(cut)
    return FlatNoise(power, torch.tensor(patches, dtype=torch.float64), pixel)


def mean_power(patches: Tensor, spacing: Sequence[float]) -> Tensor:
    """Return the mean noise power of patches, HU^2 mm^2 on an FFT grid, `(SIDE, SIDE)`.

    A fitted 2D parabola is subtracted from each patch first.

    Args:
        patches: `(n, SIDE * SIDE)`, float64, in HU, n at least 1.
        spacing: voxel spacing in mm, of the first two axes.
    """
    x, y = (axis.ravel() - (SIDE - 1) / 2 for axis in np.mgrid[:SIDE, :SIDE])
    basis = torch.from_numpy(np.linalg.qr(np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], 1))[0])
    noise = (patches - (patches @ basis) @ basis.T).reshape(-1, SIDE, SIDE)
    window = torch.from_numpy(np.outer(np.hanning(SIDE), np.hanning(SIDE)))
    return torch.fft.fft2(noise * window).abs().square().mean(0) / window.square().sum() * math.prod(spacing[:2])


def _piece(image: Slices, z: int) -> np.ndarray:
    return np.clip(image[..., z].numpy().astype(np.float64), *FILTER_RANGE)
