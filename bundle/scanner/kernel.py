"""Reconstruction kernels as transfer functions in the slice plane, and their noise power.

Noise power of filtered backprojection: Riederer, Pelc and Chesler, Phys Med Biol 23 (1978) 446.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from monai.utils import ensure_tuple_rep
from torch import Tensor

#: Multiples of the sampling frequency, per axis, from which noise is aliased onto the grid; (0, 0) is the grid itself.
TURNS = tuple((i, j) for i in (-1, 0, 1) for j in (-1, 0, 1))
GRID = 128  # frequencies per axis at which a transfer function is sampled; much finer than a filter's taps need


@dataclass(frozen=True)
class Kernel:
    """A reconstruction kernel: the product of roll-off, edge enhancement and cut-off, each radial and 1 at frequency 0.

    Args:
        half: frequency in cycles/mm at which the roll-off alone is 0.5.
        order: steepness of the roll-off; 2 is a Gaussian.
        edge: gain of the edge enhancement; 0 for none.
        position: frequency in cycles/mm where the edge enhancement peaks.
        cutoff: frequency in cycles/mm from which the gain is 0; the last fifth before it is tapered.
    """

    half: float
    order: float = 2.0
    edge: float = 0.0
    position: float = 0.5
    cutoff: float = 1.5

    def transfer(self, frequency: Tensor) -> Tensor:
        """Return the gain at each radial `frequency` in cycles/mm, same shape; 1 at 0."""
        bump = (frequency / self.position) ** 3
        enhance = 1 + self.edge * bump * torch.exp(1 - bump)
        rolloff = torch.exp(-math.log(2) * (frequency / self.half) ** self.order)
        taper = ((frequency / self.cutoff - 0.8) / 0.2).clamp(0, 1)
        return enhance * rolloff * (1 + torch.cos(math.pi * taper)) / 2

    @staticmethod
    def random(generator: torch.Generator | None = None) -> Kernel:
        """Draw a sharp kernel, from milder than B60f to sharper than B80f and GE LUNG; `SHARP` lies in between.

        Uniform: half 0.55..1.15, position 0.3..0.7, cutoff 1.0..1.8 cycles/mm. Log-uniform: order 2..8.
        Edge 1.5 u^2 with u uniform: mostly mild, sometimes strong.
        """
        half, order, edge, position, cutoff = torch.rand(5, generator=generator, dtype=torch.float64).tolist()
        return Kernel(
            half=0.55 + 0.6 * half,
            order=2 * 4**order,
            edge=1.5 * edge**2,
            position=0.3 + 0.4 * position,
            cutoff=1.0 + 0.8 * cutoff,
        )


# Fitted by docs/figures/calibrate_scanner.py to one real pair, B40f and B70f of the same acquisition, 0.65 mm pixels:
# the transfer ratio from the cross spectrum, the noise power from flat soft tissue. Nothing else was taken from it.
SOFT = Kernel(half=0.385, order=1.92, edge=0.037, position=0.114)
SHARP = Kernel(half=0.824, order=6.53, edge=0.308, position=0.490)
NOISE_POWER = 1370.0  # HU^2 mm^2 per cycle/mm, before the kernel, at dose 100: about 11 HU soft and 42 HU sharp
LEAST_TRANSFER = 0.05  # smallest divisor of the ratio: below it, the soft image has nothing left to sharpen


def ratio(kernel: Kernel, image_kernel: Kernel, frequency: Tensor) -> Tensor:
    """Return the gain that turns an image of `image_kernel` into one of `kernel`; bounded where the former vanishes."""
    below = image_kernel.transfer(frequency)
    return kernel.transfer(frequency) / (below**8 + LEAST_TRANSFER**8) ** (1 / 8) * (1 + LEAST_TRANSFER**8) ** (1 / 8)


def noise_power(kernel: Kernel, spacing: Sequence[float], size: int = GRID) -> tuple[Tensor, Tensor]:
    """Return the noise power at dose 100, HU^2 mm^2, on an FFT grid, and that aliased onto it, `(size, size)` each."""

    def power(fold: tuple[int, int]) -> Tensor:
        frequency = frequencies(spacing, fold, size)
        return NOISE_POWER * frequency * kernel.transfer(frequency) ** 2

    folded = sum((power(turn) for turn in TURNS if turn != (0, 0)), torch.zeros(size, size, dtype=torch.float64))
    return power((0, 0)), folded


def frequencies(spacing: Sequence[float], fold: tuple[int, int] = (0, 0), size: int | Sequence[int] = GRID) -> Tensor:
    """Return the radial frequency in cycles/mm on an FFT grid, or of the frequencies aliased onto it.

    Args:
        spacing: pixel spacing in mm, per axis.
        fold: multiple of the sampling frequency to add, per axis.
        size: pixels per axis, one number or one per axis; also the shape of the result.
    """
    fx, fy = (
        torch.fft.fftfreq(side, mm, dtype=torch.float64) + turn / mm
        for side, mm, turn in zip(ensure_tuple_rep(size, 2), spacing, fold, strict=True)
    )
    return torch.hypot(fx[:, None], fy[None, :])
