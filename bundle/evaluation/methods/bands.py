"""Baseline: normalize the energies of frequency bands to those of reference scans.

After Gallardo-Estrella et al., Eur Radiol 26 (2016) 478. A slice is the sum of differences of Gaussians and a low-pass
residual. The energy of a band is its standard deviation within the lungs. Each band is scaled so that its energy equals
the mean over scans of the target kernel; since bands overlap, this is repeated until no band changes by more than 5 %.
The paper's bands have widths of 1, 2, 4, 8 and 16 voxels; here the filters are 2D. Only the lungs change: outside, the
lungs' mean is filled in before filtering, since the chest wall is not texture. An image without lungs is left as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import ClassVar

import numpy as np
import torch
from bundle.evaluation.cases import Pair
from bundle.evaluation.methods.method import Filter
from bundle.evaluation.metrics import lung_mask
from bundle.images import Slabs, Volume
from bundle.scanner import FILTER_RANGE, spread_slices
from scipy.ndimage import gaussian_filter
from torch import Tensor

SIGMAS = (1.0, 2.0, 4.0, 8.0, 16.0)  # voxels
TOLERANCE = 0.05
STEPS = 10  # largest number of repetitions
LEAST = 20000  # smallest number of lung voxels
SLICES = 16  # largest number of slices of an image in which energies are measured


@dataclass(frozen=True)
class BandEnergies(Filter):
    """Scale each frequency band to its energy in scans of the target kernel.

    Args:
        energies: energy of each band in HU, from fine to coarse; null: measured on the targets of tuning pairs, without
            using their sources.
        scales: factors of the bands for each repetition; found by `settled`.
    """

    energies: tuple[float, ...] | None = None
    scales: tuple[tuple[float, ...], ...] = ()
    title: ClassVar[str] = "band energies normalized"
    parameter: ClassVar[str] = "energies"

    def fit(self, pairs: Sequence[Pair]) -> tuple[float, ...]:
        """Return the mean energies of the targets."""
        return reference_energies([Volume(pair.target) for pair in pairs])

    def settled(self, image: Slabs) -> BandEnergies:
        """Return the filter with the scales of one image."""
        assert self.energies is not None
        slices, masks = _judged(image)
        scales: list[tuple[float, ...]] = []
        for _ in range(STEPS if sum(mask.sum() for mask in masks) >= LEAST else 0):
            now = _energies(slices, masks)
            step = tuple(float(wanted / max(have, 1e-3)) for wanted, have in zip(self.energies, now, strict=True))
            if max(abs(scale - 1) for scale in step) <= TOLERANCE:
                break
            scales.append(step)
            slices = [scaled(each, mask, step) for each, mask in zip(slices, masks, strict=True)]
        return replace(self, scales=tuple(scales))

    def filtered(self, slab: Tensor, spacing: Sequence[float]) -> Tensor:  # noqa: ARG002 - it works in voxels
        """Scale the bands in the lungs of each slice."""
        out = slab.numpy().astype(np.float32)
        for z in range(out.shape[-1] if self.scales else 0):
            mask = lung_mask(out[..., z])
            for step in self.scales:
                out[..., z] = scaled(out[..., z], mask, step)
        return torch.from_numpy(out)


def reference_energies(images: Sequence[Slabs]) -> tuple[float, ...]:
    """Return the mean energy of each band over scans of one kernel, in HU."""
    return tuple(float(energy) for energy in np.mean([_energies(*_judged(image)) for image in images], 0))


def scaled(image: np.ndarray, mask: np.ndarray, scales: Sequence[float]) -> np.ndarray:
    """Scale the bands of a slice within a mask."""
    if not mask.any():
        return image
    parts, rest = _bands(image, mask)
    return np.where(mask, rest + sum(scale * part for scale, part in zip(scales, parts, strict=True)), image)


def _bands(image: np.ndarray, mask: np.ndarray) -> tuple[list[np.ndarray], np.ndarray]:
    filled = np.where(mask, image, image[mask].mean())
    smooth = [filled, *(gaussian_filter(filled, sigma, mode="nearest") for sigma in SIGMAS)]
    return [a - b for a, b in pairwise(smooth)], smooth[-1]


def _judged(image: Slabs) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Return some slices of an image and their lung masks."""
    slices = [
        image.slab(z, z + 1)[..., 0].float().clamp(*FILTER_RANGE).numpy() for z in spread_slices(image.shape[2], SLICES)
    ]
    return slices, [lung_mask(each) for each in slices]


def _energies(slices: Sequence[np.ndarray], masks: Sequence[np.ndarray]) -> list[float]:
    """Return the standard deviation of each band within the masks."""
    squares, count = np.zeros(len(SIGMAS)), 0
    for image, mask in zip(slices, masks, strict=True):
        if mask.any():
            parts, _ = _bands(image, mask)
            squares += [float(np.square(part[mask]).sum()) for part in parts]
            count += int(mask.sum())
    return np.sqrt(squares / max(count, 1)).tolist()
