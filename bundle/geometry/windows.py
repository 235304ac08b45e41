"""Read windows of an image or of its upsampled version; windows may extend beyond the border."""

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
    """An image from which windows are read: a tensor, or an image on disk."""

    @property
    def shape(self) -> torch.Size:
        """Shape: batch, channels, then voxels per axis."""

    def __getitem__(self, index: Any) -> Tensor:
        """Return the voxels at an index such as one from `bundle.geometry.tiles.region`."""


def read_window(image: Sliced, bounds: Bounds) -> Tensor:
    """Read a window that may extend beyond the border, which is repeated there.

    Args:
        image: `(batch, channels, *spatial)`.
        bounds: start and stop per axis; at least one voxel must lie inside the image.

    Returns:
        `(batch, channels, *(stop - start))`.
    """
    inside, padding = clip_window(bounds, image.shape[2:])
    return repeat_border(image[region(inside)], padding)


def repeat_border(image: Tensor, padding: Padding) -> Tensor:
    """Pad an image, `(batch, channels, *spatial)`, by repeating its border; the padding is given per axis."""
    if not any(map(any, padding)):
        return image
    return F.pad(image, [side for axis in reversed(padding) for side in axis], mode="replicate")


def upsampled_window(read: Callable[[Bounds], Tensor], window: Window, factor: Sequence[int]) -> Tensor:
    """Upsample only the part of a coarse image that a fine window needs, on the global grid so that all windows agree.

    Args:
        read: reads a window of the coarse image, `(batch, 1, *(stop - start))`, from its bounds, as `read_window` does.
        window: the window of the fine image.
        factor: fine voxels per coarse voxel, per axis.

    Returns:
        `(batch, 1, *window)`.
    """
    bounds = support(window, factor)
    fine = upsample(read(bounds), list(factor))
    for axis, (w, (start, _), step) in enumerate(zip(window, bounds, factor, strict=True)):
        fine = fine.narrow(axis + 2, w.start - start * step, w.stop - w.start)
    return fine
