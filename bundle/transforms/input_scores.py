"""Score how much an image looks like a CT in HU, from a few of its slices.

::

    image, any size      sampled slices                 from each slice
    [. . . . . . . .] -> [0 . . 3 . . 6 .]           -> every n-th pixel: values, air, lung, border
                                                        its middle, every pixel: noise

At most 16 slices are read, whatever the image's size, so an image in memory and one on disk have the same scores.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from bundle.images import Opened
from bundle.scanner import SIDE, flat_noise, spread_slices
from bundle.transforms.lung_mask import inside_body
from scipy.ndimage import binary_dilation, label

SLICES = 16  # most slices that are sampled
MOST = 512  # most pixels that are sampled along each axis of a slice
BLOCK = 8  # pixels along each axis of a block, which is averaged
AIR = -900.0  # HU: values below are air, or no part of the patient
TISSUE = -500.0  # HU: values above are not air
LUNG = (-950.0, -500.0)  # HU
METAL = 2500.0  # HU: brighter than bone
RANGE = (-1400.0, 3200.0)  # HU: tissue, metal, and the noise of air
PADDING = 1.0  # percent of the voxels: more at one value in air are padding, or clipped
BANDS = (0.25, 0.35), (0.45, 0.55)  # cycles/mm: noise that every kernel keeps, and noise that a soft one removes
PATCHES = 15  # fewest patches of flat soft tissue to measure noise
FINE = 1.0  # mm: larger pixels do not resolve these frequencies
BODY = 1e4  # mm^2: minimum mean area of the body per slice
COARSE = 20.0  # mm: the largest block that resolves lungs


@dataclass(frozen=True)
class InputScores:
    """Statistics of the sampled slices of an image; shares are in percent of their voxels.

    Args:
        low: smallest value, without padding (a value in air that more than 1 % of the voxels have).
        high: largest value.
        spread: distance from the 0.05th to the 99th percentile, without padding.
        depth: how far the 0.05th percentile lies below 0, in units of the spread.
        median: median value, without padding.
        outside: share of voxels outside -1400 to 3200 HU, without padding.
        zeros: share of voxels that are exactly 0.
        equal: share of the most common value above -900 HU.
        value: that value.
        padded: share of the most common value of at most -900 HU.
        lung_left: share between -950 and -500 HU among the voxels without that value.
        tissue: mean of the densest block of 8 x 8 pixels.
        structure: standard deviation of the means of such blocks, relative to that of the voxels; white noise has 1/8.
        deviation: standard deviation of the voxels, without padding.
        side: length of the shorter side of a slice in mm.
        border: share of tissue along the border of the slices, inside any padding.
        lungs: share of air in the body; None if too little body is visible, or the slices are not axial.
        metal: share of voxels above 2500 HU.
        noise: standard deviation in flat soft tissue; None if too little is visible, or the slices are not axial.
        sharpness: power of that noise from 0.45 to 0.55 cycles/mm, relative to that from 0.25 to 0.35; None if there is
            no noise value or the pixels are too large.
    """

    low: float
    high: float
    spread: float
    depth: float
    median: float
    outside: float
    zeros: float
    equal: float
    value: float
    padded: float
    lung_left: float
    tissue: float
    structure: float
    deviation: float
    side: float
    border: float
    lungs: float | None
    metal: float
    noise: float | None
    sharpness: float | None


def input_scores(image: Opened) -> InputScores:
    """Score a 3D image, whose slices lie along its last axis.

    Args:
        image: `(x, y, z)`, opened from a path or held in memory; at most 16 of its slices are read, one by one.

    Raises:
        ImageError: If these cannot be read, or contain NaN or infinity.
    """
    voxels, middle = _looked_at(image)
    spacing = image.spacing
    step = -(-max(image.shape[:2]) // MOST)
    values, counts = _histogram(voxels)
    low, high = float(voxels.min()), float(voxels.max())
    in_air = values <= AIR
    padded, air = _most(counts, values, in_air, voxels)
    equal, value = _most(counts, values, ~in_air, voxels)
    inner = voxels[voxels != air] if padded > PADDING else voxels.ravel()
    inner = inner if inner.size else voxels.ravel()
    lowest, median, highest = (float(q) for q in np.percentile(inner, (0.05, 50, 99)))
    spread = highest - lowest
    blocks = _blocks(voxels)
    pixel = step * math.sqrt(spacing[0] * spacing[1])
    upright = bool(np.argmax(np.abs(image.affine[:3, 2])) == 2)
    noise, sharpness = _noise(middle, spacing) if upright else (None, None)
    left = voxels[voxels != air]
    return InputScores(
        low=float(inner.min()),
        high=high,
        spread=spread,
        depth=-lowest / spread if spread else 0.0,
        median=median,
        outside=_percent((inner < RANGE[0]) | (inner > RANGE[1])),
        zeros=_percent(voxels == 0),
        equal=equal,
        value=value,
        padded=padded,
        lung_left=_percent((left >= LUNG[0]) & (left < LUNG[1])) if left.size else 0.0,
        tissue=float(blocks.max()),
        structure=float(blocks.std() / voxels.std()) if high > low else 0.0,
        deviation=float(inner.std()),
        side=min(size * mm for size, mm in zip(image.shape[:2], spacing, strict=False)),
        border=_border(voxels),
        lungs=_lungs(blocks, pixel * BLOCK) if upright else None,
        metal=_percent(voxels > METAL),
        noise=noise,
        sharpness=sharpness,
    )


def _looked_at(image: Opened) -> tuple[np.ndarray, np.ndarray]:
    """Return the sampled slices, subsampled to at most 512 x 512 pixels, and the middle of each, float32."""
    x, y, depth = image.shape
    step = -(-max(x, y) // MOST)
    inner = tuple(slice(max(size - MOST, 0) // 2, max(size - MOST, 0) // 2 + MOST) for size in (x, y))
    thinned, middle = [], []
    for z in spread_slices(depth, SLICES):
        found = image[slice(0, x), slice(0, y), slice(z, z + 1)][..., 0].astype(np.float32)
        thinned.append(found[::step, ::step].copy())
        middle.append(found[inner].copy() if step > 1 else found[:0])
    voxels = np.stack(thinned, -1)
    return voxels, np.stack(middle, -1) if step > 1 else voxels


def _percent(mask: np.ndarray) -> float:
    return 100 * float(np.count_nonzero(mask)) / mask.size


def _histogram(voxels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the integers from -4096 to 4095, and how many voxels round to each; values beyond count at the ends."""
    counts = np.zeros(8192, np.int64)
    for image in np.moveaxis(voxels, -1, 0):
        counts += np.bincount(np.rint(image).clip(-4096, 4095).astype(np.int64).ravel() + 4096, minlength=8192)
    return np.arange(-4096, 4096), counts


def _most(counts: np.ndarray, values: np.ndarray, chosen: np.ndarray, voxels: np.ndarray) -> tuple[float, float]:
    """Return the share of the most common of the chosen values, and that value."""
    at = int(np.argmax(np.where(chosen, counts, 0)))
    if not counts[at] or not chosen[at]:
        return 0.0, 0.0
    value = float(values[at])
    if value in (-4096, 4095):  # the end bins hold all values beyond
        near = voxels[voxels <= value] if value < 0 else voxels[voxels >= value]
        value = float(near.min() if value < 0 else near.max())
    return _percent(voxels == value), value


def _blocks(voxels: np.ndarray) -> np.ndarray:
    """Return the means of blocks of 8 x 8 pixels, or of smaller blocks in a slice of fewer pixels."""
    side = [min(BLOCK, size) for size in voxels.shape[:2]]
    x, y = (size // n for size, n in zip(voxels.shape[:2], side, strict=True))
    return np.asarray(voxels[: x * side[0], : y * side[1]].reshape(x, side[0], y, side[1], -1).mean((1, 3)))


def _border(voxels: np.ndarray) -> float:
    """Return the share of tissue along the border of the slices, in percent, inside any padding."""
    tissue = border = 0
    for image in np.moveaxis(voxels, -1, 0):
        padding = np.zeros(image.shape, bool)
        if image[0, 0] <= AIR and image[0, 0] == image[0, -1] == image[-1, 0] == image[-1, -1]:
            parts, _ = label(image == image[0, 0])
            padding = parts == parts[0, 0]
            padding |= np.isin(parts, np.unique(parts[[0, 0, -1, -1], [0, -1, 0, -1]]))
        rim = binary_dilation(np.pad(padding, 1, constant_values=True))[1:-1, 1:-1] & ~padding
        border += int(rim.sum())
        tissue += int((image[rim] > TISSUE).sum())
    return 100 * tissue / border if border else 0.0


def _lungs(blocks: np.ndarray, side: float) -> float | None:
    """Return the share of air in the body in percent, from the means of blocks with a side in mm."""
    body = inside_body(blocks)
    if side > COARSE or body.sum() * side**2 < BODY * blocks.shape[-1]:
        return None
    return 100 * float((body & (blocks < TISSUE)).sum()) / float(body.sum())


def _noise(middle: np.ndarray, spacing: Sequence[float]) -> tuple[float | None, float | None]:
    """Return the noise in flat soft tissue of every second slice, and its sharpness, see `InputScores`."""
    found = flat_noise(torch.from_numpy(middle[..., ::2]), spacing)
    if found.count < PATCHES:
        return None, None
    power = found.mean()
    frequency = [torch.fft.fftfreq(SIDE, float(mm), dtype=torch.float64) for mm in spacing[:2]]
    radius = torch.hypot(*torch.meshgrid(*frequency, indexing="ij"))
    deviation = math.sqrt(float(power.mean()) / math.prod(spacing[:2]))
    if max(spacing[:2]) > FINE:
        return deviation, None
    middle_band, high = (float(power[(radius >= a) & (radius < b)].mean()) for a, b in BANDS)
    return deviation, high / middle_band if middle_band > 0 else None
