"""Windows of an image, which may reach beyond its border, also of the image upsampled."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch
from bundle.geometry.pyramid import support
from bundle.geometry.resample import upsample
from bundle.geometry.tiles import Padding, Window, clip_window, region
from torch import Tensor
from torch.nn import functional as F

Bounds = Sequence[tuple[int, int]]


class Sliced(Protocol):
    """An image that windows are read from: a tensor, or an image on disk."""

    @property
    def shape(self) -> torch.Size:
        """Voxels per axis, after those of batch and channels."""

    def __getitem__(self, index: Any) -> Tensor:
        """The voxels of an index such as `bundle.geometry.tiles.region`."""


def read_window(image: Sliced, bounds: Bounds) -> Tensor:
    """Read a window that may reach beyond the border; the border is repeated there.

    Args:
        image: `(batch, channels, *spatial)`.
        bounds: start and stop per axis; at least one voxel must lie inside the image.

    Returns:
        `(batch, channels, *(stop - start))`.
    """
    inside, padding = clip_window(bounds, image.shape[2:])
    return repeat_border(image[region(inside)], padding)


def repeat_border(image: Tensor, padding: Padding) -> Tensor:
    """Repeat the border of an image, `(batch, channels, *spatial)`, by so many voxels before and behind each axis."""
    if not any(map(any, padding)):
        return image
    return F.pad(image, [side for axis in reversed(padding) for side in axis], mode="replicate")


def upsampled_window(read: Callable[[Bounds], Tensor], window: Window, factor: Sequence[int]) -> Tensor:
    """Upsample no more of a coarse image than a fine window needs; in global coordinates, so that all windows agree.

    Args:
        read: reads a window of the coarse image, `(batch, 1, *(stop - start))`, from its bounds, as `read_window` does.
        window: the window of the fine image.
        factor: voxels of the fine image per voxel of the coarse one, per axis.

    Returns:
        `(batch, 1, *window)`.
    """
    bounds = support(window, factor)
    fine = upsample(read(bounds), list(factor))
    for axis, (w, (start, _), step) in enumerate(zip(window, bounds, factor, strict=True)):
        fine = fine.narrow(axis + 2, w.start - start * step, w.stop - w.start)
    return fine
