"""How sure a conversion between two kernels is: the relative standard deviation of its gain, over the frequency.

::

    calibrated on a pair of this scanner    the deviations of the fit
    found, or of the catalogue              each end: its own deviations, and what kernels differ by that are found in
                                            parts of one scan, which rises with the frequency
    the same, its skin seen in one slice    twice that: skin may be oblique to the slice
    found by noise alone                    each end: what it differs by from skin and noise together

The gains at all frequencies are taken to be off in the same direction, which changes noise and sharpness most.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from bundle.scanner.edge_spread import KNOTS
from bundle.scanner.transfer import Transfer

#: Per cycle/mm, and at most: what kernels found in a few slices of a scan differ by within it, measured on six scans;
#: where the skin is seen in one slice; and what those of noise alone differ by from those of skin and noise.
SCATTER, OBLIQUE, GUESSED = (0.5, 0.3), (1.0, 0.6), (1.5, 0.6)
MOST = 1.0  # an unsure gain may be anything between nothing and twice as much
_LEAST = 1e-3  # a gain counts as no less


def fit_uncertainty(gain: Transfer) -> tuple[float, ...] | None:
    """Return the relative deviations at `KNOTS` of a gain that was calibrated; None if it has none."""
    return None if not gain.deviations else _told(_own(gain))


def uncertainty(*ends: Transfer) -> tuple[float, ...]:
    """Return the relative deviations at `KNOTS` of the conversion between two kernels, or to one that is sure.

    Args:
        ends: kernels that were found, or are of the catalogue; without deviations, those that noise alone has shown.
    """
    parts = []
    for end in ends:
        slope, most = (SCATTER if end.edge else OBLIQUE) if end.deviations else GUESSED
        parts += [_own(end) if end.deviations else np.zeros(len(KNOTS)), np.minimum(slope * np.asarray(KNOTS), most)]
    return _told(np.sqrt(np.sum(np.square(parts), 0)))


def known_uncertainty(value: Any) -> tuple[float, ...] | None:
    """Return relative deviations that a file tells; None if these are none."""
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
