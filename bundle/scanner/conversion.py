"""Convert a CT from one kernel to another, as calibrated on a pair of scans, by a filter and a shift of HU levels.

A filter with gain 1 at frequency 0 keeps the mean of each region, but two kernels of a scanner do not have the same
mean everywhere: values are clipped at -1024 HU before or after the kernel, abruptly or gradually, and air or dark lung
is brighter with a sharp kernel than with a soft one. The pair reveals this difference, which is stored as a shift per
HU level. The level is looked up at the smoothed value, so that the noise of a voxel does not affect its shift.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from bundle.scanner.filters import RADIUS, filter_taps, filtered, in_parts, with_border
from bundle.scanner.kernel import frequencies
from bundle.scanner.padding import padding, prepared, put_back
from bundle.scanner.transfer import Transfer
from monai.networks.layers import gaussian_1d
from torch import Tensor
from torch.nn import functional as F

SMOOTHING = 1.4  # mm: standard deviation of the in-slice Gaussian that smooths the values at which levels are looked up
REACH = 3 * RADIUS  # voxels on each side, in the slice, on which a result depends: for clipping, filter and levels


@dataclass(frozen=True)
class Conversion:
    """A calibrated conversion.

    Args:
        filter: gain of the radial filter, 1 at frequency 0.
        levels: smoothed values of the filtered image in HU, increasing; empty for no shift.
        shifts: HU to add at each level; linear between levels and constant beyond.

    Raises:
        ValueError: If levels and shifts are not finite, differ in length, or the levels do not increase.
    """

    filter: Transfer
    levels: tuple[float, ...] = ()
    shifts: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        rising = all(a < b for a, b in zip(self.levels[:-1], self.levels[1:], strict=True))
        if len(self.levels) != len(self.shifts) or not rising or not all(map(math.isfinite, self.levels + self.shifts)):
            raise ValueError(
                f"levels {self.levels} and shifts {self.shifts} must be finite, of one length, the levels increasing."
            )


def converted(image: Tensor, spacing: Sequence[float], conversion: Conversion) -> Tensor:
    """Convert a CT, slice by slice: the same shape, float32, in HU.

    Args:
        image: `(x, y, z)` in HU, reconstructed with the source kernel of the conversion.
        spacing: voxel spacing in mm, of the first two axes.
        conversion: the calibrated conversion.
    """
    taps = _taps(conversion.filter, (float(spacing[0]), float(spacing[1])))

    def change(part: Tensor) -> Tensor:
        outside = padding(part)
        shown = filtered(with_border(prepared(part, outside)), taps)
        if conversion.levels:
            shift = np.interp(smoothed(shown, spacing).numpy(), conversion.levels, conversion.shifts)
            shown = shown + torch.from_numpy(shift).to(torch.float32)
        return put_back(shown, part, outside)

    return in_parts(image, REACH, change)


def smoothed(image: Tensor, spacing: Sequence[float]) -> Tensor:
    """Return the smoothed image at which the shift of levels is looked up, `(x, y, z)`."""
    return filtered(with_border(image), _smoothing(float(spacing[0]), float(spacing[1])))


@lru_cache(maxsize=64)
def _smoothing(*spacing: float) -> Tensor:
    x, y = (
        gaussian_1d(torch.tensor(SMOOTHING / mm), RADIUS * mm / SMOOTHING, approx="sampled", normalize=True)
        for mm in spacing
    )
    return torch.outer(_centred(x), _centred(y))


def _centred(taps: Tensor) -> Tensor:
    """Crop or pad taps to length `2 RADIUS + 1`, with sum 1."""
    more = len(taps) // 2 - RADIUS
    taps = taps[more : len(taps) - more] if more > 0 else F.pad(taps, (-more, -more))
    return taps / taps.sum()


@lru_cache(maxsize=64)
def _taps(gain: Transfer, spacing: tuple[float, float]) -> Tensor:
    return filter_taps(gain.transfer(frequencies(spacing)), mean=1.0)
