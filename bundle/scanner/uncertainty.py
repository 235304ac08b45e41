"""Estimate the uncertainty of a conversion between two kernels: the relative standard deviation of its gain.

::

    calibrated on a pair of this scanner    the deviations of the fit
    estimated, or from the catalogue        for both kernels: its own deviations, and the scatter of kernels estimated
                                            from parts of one scan, which increases with frequency
    the same, but skin seen in one slice    twice that scatter, as the skin may be oblique to the slice
    estimated from noise alone              for both kernels: the typical difference from an estimate by skin and noise

The gains at all frequencies are assumed to be off in the same direction, which affects noise and sharpness most.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from bundle.scanner.edge_spread import KNOTS
from bundle.scanner.transfer import Transfer

#: Relative deviation per cycle/mm, and its maximum: scatter of kernels estimated from a few slices of the same scan,
#: measured on six scans; if the skin is seen in one slice; and difference of estimates from noise alone to those from
#: skin and noise.
SCATTER, OBLIQUE, GUESSED = (0.5, 0.3), (1.0, 0.6), (1.5, 0.6)
MOST = 1.0  # largest relative deviation: the gain may be anything between 0 and twice its value
_LEAST = 1e-3  # smallest gain to divide by


def fit_uncertainty(gain: Transfer) -> tuple[float, ...] | None:
    """Return the relative deviations of a calibrated gain at `KNOTS`; None if it has no deviations."""
    return None if not gain.deviations else _told(_own(gain))


def uncertainty(*ends: Transfer) -> tuple[float, ...]:
    """Return the relative deviations, at `KNOTS`, of the conversion between kernels.

    Args:
        ends: the kernels, estimated or from the catalogue; leave out one that is known exactly. A kernel without
            deviations counts as estimated from noise alone.
    """
    parts = []
    for end in ends:
        slope, most = (SCATTER if end.upright else OBLIQUE) if end.deviations else GUESSED
        parts += [_own(end) if end.deviations else np.zeros(len(KNOTS)), np.minimum(slope * np.asarray(KNOTS), most)]
    return _told(np.sqrt(np.sum(np.square(parts), 0)))


def known_uncertainty(value: Any) -> tuple[float, ...] | None:
    """Return relative deviations read from a file; None if the value is invalid."""
    if not isinstance(value, Sequence) or len(value) != len(KNOTS):
        return None
    numbers = [each for each in value if type(each) in (int, float) and math.isfinite(each) and 0 <= each <= MOST]
    return tuple(map(float, numbers)) if len(numbers) == len(KNOTS) else None


def _own(kernel: Transfer) -> np.ndarray:
    frequencies = torch.tensor(KNOTS, dtype=torch.float64)
    gains = kernel.transfer(frequencies).clamp(min=_LEAST)
    return np.asarray(kernel.deviation(frequencies) / gains)


def _told(relative: np.ndarray) -> tuple[float, ...]:
    return (0.0, *(round(float(each), 4) for each in np.minimum(relative, MOST)[1:]))
