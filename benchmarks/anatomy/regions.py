"""Measure mean HU of tissues, and how much of the target's detail a result has in each frequency band."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.ndimage import binary_erosion, gaussian_filter

from bundle.evaluation.metrics import body_mask, lung_mask

SMOOTHING = 1.5  # voxels, smoothing of the image that is segmented into tissues
AWAY = 10  # voxels, distance of outside air from the body
#: HU ranges in a smoothed target.
TISSUES = {"fat": (-130.0, -60.0), "soft tissue": (0.0, 90.0), "bone": (200.0, 1500.0)}
EDGE_OF_VIEW = -1020.0  # HU; values up to it are outside the scanner's field of view
BANDS = ((0.05, 0.2), (0.2, 0.4), (0.4, 0.6))  # cycles/mm
PATCH = 32  # pixels
LEAST = 100  # smallest mean number of voxels of a tissue per slice
NAMES = ("air", "lung", *TISSUES)


def tissues(target: np.ndarray) -> dict[str, np.ndarray]:
    """Return masks of air outside the body, lung, fat, soft tissue and bone, `(x, y, z)`, from the target alone."""
    masks = {name: np.zeros(target.shape, bool) for name in NAMES}
    for z in range(target.shape[2]):
        image = target[..., z].astype(float)
        smooth, body, lung = gaussian_filter(image, SMOOTHING), body_mask(image), lung_mask(image)
        outside = binary_erosion(~body, iterations=AWAY, border_value=1)
        masks["air"][..., z] = outside & (smooth < -900) & (smooth > EDGE_OF_VIEW)
        masks["lung"][..., z] = lung & (smooth < -700)
        for name, (low, high) in TISSUES.items():
            masks[name][..., z] = binary_erosion(body & (smooth > low) & (smooth < high))
    return masks


def shifts(result: np.ndarray, target: np.ndarray, masks: dict[str, np.ndarray]) -> list[float]:
    """Return the error of each tissue's mean in HU; NaN for a tissue with too few voxels."""
    every = (masks[name] for name in NAMES)
    seen = ((mask, mask.sum() >= LEAST * target.shape[2]) for mask in every)
    return [float((result[mask] - target[mask]).mean()) if enough else float("nan") for mask, enough in seen]


def gains(result: np.ndarray, target: np.ndarray, spacing: Sequence[float], body: np.ndarray) -> list[float]:
    """Return the gain from target to result in each band: 1 for equal detail, below 1 if detail was smoothed away.

    The gain is a least squares fit over patches within the body, cross spectrum over power spectrum. It includes noise
    and anatomy alike, since both images are from one acquisition.

    Args:
        result: `(x, y, z)` in HU.
        target: `(x, y, z)` in HU.
        spacing: voxel spacing in mm.
        body: mask of the body, `(x, y, z)`, boolean.
    """
    window = np.hanning(PATCH)[:, None] * np.hanning(PATCH)[None, :]
    fx, fy = (np.fft.fftfreq(PATCH, mm) for mm in spacing[:2])
    frequency = np.hypot(fx[:, None], fy[None, :])
    cross, power = np.zeros(frequency.shape), np.zeros(frequency.shape)
    for x, y, z in patches(body, PATCH, PATCH // 2):
        a, b = (image[x : x + PATCH, y : y + PATCH, z].astype(float) for image in (result, target))
        a, b = (np.fft.fft2((image - image.mean()) * window) for image in (a, b))
        cross += (a * b.conj()).real
        power += np.abs(b) ** 2
    inside = [(frequency >= low) & (frequency < high) for low, high in BANDS]
    return [float(cross[band].sum() / power[band].sum()) if power.any() else float("nan") for band in inside]


def patches(mask: np.ndarray, side: int, step: int) -> list[tuple[int, int, int]]:
    """Return the first voxels of in-slice squares that lie within a mask."""
    found = []
    for z in range(mask.shape[2]):
        for x in range(0, mask.shape[0] - side + 1, step):
            for y in range(0, mask.shape[1] - side + 1, step):
                if mask[x : x + side, y : y + side, z].all():
                    found.append((x, y, z))
    return found
