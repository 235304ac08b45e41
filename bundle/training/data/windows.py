"""Cut and resample windows at full resolution, for patches and whole images."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from bundle.geometry import corners_apart, read_window, spacing_of
from bundle.training.data.packed_image import PackedImage
from torch import Tensor
from torch.nn import functional as F

#: Largest HU of air, including noise; higher values are body.
AIR = -950.0


def shape_of_all(images: Mapping[Hashable, Any]) -> tuple[int, ...]:
    """Return the common shape of all images, `(*spatial)`.

    Raises:
        ValueError: If they do not lie on one grid: their shapes differ, or their corners by a voxel or more.
    """
    (key, first), *others = images.items()
    shape = tuple(first.shape)[1:]
    for other_key, other in others:
        if tuple(other.shape)[1:] != shape or not _in_one_place(first, other):
            raise ValueError(
                f"{_grid(key, first)} and {_grid(other_key, other)} do not lie on one grid; resample one onto the "
                "other, or take two reconstructions of one acquisition."
            )
    return shape


def _in_one_place(first: Any, other: Any) -> bool:
    """Return whether the corners of two images of one shape are less than a voxel apart; true if one has no affine."""
    affines = [getattr(image, "affine", None) for image in (first, other)]
    if any(affine is None for affine in affines):
        return True
    shape = tuple(first.shape)[1:]
    a, b = (np.asarray(affine, float) for affine in affines)
    return a.shape == b.shape and corners_apart(shape, a, b) < min(spacing_of(first, len(shape)))


def _grid(key: Hashable, image: Any) -> str:
    """Return the name and grid of an image for a message."""
    shape = tuple(image.shape)[1:]
    spacing = " x ".join(f"{mm:.3g}" for mm in spacing_of(image, len(shape)))
    affine = np.asarray(getattr(image, "affine", np.eye(4)), float)
    place = ", ".join(f"{mm:.1f}" for mm in affine[: len(shape), -1])
    return f"{key} {getattr(image, 'origin', '')!r}, {shape} voxels of {spacing} mm at ({place}) mm,"


def voxels_per_step(factors: Sequence[Sequence[int]], steps: int) -> list[int]:
    """Return the number of full-resolution voxels per voxel after the first steps of a pyramid, per axis."""
    step = [1] * len(factors[0])
    for factor in factors[:steps]:
        step = [a * b for a, b in zip(step, factor, strict=True)]
    return step


def cut(image: Tensor | PackedImage, bounds: Sequence[tuple[int, int]]) -> Tensor:
    """Return a window of an image, `(1, *spatial)`, from memory or disk; beyond the image its border is repeated."""
    if isinstance(image, PackedImage):
        return image.window(bounds)
    return read_window(torch.as_tensor(image).as_subclass(Tensor).float()[None], bounds)[0]


def spacing_after(spacing: Sequence[float], bounds: Sequence[tuple[int, int]], sides: Sequence[int]) -> list[float]:
    """Return the voxel spacing in mm of a window that was resampled to a number of voxels per axis."""
    return [size * (stop - start) / side for size, (start, stop), side in zip(spacing, bounds, sides, strict=True)]


def enlarge(image: Tensor, size: Sequence[int]) -> Tensor:
    """Resize the slices of an image, `(1, x, y)` or `(1, x, y, z)`; bicubic, to keep them sharp."""
    if tuple(image.shape[1:3]) == tuple(size):
        return image
    slices = image[0].reshape(*image.shape[1:3], -1).movedim(-1, 0)[None]
    larger = F.interpolate(slices, tuple(size), mode="bicubic")[0].movedim(0, -1)
    return larger.reshape(1, *size, *image.shape[3:])


def resize(image: Tensor, size: Sequence[int]) -> Tensor:
    """Resize an image, `(1, *spatial)`, by linear interpolation."""
    return F.interpolate(image[None], tuple(size), mode="trilinear" if len(size) == 3 else "bilinear")[0]
