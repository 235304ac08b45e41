"""The noise power spectrum of an image: from flat soft tissue, where what varies is noise."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from bundle import scanner
from bundle.images import Slabs
from bundle.scanner import SIDE, TISSUE, mean_power, spread_slices
from scipy.ndimage import gaussian_filter

SLICES = 16  # most slices that are looked at
PATCHES = 200
BINS = 16

Place = tuple[int, int, int]


def flat_places(target: Slabs) -> list[Place]:
    """Corners of the flattest patches of soft tissue, `SIDE` voxels in x and y; none where there is no tissue."""
    found: list[tuple[float, Place]] = []
    for z in spread_slices(target.shape[2], SLICES):
        smooth = gaussian_filter(target.slab(z, z + 1)[..., 0].numpy(), 3)
        for x in range(0, smooth.shape[0] - SIDE + 1, SIDE // 2):
            for y in range(0, smooth.shape[1] - SIDE + 1, SIDE // 2):
                patch = smooth[x : x + SIDE, y : y + SIDE]
                low, high = float(patch.min()), float(patch.max())
                if TISSUE[0] < low and high < TISSUE[1]:
                    found.append((high - low, (x, y, z)))
    return [place for _, place in sorted(found)[:PATCHES]]


def noise_spectrum(image: Slabs, places: Sequence[Place]) -> tuple[np.ndarray, np.ndarray]:
    """Radial frequency in cycles/mm and noise power in HU^2 mm^2, the mean over patches at the same places."""
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
    seen = count > 0
    return ((edges[:-1] + edges[1:]) / 2)[seen], total[seen] / count[seen]
