"""The noise power spectrum of an image: from flat soft tissue, where what varies is noise."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.ndimage import gaussian_filter

from bundle.evaluation.volumes import Slabs

SIDE = 24  # voxels of a patch
SLICES = 16  # most slices that are looked at
PATCHES = 200
TISSUE = (-60.0, 160.0)  # HU: what a smoothed patch may hold
BINS = 16

Place = tuple[int, int, int]


def flat_places(target: Slabs) -> list[Place]:
    """Corners of the flattest patches of soft tissue, `SIDE` voxels in x and y; none where there is no tissue."""
    found: list[tuple[float, Place]] = []
    for z in looked_at(target):
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
    window = np.outer(np.hanning(SIDE), np.hanning(SIDE))
    x, y = (axis.ravel() - (SIDE - 1) / 2 for axis in np.mgrid[:SIDE, :SIDE])
    parabola = np.linalg.qr(np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], 1))[0]
    power = np.zeros((SIDE, SIDE))
    for z in sorted({place[2] for place in places}):
        slice_ = image.slab(z, z + 1)[..., 0].double().numpy()
        for a, b in (place[:2] for place in places if place[2] == z):
            patch = slice_[a : a + SIDE, b : b + SIDE].ravel()
            patch = patch - parabola @ (parabola.T @ patch)
            power += np.abs(np.fft.fft2(patch.reshape(SIDE, SIDE) * window)) ** 2
    pixel = image.spacing[0] * image.spacing[1]
    power *= pixel / (window**2).sum() / max(len(places), 1)
    fx, fy = (np.fft.fftfreq(SIDE, mm) for mm in image.spacing[:2])
    radius = np.hypot(fx[:, None], fy)
    edges = np.linspace(0, 0.5 / max(image.spacing[:2]), BINS + 1)
    bins = np.digitize(radius.ravel(), edges) - 1
    count = np.bincount(bins, minlength=BINS)[:BINS]
    total = np.bincount(bins, power.ravel(), BINS)[:BINS]
    seen = count > 0
    return ((edges[:-1] + edges[1:]) / 2)[seen], total[seen] / count[seen]


def looked_at(image: Slabs) -> list[int]:
    """Slices spread over the image."""
    depth = image.shape[2]
    return sorted({int(z) for z in np.linspace(0, depth - 1, min(depth, SLICES))})
