"""The noise power spectrum of an image, from flat soft tissue, where only noise varies."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from bundle import scanner
from bundle.images import Slabs
from bundle.scanner import SIDE, mean_power, spread_slices, tissue_patches

SLICES = 16  # most slices to search
PATCHES = 200
BINS = 16

Place = tuple[int, int, int]


def flat_places(target: Slabs) -> list[Place]:
    """Return the first voxels of the flattest patches of soft tissue, `SIDE` voxels in x and y; empty if none are."""
    patches: list[tuple[float, Place]] = []
    for z in spread_slices(target.shape[2], SLICES):
        corners, ranges = tissue_patches(target.slab(z, z + 1)[..., 0].numpy())
        patches += [(spread, (int(x), int(y), z)) for (x, y), spread in zip(corners, ranges.tolist(), strict=True)]
    return [place for _, place in sorted(patches)[:PATCHES]]


def noise_spectrum(image: Slabs, places: Sequence[Place]) -> tuple[np.ndarray, np.ndarray]:
    """Return radial frequency in cycles/mm and noise power in HU^2 mm^2, the mean over the patches at some places."""
    patches = []
    for z in sorted({place[2] for place in places}):
        slice_ = image.slab(z, z + 1)[..., 0].double()
        patches += [slice_[x : x + SIDE, y : y + SIDE].flatten() for x, y, at in places if at == z]
    power = mean_power(torch.stack(patches), image.spacing).numpy()
    radius = scanner.frequencies(image.spacing[:2], size=SIDE).numpy()
    edges = np.linspace(0, 0.5 / max(image.spacing[:2]), BINS + 1)
    bins = np.digitize(radius.ravel(), edges) - 1
    count = np.bincount(bins, minlength=BINS)[:BINS]
    total = np.bincount(bins, power.ravel(), BINS)[:BINS]
    filled = count > 0
    return ((edges[:-1] + edges[1:]) / 2)[filled], total[filled] / count[filled]
