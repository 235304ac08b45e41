"""Undo a scan's kernel, as estimated by `bundle.scanner.finding`, by filtering the scan to a soft kernel.

The filter is linear, the same everywhere in the volume, and has bounded reach; the cascade does the rest.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from bundle.scanner.filters import RADIUS, filter_taps, filtered, in_parts, with_border
from bundle.scanner.flat import FILTER_RANGE
from bundle.scanner.kernel import SOFT, Kernel, frequencies, ratio
from bundle.scanner.padding import padding, prepared, put_back
from torch import Tensor

REACH = 2 * RADIUS  # voxels on each side, in the slice, on which a result depends: for clipping, and for the filter


def matched(image: Tensor, spacing: Sequence[float], kernel: Kernel, target: Kernel = SOFT) -> Tensor:
    """Filter a CT from one kernel to the target kernel, without sharpening: the same shape, float32, in HU.

    Values clipped at -1024 HU are first restored in the mean, and padding is left out (`bundle.scanner.padding`).

    Args:
        image: `(x, y, z)` in HU.
        spacing: voxel spacing in mm, of the first two axes.
        kernel: the kernel of the image.
        target: the kernel of the result.
    """

    def change(part: Tensor) -> Tensor:
        outside = padding(part)
        return put_back(matched_window(with_border(prepared(part, outside)), spacing, kernel, target), part, outside)

    return in_parts(image, REACH, change)


def matched_window(image: Tensor, spacing: Sequence[float], kernel: Kernel, target: Kernel = SOFT) -> Tensor:
    """Return the result of `matched` inside a window, smaller by `RADIUS` voxels per side in the first two axes.

    Values clipped at -1024 HU are not restored here.
    """
    taps = matching_taps(kernel, target, tuple(float(size) for size in spacing[:2]))
    return filtered(image.clamp(*FILTER_RANGE), taps)


@lru_cache(maxsize=64)
def matching_taps(kernel: Kernel, target: Kernel, spacing: tuple[float, float]) -> Tensor:
    """Return the taps that turn a kernel into the target, with the gain limited to 1 so that nothing is sharpened."""
    return filter_taps(ratio(target, kernel, frequencies(spacing)).clamp(max=1.0), mean=1.0)
