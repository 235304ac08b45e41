"""Filters of bounded reach from transfer functions: any window of an image gives the same numbers as the whole.

A filter has `RADIUS` taps on each side; only voxels with all their neighbours are returned:

    |<- RADIUS ->|<--- returned --->|<- RADIUS ->|       in the first two axes; along z, slices are filtered separately
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from functools import lru_cache

import torch
from bundle.runtime import one_thread, side_by_side
from bundle.scanner.kernel import GRID
from scipy.fft import next_fast_len
from torch import Tensor
from torch.nn import functional as F

AT_ONCE = 2**20  # most voxels filtered or searched at once, whole slices or rows of one, to bound the memory
BLOCK = 2**21  # voxels of the slices that a thread copies at once: neighbouring slices lie side by side in memory
ROWS = 4  # rows copied at once
RADIUS = 12  # voxels; up to 0.9 Nyquist, the taps follow the transfer function within 3 %


def filter_taps(gain: Tensor, mean: float | None = None) -> Tensor:
    """Return the taps of a transfer function on the grid, tapered at the rim, `(2 RADIUS + 1, 2 RADIUS + 1)`."""
    size = 2 * RADIUS + 1
    taps = torch.fft.fftshift(torch.fft.ifft2(gain).real)[GRID // 2 - RADIUS :, GRID // 2 - RADIUS :][:size, :size]
    steps = torch.arange(-RADIUS, RADIUS + 1, dtype=torch.float64)
    distance = torch.hypot(steps[:, None], steps[None, :]) / (RADIUS + 1)
    taper = torch.cos(math.pi / 2 * ((distance - 0.5) / 0.5).clamp(0, 1)) ** 2
    taps = taps * taper
    if mean is not None:  # smoothly restore the mean that truncation changed
        taps = taps + (mean - taps.sum()) * taper / taper.sum()
    return taps


def fast(x: int, y: int) -> tuple[int, int]:
    """Return the smallest sides, at least as long, for which an FFT is fast; padding only affects the border."""
    return next_fast_len(x, real=True), next_fast_len(y, real=True)


def spectrum(taps: Tensor, shape: tuple[int, int], device: torch.device) -> Tensor:
    """Return the rfft2 spectrum of centred taps for an image of `shape`."""
    padded = torch.zeros(shape, dtype=taps.dtype)
    padded[: taps.shape[0], : taps.shape[1]] = taps
    return torch.fft.rfft2(padded.roll((-RADIUS, -RADIUS), (0, 1))).to(device)


def with_border(image: Tensor) -> Tensor:
    """Repeat the border of an image, `(x, y, z)`, by `RADIUS` voxels on each side of the first two axes."""
    return F.pad(image.movedim(-1, 0)[:, None], (RADIUS,) * 4, mode="replicate")[:, 0].movedim(0, -1)


def at_once(shape: Sequence[int], threads: int) -> int:
    """Return how many slices of a CT `(x, y, z)` to process at once: as many as threads, fewer if they are large."""
    return min(threads, max(AT_ONCE // (shape[0] * shape[1]), 1))


def parts(shape: Sequence[int], reach: int, most: int = AT_ONCE) -> Iterator[tuple[slice, slice, slice]]:
    """Yield the parts in which to filter a CT: whole slices, or rows of one slice if it is too large for `AT_ONCE`.

    Args:
        shape: `(x, y, z)` of the CT.
        reach: rows on each side on which a result depends.
        most: voxels of a part, unless it is a single slice.

    Yields:
        Rows and slices of the part, and the rows to read: ``reach`` more on each side, where the CT has them.
    """
    x, y, z = shape
    rows, step = (x, max(most // (x * y), 1)) if x * y <= AT_ONCE else (max(AT_ONCE // y - 2 * reach, reach), 1)
    for row in range(0, x, rows):
        part = slice(row, min(row + rows, x))
        for first in range(0, z, step):
            yield part, slice(first, min(first + step, z)), slice(max(row - reach, 0), min(part.stop + reach, x))


def in_parts(image: Tensor, reach: int, change: Callable[[Tensor], Tensor]) -> Tensor:
    """Change a CT part by part, in memory that does not grow with it: the same shape, float32.

    Blocks of slices are changed side by side in threads, `AT_ONCE` voxels in all; where slices are large, in turn.

    Args:
        image: `(x, y, z)`.
        reach: rows on each side on which a result depends.
        change: returns a part of the CT, `(x, y, slices)`, changed; called in any thread, with each slice in one piece.
    """
    image = image.to(torch.float32)
    out = torch.empty_like(image)
    workers = at_once(image.shape, torch.get_num_threads())
    few = max(AT_ONCE // workers // (image.shape[0] * image.shape[1]), 1)

    def write(part: tuple[slice, slice, slice]) -> None:
        rows, slices, read = part
        block = slices_first(image[read, :, slices])
        for some in block.split(few):
            some.copy_(change(some.movedim(0, -1)).movedim(-1, 0))
        out[rows, :, slices] = block[:, rows.start - read.start :][:, : rows.stop - rows.start].movedim(0, -1)

    with one_thread() if workers > 1 else nullcontext():
        for _ in side_by_side(parts(image.shape, reach, BLOCK), lambda part: part, write, workers):
            pass
    return out


def slices_first(image: Tensor) -> Tensor:
    """Return a copy of slices, `(x, y, z)`, each in one piece of memory: `(z, x, y)`."""
    x, y, z = image.shape
    out = image.new_empty((z, x, y))
    for first in range(0, x, ROWS):  # so many rows stay in the processor's cache until all slices have been copied
        out[:, first : first + ROWS].copy_(image[first : first + ROWS].movedim(-1, 0))
    return out


def filtered(image: Tensor, taps: Tensor) -> Tensor:
    """Filter an image, `(x, y, z)`, slice by slice with centred taps: `(x - 2 RADIUS, y - 2 RADIUS, z)`, float32."""
    slices = image.to(torch.float32).movedim(-1, 0)
    x, y = slices.shape[1:]
    size = fast(x, y)
    whole = torch.fft.irfft2(torch.fft.rfft2(slices, s=size) * _spectrum(taps, size, image.device), s=size)
    return whole[:, RADIUS : x - RADIUS, RADIUS : y - RADIUS].movedim(0, -1)


def smoothed(image: Tensor, taps: Tensor) -> Tensor:
    """Filter an image, `(x, y, z)`, in both directions of a slice: `(x - 2 r, y - 2 r, z)`, float32.

    For the few taps of a Gaussian, this takes a third to a fifth of the time of an FFT.

    Args:
        image: `(x, y, z)`.
        taps: `(2 r + 1,)`, float32, symmetric.
    """
    along_x = _smoothed_along_first(image.to(torch.float32).movedim(-1, 0), taps)
    return _smoothed_along_first(along_x.transpose(1, 2).contiguous(), taps).permute(2, 1, 0)


def _smoothed_along_first(slices: Tensor, taps: Tensor) -> Tensor:
    """Filter slices, `(z, x, y)`, along x: all voxels of a row are channels, which lie side by side in memory."""
    kernels = taps.to(slices.device).expand(slices.shape[2], 1, 1, -1)
    return F.conv2d(slices[:, None].movedim(-1, 1), kernels, groups=slices.shape[2]).movedim(1, -1)[:, 0]


@lru_cache(maxsize=8)  # all slabs are filtered with the same taps
def _spectrum(taps: Tensor, shape: tuple[int, int], device: torch.device) -> Tensor:
    return spectrum(taps.to(torch.float32), shape, device)
