"""Estimate a 95 % interval for lung density relative to a real scan with the target kernel.

A conversion has three sources of error. How each shifts the measures is estimated as in the last column::

    kernels    the gain between them is off by its deviation     filter a few slices of the result, once sharper and
                                                                 once softer by that much
    levels     scanners and kernels differ by some HU            shift the histogram of the result in either direction
    model      a part of the change is wrong                     take a share of the change made by the conversion

The errors are assumed to be independent and normal: on each side, the interval extends to twice the root of the sum of
their squares. `benchmarks.densitometry_errors` measures how often the truth lies within it. The interval is for the
same acquisition with another kernel, with the same noise; it does not cover another breath, dose or day.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from bundle.images import Slabs
from bundle.scanner import FILTER_RANGE, RADIUS, frequencies, spread_slices
from bundle.scanner.edge_spread import KNOTS
from bundle.scanner.filters import filter_taps, filtered, with_border
from bundle.scanner.uncertainty import known_uncertainty
from bundle.transforms.lung_density import AREAS, BINS, PERCENTILE, RANGE, by_side, counted
from bundle.transforms.lung_mask import LEFT, RIGHT

SLICES = 8  # most slices of the result that are filtered
LEVEL = 2.5  # HU; acceptance tests of scanners let water be 4 to 7 HU off
#: For each measure; chosen by looking at the real pairs: with less, a B70f that the scanner clips is not covered.
SHARE = np.array([0.05, 0.1])
MULTIPLE = 2.0  # standard deviations, for 95 % of a normal distribution
MEASURES = ("laa950_percent", "perc15_hu")
SPAN = np.array([[0.0, RANGE[0]], [100.0, RANGE[1]]])

NO_LUNG = "no lung was found"
NO_KERNEL = "no kernel was converted, or it is not told how the result was made"
NOT_SURE = "it is not known how sure the kernels are"


def no_uncertainty(kernel: Mapping[str, Any] | None) -> str:
    """Return why a conversion has no interval; an empty string if it can have one.

    Args:
        kernel: its entry in the provenance of a result.
    """
    if not isinstance(kernel, Mapping):
        return NO_KERNEL
    return NOT_SURE if known_uncertainty(kernel.get("uncertainty")) is None else ""


def density_interval(
    result: Slabs,
    sides: np.ndarray,
    factor: Sequence[int],
    uncertainty: Sequence[float],
    before: Mapping[str, np.ndarray],
    after: Mapping[str, np.ndarray],
) -> dict[str, dict[str, list[float]] | None]:
    """Return the lower and upper limit of each of `MEASURES` for each lung; None if there is no lung.

    Args:
        result: result in HU; at most 8 of its slices are read, one by one.
        sides: mask of the lungs, see `LungMask`, coarser by the factor.
        factor: voxels of the result per voxel of the mask, along each axis.
        uncertainty: relative deviation of the conversion's gain, at the knots of `bundle.scanner.edge_spread`.
        before: histograms of the source.
        after: histograms of the result.
    """
    varied = varied_histograms(result, sides, factor, uncertainty)
    found: dict[str, dict[str, list[float]] | None] = {}
    for name, count in after.items():
        if not count.sum():
            found[name] = None
            continue
        shown = reach(deviations(before[name], count, varied[name])) * MULTIPLE
        low, high = (measures(count) + shown).clip(*SPAN)
        found[name] = {
            key: [round(float(a), 3), round(float(b), 3)] for key, a, b in zip(MEASURES, low, high, strict=True)
        }
    return found


def deviations(before: np.ndarray, after: np.ndarray, varied: np.ndarray) -> np.ndarray:
    """Return by how much the errors of kernels, levels and model shift the measures, `(3, 2, measures)`.

    Args:
        before: histogram of the source.
        after: histogram of the result.
        varied: histograms of some of its slices, sharper, softer, and unchanged, `(3, bins)`; all 0 without lung.
    """
    here = measures(after)
    kernels = np.zeros((2, len(MEASURES)))
    if varied.sum():
        *moved, still = map(measures, varied)
        kernels = np.stack(moved) - still
    levels = np.stack([measures(after, sign * LEVEL) - here for sign in (1, -1)])
    model = np.outer([1, -1], SHARE * np.abs(here - measures(before)))
    return np.stack([kernels, levels, model])


def reach(shifts: np.ndarray) -> np.ndarray:
    """Return how far independent shifts reach together, below and above, `(2, measures)`.

    Args:
        shifts: shifts in either direction, `(shifts, 2, measures)`.
    """
    lowest, highest = np.minimum(shifts, 0).min(1), np.maximum(shifts, 0).max(1)
    return np.stack([-np.sqrt(np.square(lowest).sum(0)), np.sqrt(np.square(highest).sum(0))])


def measures(count: np.ndarray, shift: float = 0.0) -> np.ndarray:
    """Return the share below -950 HU in percent and the 15th percentile in HU, `(measures,)`.

    They are interpolated between integer HU, so that they respond to small shifts.

    Args:
        count: a histogram, see `bundle.transforms.lung_density.histograms`.
        shift: HU to add to all voxels.
    """
    ends = np.arange(RANGE[0], RANGE[1] + 1) + 0.5
    below = np.cumsum(count) / count.sum()
    share = np.interp(AREAS[0] - 0.5 - shift, ends, below)
    first = int(np.argmax(below >= PERCENTILE / 100))
    ahead = below[first - 1] if first else 0.0
    inside = (PERCENTILE / 100 - ahead) / (below[first] - ahead)
    return np.array([100 * share, ends[first] - 1 + inside + shift])


def varied_histograms(
    image: Slabs, sides: np.ndarray, factor: Sequence[int], uncertainty: Sequence[float]
) -> dict[str, np.ndarray]:
    """Count the voxels per HU in some slices of the lungs, sharper, softer, and unchanged, `(3, bins)` each.

    Args:
        image: image in HU.
        sides: mask of the lungs, see `LungMask`, coarser by the factor.
        factor: voxels of the image per voxel of the mask, along each axis.
        uncertainty: relative deviation of the gain at each knot, by which it is raised and lowered.
    """
    pixel = image.spacing[:2]
    relative = np.interp(frequencies(pixel).numpy(), KNOTS, uncertainty)
    taps = [filter_taps(torch.from_numpy(1 + sign * relative), mean=1.0) for sign in (1, -1)]
    counts = np.zeros((max(LEFT, RIGHT) + 1, 3, BINS), np.int64)
    at = [np.arange(size) // times for size, times in zip(image.shape[:2], factor, strict=False)]
    lung = np.repeat(sides.any((0, 1)), factor[2])[: image.shape[2]]
    numbers = np.flatnonzero(lung)
    for z in numbers[spread_slices(len(numbers), SLICES)] if len(numbers) else ():
        side = sides[..., z // factor[2]][np.ix_(*at)]
        box = tuple(slice(where.min(), where.max() + 1) for where in np.nonzero(side))
        around = tuple(slice(part.start, part.stop + 2 * RADIUS) for part in box)
        window = with_border(image.slab(int(z), int(z) + 1).clamp(*FILTER_RANGE))[around]
        inner = window[RADIUS:-RADIUS, RADIUS:-RADIUS]
        for k, voxels in enumerate([*(filtered(window, each) for each in taps), inner]):
            for index in (LEFT, RIGHT):
                counts[index, k] += counted(voxels[..., 0].numpy()[side[box] == index])
    return by_side(counts)
