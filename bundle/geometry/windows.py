"""Windows of an image that may reach over its border."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from bundle.geometry.tiles import region
from torch import Tensor
from torch.nn import functional as F


class Sliced(Protocol):
    """What windows are read of: a tensor, or an image on disk."""

    @property
    def shape(self) -> torch.Size:
        """Voxels per axis, the leading ones of batch and channels included."""

    def __getitem__(self, index: Any) -> Tensor:
        """The voxels of an index such as `bundle.geometry.tiles.region`."""


def read_window(image: Sliced, bounds: Sequence[tuple[int, int]]) -> Tensor:
    """Read a window that may reach over the border, which is repeated there.

    Args:
        image: `(batch, channels, *spatial)`.
        bounds: start and stop per axis; at least one voxel has to lie inside.

    Returns:
        `(batch, channels, *(stop - start))`.
    """
    inside = _inside(bounds, image.shape[2:])
    return _repeat(image[region(inside)], bounds, inside)


def _inside(bounds: Sequence[tuple[int, int]], shape: Sequence[int]) -> tuple[slice, ...]:
    """The part of a window that lies in the image."""
    return tuple(slice(max(a, 0), min(b, size)) for (a, b), size in zip(bounds, shape, strict=True))


def _repeat(window: Tensor, bounds: Sequence[tuple[int, int]], inside: Sequence[slice]) -> Tensor:
    """Grow what lies inside to the bounds, by repeating the border."""
    pad = [(w.start - a, b - w.stop) for (a, b), w in zip(bounds, inside, strict=True)]
    if not any(map(any, pad)):
        return window
    return F.pad(window, [side for axis in reversed(pad) for side in axis], mode="replicate")
