"""Find a scan's kernel from its noise, and undo it: the noise spectrum is matched to that of a soft kernel.

Noise passes a reconstruction kernel as anatomy does, but its spectrum before the kernel is known: it rises with
frequency. So flat soft tissue, where only noise varies, determines the kernel without a phantom, a header entry or a
second scan. The filter that turns the scan's kernel into the soft one is linear, the same everywhere in the volume, and
of bounded reach; the rest is left to the cascade.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Protocol

import numpy as np
import torch
from bundle.scanner.clipping import unclipped
from bundle.scanner.filters import filter_taps, filtered, with_border
from bundle.scanner.flat import SIDE, mean_power, spread_slices, tissue_patches
from bundle.scanner.kernel import NOISE_POWER, SOFT, Kernel, frequencies, noise_power, ratio
from scipy.optimize import least_squares
from torch import Tensor

SLICES = 48  # most slices to search, of 512 x 512 voxels or less
AT_ONCE = 2**20  # voxels filtered at once, in whole slices, to bound the memory
FEWEST = 60  # patches that are needed to find a kernel
FILTER_RANGE = (-1200.0, 2000.0)  # HU: clipped before filtering; padding around the field of view and metal would ring


class Slices(Protocol):
    """A CT, `(x, y, z)` in HU, that is read slice by slice: a tensor, or an image on disk."""

    @property
    def shape(self) -> Sequence[int]:
        """Voxels per axis."""

    def __getitem__(self, index: Any) -> Tensor:
        """One slice, `image[..., z]`."""


def find_kernel(image: Slices, spacing: Sequence[float]) -> Kernel | None:
    """Return the kernel of a CT, found from its noise in flat soft tissue; None if there is too little of it.

    Args:
        image: `(x, y, z)` in HU, slices in the first two axes; read slice by slice.
        spacing: voxel size in mm of at least the first two axes.
    """
    spacing = tuple(float(size) for size in spacing[:2])
    patches = _flat_patches(image)
    if len(patches) < FEWEST:
        return None
    power = mean_power(patches, spacing)
    frequency = frequencies(spacing, size=SIDE)
    # Below, a patch is too small to separate noise from anatomy; above are only the corners of the frequency square.
    use = (frequency > 0.12) & (frequency < 0.61 / max(spacing))
    target, weight = power[use].log(), 1 / frequency[use].sqrt()
    rounding = math.prod(spacing) / 12

    def kernel(numbers: Sequence[float]) -> Kernel:
        half, order, edge, position, cutoff = (float(number) for number in numbers[:5])
        return Kernel(math.exp(half), math.exp(order), edge, position, cutoff)

    def misfit(numbers: Sequence[float]) -> np.ndarray:
        base, folded = noise_power(kernel(numbers), spacing, SIDE)
        model = (base + folded) / NOISE_POWER * math.exp(numbers[5]) + rounding
        data = (model[use].log() - target) * weight
        # Parameters that the noise does not determine stay near those of a usual kernel.
        usual = (0.3 * (numbers[1] - math.log(3)), 0.9 * numbers[2], 3 * (numbers[3] - 0.5), 3 * (numbers[4] - 1.4))
        return np.concatenate([data.numpy(), usual])

    start = (math.log(0.6), math.log(3), 0.2, 0.5, 1.4, 7.0)
    bounds = (
        (math.log(0.2), math.log(1.5), 0.0, 0.25, 0.6, -5.0),
        (math.log(2.0), math.log(10.0), 2.5, 0.8, 2.2, 16.0),
    )
    return kernel(least_squares(misfit, start, bounds=bounds, x_scale=(0.3, 0.3, 0.3, 0.1, 0.3, 1.0)).x)


def matched(image: Tensor, spacing: Sequence[float], kernel: Kernel, target: Kernel = SOFT) -> Tensor:
    """Filter a CT of one kernel into one of the target, without sharpening: the same shape, float32, in HU.

    Values clipped at -1024 HU are first restored in the mean (`unclipped`).

    Args:
        image: `(x, y, z)` in HU.
        spacing: voxel size in mm, of the first two axes.
        kernel: the image's.
        target: the kernel of the result.
    """
    image = image.to(torch.float32)
    out = torch.empty_like(image)
    step = max(1, AT_ONCE // (image.shape[0] * image.shape[1]))
    for z in range(0, image.shape[2], step):
        restored = unclipped(image[..., z : z + step].movedim(-1, 0)).movedim(0, -1)
        out[..., z : z + step] = matched_window(with_border(restored), spacing, kernel, target)
    return out


def matched_window(image: Tensor, spacing: Sequence[float], kernel: Kernel, target: Kernel = SOFT) -> Tensor:
    """Return the result of `matched` inside a window: `RADIUS` voxels a side less in the first two axes.

    Values clipped at -1024 HU are not restored here.
    """
    taps = matching_taps(kernel, target, tuple(float(size) for size in spacing[:2]))
    return filtered(image.clamp(*FILTER_RANGE), taps)


@lru_cache(maxsize=64)
def matching_taps(kernel: Kernel, target: Kernel, spacing: tuple[float, float]) -> Tensor:
    """Return the taps that turn one kernel into the other where that is smoother, and change nothing else."""
    return filter_taps(ratio(target, kernel, frequencies(spacing)).clamp(max=1.0), mean=1.0)


def _flat_patches(image: Slices) -> Tensor:
    """Return the flattest third of the patches in soft tissue, `(n, SIDE * SIDE)`, float64."""
    patches, spread = [torch.empty((0, SIDE * SIDE), dtype=torch.float64)], []
    x, y, depth = image.shape
    for z in spread_slices(depth, max(min(SLICES, SLICES * 512**2 // (x * y)), 1)):
        piece = np.clip(image[..., z].double().numpy(), *FILTER_RANGE)
        corners, ranges = tissue_patches(piece)
        patches += [torch.from_numpy(piece[i : i + SIDE, j : j + SIDE].reshape(1, -1)) for i, j in corners]
        spread.append(torch.from_numpy(ranges))
    order = torch.cat(spread).argsort()
    return torch.cat(patches)[order[: max(200, len(order) // 3)]]
