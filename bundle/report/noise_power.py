"""Estimate the noise power spectrum of an image in flat soft tissue, where only noise varies."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from bundle import scanner
from bundle.images import Slabs
from bundle.scanner import SIDE, mean_power, spread_slices, tissue_patches
from torch import Tensor

SLICES = 16  # largest number of slices to search
PATCHES = 200
BINS = 16

Place = tuple[int, int, int]


def flat_places(target: Slabs) -> list[Place]:
    """Return the first voxels of the flattest soft-tissue patches, `SIDE` voxels in x and y; may be empty."""
    patches: list[tuple[float, Place]] = []
    for z in spread_slices(target.shape[2], SLICES):
        corners, ranges = tissue_patches(target.slab(z, z + 1)[..., 0].numpy())
        patches += [(spread, (int(x), int(y), z)) for (x, y), spread in zip(corners, ranges.tolist(), strict=True)]
    return [place for _, place in sorted(patches)[:PATCHES]]


def patch_power(image: Slabs, places: Sequence[Place]) -> Tensor:
    """Return the mean noise power of the patches at some places, in HU^2 mm^2 on an FFT grid, `(SIDE, SIDE)`."""
    patches = []
    for z in sorted({place[2] for place in places}):
        slice_ = image.slab(z, z + 1)[..., 0].double()
        patches += [slice_[x : x + SIDE, y : y + SIDE].flatten() for x, y, at in places if at == z]
    return mean_power(torch.stack(patches), image.spacing)


def noise_spectrum(image: Slabs, places: Sequence[Place]) -> tuple[np.ndarray, np.ndarray]:
    """Return radial frequencies in cycles/mm and the mean noise power of the patches at some places, in HU^2 mm^2."""
    return radial_mean(patch_power(image, places), image.spacing)


def radial_mean(power: Tensor, spacing: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """Return radial frequencies in cycles/mm and the mean of a spectrum over each ring that is not empty."""
    radius = scanner.frequencies(spacing[:2], size=SIDE).numpy()
    edges = np.linspace(0, 0.5 / max(spacing[:2]), BINS + 1)
    bins = np.digitize(radius.ravel(), edges) - 1
    count = np.bincount(bins, minlength=BINS)[:BINS]
    total = np.bincount(bins, power.numpy().ravel(), BINS)[:BINS]
    filled = count > 0
    return ((edges[:-1] + edges[1:]) / 2)[filled], total[filled] / count[filled]


def deviation_of(power: Tensor, spacing: Sequence[float]) -> float:
    """Return the standard deviation of the noise in HU: the root of the power's integral over all frequencies."""
    return math.sqrt(float(power.sum()) / (SIDE**2 * math.prod(spacing[:2])))
