"""Compute objects of known size as an ideal scanner shows them with a kernel.

A ball or a rod along z is a disc in each slice. The spectrum of a disc of radius R is `R J1(2 pi f R) / f`; multiplied
by the kernel's transfer function, it is the disc as the kernel shows it, before pixels are formed. It is sampled at the
pixel centres and averaged over the thickness of the slice.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.special import j1
from torch import Tensor

from bundle.scanner import SOFT, Kernel, frequencies

FINE = 4  # samples per pixel before those at the centres are taken, with a Nyquist frequency beyond soft kernels
LAYERS = 16  # discs averaged over a slice


@dataclass(frozen=True)
class Ball:
    """A ball.

    Args:
        diameter: in mm.
    """

    diameter: float

    @property
    def half(self) -> float:
        """Half its length along z, in mm."""
        return self.diameter / 2

    @property
    def volume(self) -> float:
        """In mm^3."""
        return math.pi * self.diameter**3 / 6

    def radii(self, z: np.ndarray) -> np.ndarray:
        """Return the radius of its disc at heights ``z`` above the middle, in mm; 0 for none."""
        return np.sqrt(np.maximum(self.half**2 - z**2, 0))


@dataclass(frozen=True)
class Rod:
    """A rod perpendicular to the slices.

    Args:
        diameter: in mm.
        length: in mm.
    """

    diameter: float
    length: float = 14.0

    @property
    def half(self) -> float:
        """Half its length along z, in mm."""
        return self.length / 2

    @property
    def volume(self) -> float:
        """In mm^3."""
        return math.pi * self.diameter**2 / 4 * self.length

    def radii(self, z: np.ndarray) -> np.ndarray:
        """Return the radius of its disc at heights ``z`` above the middle, in mm; 0 for none."""
        return np.where(np.abs(z) < self.half, self.diameter / 2, 0.0)


def stamp(
    shape: Ball | Rod,
    spacing: Sequence[float],
    size: Sequence[int],
    offset: Sequence[float] = (0.0, 0.0),
    kernel: Kernel = SOFT,
) -> Tensor:
    """Return the filled fraction of each voxel after a kernel: `(x, y, z)`, float32, about 0 to 1.

    Args:
        shape: the object; it is centred near voxel `size // 2`.
        spacing: voxel spacing in mm of the three axes.
        size: number of voxels per axis.
        offset: offset of its middle from the centre of that voxel in the slice, in mm.
        kernel: reconstruction kernel, which acts in the slice.
    """
    fine = [mm / FINE for mm in spacing[:2]]
    sides = [side * FINE for side in size[:2]]
    frequency = frequencies(fine, size=sides).numpy()
    gain = kernel.transfer(torch.from_numpy(frequency)).numpy()
    shift = [np.fft.fftfreq(side, mm) * by for side, mm, by in zip(sides, fine, offset, strict=True)]
    turn = np.exp(-2j * math.pi * (shift[0][:, None] + shift[1][None, :]))
    heights = ((np.arange(LAYERS) + 0.5) / LAYERS - 0.5) * spacing[2]
    out = np.zeros(tuple(size), np.float32)
    for z in range(size[2]):
        radii = shape.radii((z - size[2] // 2) * spacing[2] + heights)
        if radii.any():
            counted = zip(*np.unique(radii, return_counts=True), strict=True)
            disc = sum(_disc(frequency, radius) * count for radius, count in counted)
            fine_slice = np.fft.ifft2(disc / LAYERS * gain * turn).real / math.prod(fine)
            out[..., z] = np.roll(fine_slice[::FINE, ::FINE], [side // 2 for side in size[:2]], (0, 1))
    return torch.from_numpy(out)


def _disc(frequency: np.ndarray, radius: float) -> np.ndarray:
    """Return the spectrum of a disc, in mm^2."""
    with np.errstate(invalid="ignore", divide="ignore"):
        values = radius * j1(2 * math.pi * frequency * radius) / frequency
    return np.where(frequency == 0, math.pi * radius**2, values)
