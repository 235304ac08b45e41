"""Represent a reconstruction kernel by a measured transfer function: gains at knots of the radial frequency."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor


class TransferFunction(Protocol):
    """A kernel: a parametric `bundle.scanner.Kernel`, or a measured `Transfer`."""

    def transfer(self, frequency: Tensor) -> Tensor:
        """Return the gain at each radial frequency in cycles/mm, same shape; 1 at 0."""


@dataclass(frozen=True)
class Transfer:
    """A measured transfer function, linear between knots and constant after the last one.

    Args:
        knots: frequencies in cycles/mm, increasing from 0.
        gains: one per knot, finite and not negative; 1 at 0.
        deviations: standard deviation of each gain; empty if unknown.
        manufacturer: manufacturer of the scanner; empty if unknown.
        name: name of the kernel, as in DICOM's ConvolutionKernel; empty if unknown.
        source: what it was measured on, as free text.
        upright: whether it was measured at surfaces that are known to be perpendicular to the slice.

    Raises:
        ValueError: If the knots do not increase from 0, or if gains or deviations have the wrong number of values or
            invalid ones.
    """

    knots: tuple[float, ...]
    gains: tuple[float, ...]
    deviations: tuple[float, ...] = ()
    manufacturer: str = ""
    name: str = ""
    source: str = ""
    upright: bool = False

    def __post_init__(self) -> None:
        what = f"kernel {self.name!r}"
        rising = all(a < b for a, b in zip(self.knots, self.knots[1:], strict=False))
        if len(self.knots) < 2 or self.knots[0] != 0 or not rising:
            raise ValueError(f"{what}: knots {self.knots} do not increase from 0; give at least two.")
        if len(self.gains) != len(self.knots) or self.gains[0] != 1:
            raise ValueError(
                f"{what}: {len(self.gains)} gains for {len(self.knots)} knots; give one each, the first 1."
            )
        if (count := len(self.deviations)) not in (0, len(self.knots)):
            raise ValueError(f"{what}: {count} deviations for {len(self.knots)} knots; give one each or none.")
        if not all(math.isfinite(v) and v >= 0 for v in (*self.knots, *self.gains, *self.deviations)):
            raise ValueError(f"{what}: knots, gains and deviations must be finite and not negative.")

    def transfer(self, frequency: Tensor) -> Tensor:
        """Return the gain at each radial `frequency` in cycles/mm, same shape; 1 at 0."""
        return _interpolated(frequency, self.knots, self.gains)

    def deviation(self, frequency: Tensor) -> Tensor:
        """Return the standard deviation of the gain at each `frequency`; NaN if unknown."""
        if not self.deviations:
            return torch.full_like(frequency, torch.nan)
        return _interpolated(frequency, self.knots, self.deviations)


def sampled(kernel: TransferFunction, knots: Sequence[float]) -> tuple[float, ...]:
    """Return the gains of a kernel at knots in cycles/mm."""
    return tuple(kernel.transfer(torch.tensor(knots, dtype=torch.float64)).tolist())


def _interpolated(frequency: Tensor, knots: Sequence[float], values: Sequence[float]) -> Tensor:
    found = np.interp(frequency.double().cpu().numpy(), knots, values)
    return torch.from_numpy(np.asarray(found)).to(frequency.device, frequency.dtype)
