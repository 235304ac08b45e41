"""Check that two scans are two reconstructions of one acquisition."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from bundle.images import Volume
from bundle.scanner import spread_slices
from scipy.ndimage import gaussian_filter
from skimage.registration import phase_cross_correlation

#: Two scans are a pair if the medians over some slices, smoothed and clipped to soft tissue and below, have this
#: correlation at least, and this shift at most. Real pairs have 0.998 or more, neighbouring slices of 1 mm 0.988.
COMPARED, SMOOTH, ANATOMY, ALIKE, SHIFT = 5, 2.0, (-1000.0, 300.0), 0.99, 0.25


def check_one_acquisition(source: Volume, target: Volume, numbers: Sequence[int]) -> None:
    """Refuse scans that do not show the same anatomy at the same place, or are one.

    Args:
        source: one scan.
        target: the other, on the same grid.
        numbers: indices of the slices that count, of which a few are compared.

    Raises:
        ValueError: If the smoothed slices differ, or lie beside each other, or if all voxels are equal.
    """
    pair = f"source {str(source.path)!r} and target {str(target.path)!r}"
    alike, shifts, same = [], [], []
    for z in (numbers[i] for i in spread_slices(len(numbers), COMPARED)):
        slices = [scan.slab(z, z + 1)[..., 0] for scan in (source, target)]
        one, other = (gaussian_filter(each.clamp(*ANATOMY).numpy(), SMOOTH) for each in slices)
        same.append(torch.equal(*slices))
        if one.std() > 0 and other.std() > 0:
            alike.append(float(np.corrcoef(one.ravel(), other.ravel())[0, 1]))
            shifts.append(phase_cross_correlation(one, other, upsample_factor=20, normalization=None)[0])
    if alike and all(same):
        raise ValueError(f"{pair} are the same image; give two reconstructions of one acquisition, sharp and soft.")
    if not alike or np.median(alike) < ALIKE:
        told = f"a correlation of {np.median(alike):.3f}, less than {ALIKE}" if alike else "no structure"
        raise ValueError(f"{pair} have too little in common, {told}; give two reconstructions of one acquisition.")
    shift = np.abs(np.median(shifts, 0)).max()
    if shift > SHIFT:
        raise ValueError(
            f"{pair} are shifted by {shift:.2f} pixels, more than {SHIFT}; give two reconstructions with one field of "
            "view, not registered or resampled."
        )
