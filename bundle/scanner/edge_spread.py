"""Estimate a scan's transfer function from its skin-air edges, without a phantom or a second scan.

Across the skin, a CT rises from air to tissue within a voxel or two, so the mean profile across it is the edge spread
function of the reconstruction kernel (Sanders, Hurwitz and Samei, Med Phys 43 (2016) 4854)::

    HU   0 |             .-----      the mean of many profiles, each aligned at its own -500 HU, on a grid of 0.1 mm;
           |            /            its derivative's Fourier transform is the transfer function, times the spectrum of
     -1000 |-----------'             the skin itself, which cancels in the ratio of two scans

A profile counts only where the surface is perpendicular to the slice (a thick slice blurs oblique skin as a kernel
would), with nothing but air outside (no clothes, table or arm, and no padding, whose rim no kernel has blurred) and
tissue inside. Where there is no skin, as in a phantom or a crop, all surfaces between air and tissue are used instead,
by the same rules. The scan is read slice by slice, in constant memory: only sums of profiles are kept, grouped by
direction; resampling the groups gives the standard deviations.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from bundle.runtime import one_thread, side_by_side
from bundle.scanner.clipping import FLOOR
from bundle.scanner.filters import at_once
from bundle.scanner.flat import Slices, spread_slices
from bundle.scanner.padding import padding
from bundle.scanner.squares import constant
from bundle.scanner.transfer import Transfer
from scipy.ndimage import (
    binary_erosion,
    binary_fill_holes,
    distance_transform_edt,
    gaussian_filter,
    label,
    map_coordinates,
)

SLICES = 48  # most slices to search, if they have 512 x 512 voxels or fewer
HALF = 14.0  # mm: length of a profile on either side
STEP = 0.1  # mm: grid of the mean profile
SKIN = -500.0  # HU: where profiles are aligned
UPRIGHT = 0.08  # largest component of the surface normal along z
SQUARE = 1.1  # largest ratio of the sides of a pixel
LARGEST = 5.0  # mm: larger pixels show no profile
SMALLEST = 0.01  # mm: smaller ones are those of no CT, and a profile of them would fill the memory
BORDER = 20  # voxels at the border of a slice that are excluded
FEWEST = 40  # fewest profiles
SURFACES = "all surfaces"
SECTORS = 16  # of directions; combined with even and odd slices, these are the groups to resample
RESAMPLES = 200
KNOTS = tuple(round(0.04 * k, 2) for k in range(41))  # 0 to 1.6 cycles/mm
UNDERSHOOTS = 12  # iterations that predict the undershoot; each halves what is missing
PADDED = 4096  # length of a line spread function for its Fourier transform
_EDGES = np.arange(-13.0, 13.0 + STEP / 2, STEP)
_SHAPE = (2 * SECTORS, len(_EDGES) - 1)


@dataclass(frozen=True)
class EdgeSpread:
    """The sums of profiles across the skin, `(groups, positions)`, and their number.

    Args:
        total: sum of the values in HU, per group and position on the grid.
        count: number of values, per group and position on the grid.
        profiles: number of profiles.
        upright: whether the surface is known to be perpendicular to the slice; a single slice does not show this.
        surface: what the profiles cross.
    """

    total: np.ndarray = field(default_factory=lambda: np.zeros(_SHAPE))
    count: np.ndarray = field(default_factory=lambda: np.zeros(_SHAPE))
    profiles: int = 0
    upright: bool = True
    surface: str = "the skin"

    def __add__(self, other: EdgeSpread) -> EdgeSpread:
        """Return the profiles of both; where they cross different things, only those of the skin."""
        if self.profiles and other.profiles and self.surface != other.surface:
            return other if self.surface == SURFACES else self
        upright = self.upright and other.upright
        total, count, profiles = self.total + other.total, self.count + other.count, self.profiles + other.profiles
        return EdgeSpread(total, count, profiles, upright, self.surface if self.profiles else other.surface)

    @property
    def told(self) -> bool:
        """Whether there are enough profiles."""
        return self.profiles >= FEWEST and int(np.count_nonzero(self.count.sum(1))) >= 2

    def by_direction(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the spectrum of the edge in each direction of the slice, and how many profiles there are.

        The spectra are `(SECTORS, knots)`, complex, 1 at frequency 0, and 0 without any profile; their phase is that of
        a position outside (negative) or inside of where the smoothed profile has -500 HU.
        """
        total, count = (each.reshape(SECTORS, 2, -1).sum(1) for each in (self.total, self.count))
        profiles = self.profiles * count.sum(1) / max(count.sum(), 1)
        spectra, seen = np.zeros((SECTORS, len(KNOTS)), complex), profiles > 0
        if seen.any():
            spectra[seen] = _spectra(total[seen], count[seen])
        return spectra, profiles

    def transfer(self, seed: int = 0) -> Transfer | None:
        """Return the transfer function, which includes the skin's own spectrum; None if there are too few profiles.

        Above the frequency where the gain falls below three standard deviations, it continues as a Gaussian.

        Args:
            seed: seed of the resampling.
        """
        if not self.told:
            return None
        groups = np.flatnonzero(self.count.sum(1))
        (gains,) = np.abs(_spectra(self.total.sum(0, keepdims=True), self.count.sum(0, keepdims=True)))
        draws = np.random.default_rng(seed).choice(groups, (RESAMPLES, len(groups)))
        parts = np.array_split(draws, RESAMPLES // 20)
        samples = np.abs(np.concatenate([_spectra(self.total[part].sum(1), self.count[part].sum(1)) for part in parts]))
        deviations = np.sqrt(np.mean((samples - gains) ** 2, 0))
        gains = np.sqrt(np.maximum(gains**2 - deviations**2, 0))  # remove the bias, as noise has a positive modulus
        gains = _continued(gains, deviations)
        return Transfer(
            KNOTS,
            (1.0, *gains[1:].tolist()),
            (0.0, *deviations[1:].tolist()),
            source=f"edge of {self.surface}, {self.profiles} profiles",
        )


def edge_spread(image: Slices, spacing: Sequence[float]) -> EdgeSpread:
    """Collect the profiles across the skin of a CT or, if too few, across all surfaces between air and tissue.

    Args:
        image: `(x, y, z)` in HU, slices in the first two axes; read slice by slice. If there is only one slice, oblique
            surfaces cannot be detected, so all profiles count.
        spacing: voxel spacing in mm, of the three axes. No profile is taken if the pixels are not square.
    """
    with one_thread() as threads:
        skin = _edges(image, spacing, EdgeSpread.surface, threads)
        return skin if skin.profiles >= FEWEST else _edges(image, spacing, SURFACES, threads)


def _edges(image: Slices, spacing: Sequence[float], surface: str, threads: int) -> EdgeSpread:
    """Collect the profiles across the skin or across all surfaces."""
    pixel = math.sqrt(float(spacing[0]) * float(spacing[1]))
    oblong = max(spacing[:2]) > SQUARE * min(spacing[:2])
    if min(image.shape[:2]) <= 2 * BORDER or oblong or not SMALLEST <= pixel <= LARGEST:
        return EdgeSpread(surface=surface)
    inner = crossed_slices(image.shape)
    beside = 1 if inner and image.shape[2] > 1 else 0

    def read(z: int) -> tuple[int, np.ndarray]:
        slab = image[..., z - beside : z + beside + 1].numpy()
        return z, np.ascontiguousarray(slab.transpose(2, 0, 1), np.float32)

    def crossed(given: tuple[int, np.ndarray]) -> EdgeSpread:
        z, slab = given
        slope_z = (_smooth(slab[2]) - _smooth(slab[0])) / (2 * float(spacing[2])) if beside else 0.0
        position, values, sector = _profiles(slab[beside], pixel, slope_z, surface)
        bins = np.digitize(position, _EDGES) - 1
        ok = (bins >= 0) & (bins < len(_EDGES) - 1)
        at = ((2 * sector + z % 2)[:, None] * (len(_EDGES) - 1) + bins)[ok]
        total = np.bincount(at, values[ok], math.prod(_SHAPE)).reshape(_SHAPE)
        count = np.bincount(at, minlength=math.prod(_SHAPE)).reshape(_SHAPE)
        return EdgeSpread(total, count, len(sector), bool(beside), surface)

    each = side_by_side(inner or [0], read, crossed, at_once(image.shape, threads))
    return sum(each, EdgeSpread(surface=surface))


def crossed_slices(shape: Sequence[int]) -> list[int]:
    """Return the slices of a CT `(x, y, z)` to search, each with both neighbours; fewer if slices are large."""
    x, y, depth = shape
    most = max(min(SLICES, SLICES * 512**2 // (x * y)), 1)
    return [0] if depth == 1 else [z + 1 for z in spread_slices(max(depth - 2, 1), most) if z + 2 < depth]


def largest_part(mask: np.ndarray) -> np.ndarray:
    """Return the largest component of a mask; boolean, all false if the mask is empty."""
    parts, count = label(mask)
    return np.asarray(parts == np.argmax(np.bincount(parts.ravel())[1:]) + 1 if count else np.zeros(mask.shape, bool))


def filled_body(tissue: np.ndarray) -> np.ndarray:
    """Return the largest component of a mask, filled; boolean, all false if the mask is empty."""
    return np.asarray(binary_fill_holes(largest_part(tissue)))


def _smooth(slice_: np.ndarray) -> np.ndarray:
    return gaussian_filter(slice_, 1.5)


def _profiles(
    slice_: np.ndarray, pixel: float, slope_z: np.ndarray | float, surface: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return distances to the skin in mm, positive inside, and values in HU, `(profiles, places)`, and the sectors."""
    smooth = _smooth(slice_)
    image = torch.from_numpy(slice_[..., None])
    outside, filling = padding(image), constant(image)
    tissue = smooth > SKIN
    if filling is not None:  # as bright as tissue
        filling &= image > SKIN
        tissue &= ~filling[..., 0].numpy()
    body = tissue if surface == SURFACES else filled_body(tissue)
    others = tissue & ~body
    gx, gy = np.gradient(smooth, pixel)
    slope = np.hypot(gx, gy) + 1e-3
    away = distance_transform_edt(~others) * pixel if others.any() else np.full(slice_.shape, 1e3)
    i, j = np.nonzero(body & ~binary_erosion(body))
    tilt = np.broadcast_to(np.abs(slope_z), slice_.shape)
    ok = (np.minimum(i, j) > BORDER) & (i < slice_.shape[0] - BORDER) & (j < slice_.shape[1] - BORDER)
    ok &= (slope[i, j] > 60 / pixel) & (away[i, j] > HALF + 2)
    ok &= tilt[i, j] < UPRIGHT * np.hypot(slope[i, j], tilt[i, j])
    i, j = i[ok], j[ok]
    nx, ny = (gx / slope)[i, j], (gy / slope)[i, j]
    t = np.arange(-HALF, HALF, pixel / 2)
    at = [i[:, None] + nx[:, None] * t / pixel, j[:, None] + ny[:, None] * t / pixel]
    sectors = ((np.arctan2(ny, nx) / (2 * math.pi) + 0.5) * SECTORS).astype(int) % SECTORS
    # Use the pixels nearest to the normal, at their own distance to the skin: interpolation would smooth the profile.
    rows, columns = (np.rint(axis).astype(int).clip(0, side - 1) for axis, side in zip(at, slice_.shape, strict=True))
    distances = ((rows - i[:, None]) * nx[:, None] + (columns - j[:, None]) * ny[:, None]) * pixel
    coarse = map_coordinates(smooth, at, order=1)
    crossings = (coarse[:, :-1] < SKIN) & (coarse[:, 1:] >= SKIN)
    first, every = crossings.argmax(1), np.arange(len(coarse))
    before, after = coarse[every, first], coarse[every, first + 1]
    with np.errstate(divide="ignore", invalid="ignore"):  # profiles that do not cross the skin are excluded below
        edges = (t[first] + (SKIN - before) / (after - before) * (t[1] - t[0]))[:, None]
        air, body = np.where(t < edges - 4, coarse, -np.inf).max(1), np.where(t > edges + 3, coarse, np.inf).min(1)
        ok = (crossings.sum(1) == 1) & (np.abs(edges[:, 0]) <= 2 * pixel) & (air <= -930) & (body >= -250)
    for mask in (outside, filling):
        if mask is not None:
            ok &= ~mask[..., 0].numpy()[rows, columns].any(1)
    return (distances - edges)[ok], slice_[rows, columns][ok], sectors[ok]


def _spectra(total: np.ndarray, count: np.ndarray) -> np.ndarray:
    """Return the spectrum of each edge at the knots, complex, 1 at 0, from `(n, positions)` sums of the profiles.

    A sharp kernel undershoots in the air next to the skin, and the scanner clips that at -1024 HU. As a kernel has zero
    phase, its edge spread undershoots air by as much as it overshoots tissue. The clipped part is therefore predicted
    from the current estimate of the kernel and added, iteratively.
    """
    at = (_EDGES[:-1] + _EDGES[1:]) / 2
    means = zip(total, count, count > 0, strict=True)
    mean = np.stack([np.interp(at, at[filled], values[filled] / of[filled]) for values, of, filled in means])
    window = np.exp(-((np.abs((at[:-1] + at[1:]) / 2) / 8) ** 6))
    near, air = (at > -6) & (at < 0), mean[:, : np.count_nonzero(at < -8)].mean(1, keepdims=True)
    outside = (np.arange(PADDED // 2 + 1) + 0.5 - PADDED // 2) * STEP
    whole, clipped = mean.copy(), np.arange(len(mean))
    for _ in range(UNDERSHOOTS):
        even = np.fft.irfft(np.abs(np.fft.rfft(np.diff(whole[clipped]) / STEP * window, PADDED)))
        rise = np.cumsum(np.concatenate([even[:, PADDED // 2 :], even[:, :1]], 1), 1) * STEP
        edge = air[clipped] + np.stack([np.interp(at[near], outside, row) for row in rise])
        missing = np.minimum(edge - FLOOR, 0)
        undershot = missing.any(1)
        clipped = clipped[undershot]
        if not len(clipped):
            break
        whole[np.ix_(clipped, near)] = mean[np.ix_(clipped, near)] + missing[undershot]
    waves = np.exp(-2j * np.pi * np.outer((at[:-1] + at[1:]) / 2, KNOTS))
    spectra = (np.diff(whole) * window) @ waves
    return np.asarray(spectra / spectra[:, :1].real)


def _continued(gains: np.ndarray, deviations: np.ndarray) -> np.ndarray:
    """Continue the gains as a Gaussian above the frequency up to which they are known."""
    weak = np.flatnonzero(gains < 3 * deviations)
    weak = weak[weak > 2]
    if not len(weak):
        return gains
    last = int(weak[0]) - 1
    squared = np.asarray(KNOTS) ** 2
    first = max(last // 2, 1)
    slope = (math.log(max(gains[last], 1e-4)) - math.log(max(gains[first], 1e-4))) / max(
        squared[last] - squared[first], 1e-6
    )
    out = gains.copy()
    out[last + 1 :] = gains[last] * np.exp(min(slope, -1.0) * (squared[last + 1 :] - squared[last]))
    return out
