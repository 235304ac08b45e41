"""Read the slices of an image's planes as grey pictures for a network, with the memory of one batch.

A volume has three planes, a 2D image one. Slices are evenly spaced, and oriented as in radiology::

    4 of 12 along an axis    . o . . o . . o . . o .
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from bundle.images import SLAB, Slabs, slabs
from torch import Tensor


def planes(image: Slabs, window: Sequence[float], slices: int) -> list[Iterator[Tensor]]:
    """Return the pictures of each plane: sagittal, coronal and axial for a volume, one for a 2D image or single slice.

    A sagittal or coronal batch takes one pass over the image.

    Args:
        image: `(x, y, z)` or `(x, y)`, in its own units.
        window: lowest and highest value, which become 0 and 1; values beyond are clipped.
        slices: largest number of slices of each plane.

    Returns:
        For each plane its batches of at most `SLAB` slices, `(batch, 1, rows, columns)`, float32.

    Raises:
        ValueError: If the window is empty, or ``slices`` is below 1.
    """
    low, high = window
    if not low < high:
        raise ValueError(f"window {low:g} to {high:g} is empty; give the lowest value, then a higher one.")
    if slices < 1:
        raise ValueError(f"slices {slices} must be at least 1.")

    def pictures(axis: int) -> Iterator[Tensor]:
        places = spread(image.shape[axis], slices) if axis < len(image.shape) else [0]
        for start in range(0, len(places), SLAB):
            stack = (cut(image, axis, places[start : start + SLAB]).clamp(low, high) - low) / (high - low)
            yield stack.mT.flip(-2, -1)[:, None] if len(image.shape) == 3 else stack.mT[:, None]

    sides = (*image.shape, 1)[:3]
    axes = [axis for axis in range(3) if min(sides[:axis] + sides[axis + 1 :]) > 1]
    return [pictures(axis) for axis in axes or [2]]


def spread(size: int, wanted: int) -> list[int]:
    """Return at most ``wanted`` positions, the midpoints of equal parts of a size."""
    count = min(size, wanted)
    return [int((i + 0.5) * size / count) for i in range(count)]


def cut(image: Slabs, axis: int, places: Sequence[int]) -> Tensor:
    """Return the slices at some positions along an axis, `(places, *others)`; only these and one slab are in memory."""
    if len(image.shape) == 2:
        return image.slab(0, image.shape[1])[None]
    if axis == 2:
        return torch.cat([image.slab(place, place + 1) for place in places], -1).movedim(-1, 0)
    index = torch.tensor(places)
    parts = [image.slab(start, stop).index_select(axis, index) for start, stop in slabs(image.shape[2])]
    return torch.cat(parts, -1).movedim(axis, 0)
