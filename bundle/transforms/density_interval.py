"""How far the density of the lungs may be from that of a real scan of the target kernel: an interval of 95 %.

Three things make a conversion err, and each shifts the measures by what is told beside it::

    kernels    the gain between them is off by its deviation     a few slices of the result, filtered once sharper and
                                                                 once softer by that much
    levels     scanners and kernels differ by some HU            the histogram of the result, moved to either side
    model      a part of the change is wrong                     a share of what the conversion has changed

They are taken to be independent and normal: the interval reaches to each side as far as twice the root of their squared
sum. `benchmarks.densitometry_errors` measures how often the truth lies within. It is about the same acquisition with
another kernel: its noise is in both, and another breath, dose or day is in neither.
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

SLICES = 8  # of the result that are filtered
LEVEL = 2.5  # HU; tests of scanners let water be 4 to 7 HU off
#: Of each measure; chosen with the real pairs in view: with less, a B70f that the scanner clips is not covered.
SHARE = np.array([0.05, 0.1])
MULTIPLE = 2.0  # of deviations, 95 % of a normal distribution
MEASURES = ("laa950_percent", "perc15_hu")
SPAN = np.array([[0.0, RANGE[0]], [100.0, RANGE[1]]])

NO_LUNG = "no lung was found"
NO_KERNEL = "no kernel was converted, or it is not told how the result was made"
NOT_SURE = "it is not known how sure the kernels are"


def no_uncertainty(kernel: Mapping[str, Any] | None) -> str:
    """Return why a conversion has no interval; nothing if it can have one.

    Args:
        kernel: what the provenance of a result tells of it.
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
    """Return the lowest and the highest value of each of `MEASURES`, for each lung; None where there is no lung.

    Args:
        result: in HU; 8 of its slices are read, one after the other.
        sides: as of `LungMask`, coarser by the factor.
        factor: voxels of the result along each axis of a voxel of the mask.
        uncertainty: relative deviation of the conversion's gain, at the knots of `bundle.scanner.edge_spread`.
        before: histograms of the source.
        after: those of the result.
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
    """Return by how much the kernels, the levels and the model shift the measures, `(3, 2, measures)`.

    Args:
        before: histogram of the source.
        after: that of the result.
        varied: those of some slices of it, sharper, softer, and as they are, `(3, bins)`; all 0 without lung in them.
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
    """Return how far the shifts reach together, to below and to above, `(2, measures)`.

    Args:
        shifts: independent ones, `(shifts, 2, measures)`, in either direction.
    """
    lowest, highest = np.minimum(shifts, 0).min(1), np.maximum(shifts, 0).max(1)
    return np.stack([-np.sqrt(np.square(lowest).sum(0)), np.sqrt(np.square(highest).sum(0))])


def measures(count: np.ndarray, shift: float = 0.0) -> np.ndarray:
    """Return the share below -950 HU in percent and the percentile in HU, `(measures,)`.

    Between whole HU they are interpolated, so that they follow small shifts.

    Args:
        count: a histogram, as of `bundle.transforms.lung_density.histograms`.
        shift: HU that are added to all voxels.
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
    """Count the voxels of each HU in some slices of the lungs, sharper, softer, and as they are, `(3, bins)` each.

    Args:
        image: in HU.
        sides: as of `LungMask`, coarser by the factor.
        factor: voxels of the image along each axis of a voxel of the mask.
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
