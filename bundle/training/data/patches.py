"""A window of an image at full resolution, large enough for one patch of one scale."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from bundle.geometry import pyramid, read_window, spacing_of
from bundle.training.data.packed_image import PackedImage
from monai.config import KeysCollection
from monai.transforms import MapTransform, Randomizable
from monai.utils import ensure_tuple_rep
from torch import Tensor
from torch.nn import functional as F


class RandScalePatchd(Randomizable, MapTransform):
    """Cut a window at full resolution, large enough for one patch of one scale.

    Scale 0 is trained on whole images, the others on patches (Uzunova et al. 2019, section 2.1).

    Args:
        keys: images of one grid, `(1, *spatial)`, in memory or a `PackedImage`, of which the window is read.
        scale: the scale to train, 0 for the whole image.
        num_scales: number of scales of the cascade.
        patch_size: voxels a side, at that scale, of what the loss is taken on.
        margin: voxels a side, at that scale, that the network needs around it (``Cascade.reach``).
        spare: voxels a side, at full resolution, that a later transform takes off (`kernel_pair_reach`).
        foreground: share of patches whose centre must lie above ``air`` and so inside the body.
        air: what air and background do not exceed, in the images' units.
        pixel: range of pixel sizes in mm, drawn log-uniformly for each patch: where the image's are larger, the window
            is enlarged in the slice, since a kernel changes fine pixels more than coarse ones. Null leaves them.
        zoom: by how much a window is enlarged at most.
        share: at scale 0, the least share of each axis that is kept, drawn for each image and axis, but no less than
            ``patch_size`` voxels of that scale; 1 for all of it.
        stretch: at scale 0, range of factors by which each axis is stretched, drawn log-uniformly for each image and
            axis; null for none.
        side: at scale 0, voxels a side of that scale that every image is stretched to; null for its own.
        allow_missing_keys: whether a missing key is no error.
    """

    def __init__(
        self,
        keys: KeysCollection,
        scale: int,
        num_scales: int,
        patch_size: int,
        margin: Sequence[int],
        spare: Sequence[int] | int = 0,
        foreground: float = 0.9,
        air: float = -950.0,
        pixel: tuple[float, float] | None = None,
        zoom: float = 1.8,
        share: float = 1.0,
        stretch: tuple[float, float] | None = None,
        side: int | None = None,
        allow_missing_keys: bool = False,
    ) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        self.pixel, self.zoom, self.share, self.stretch, self.side = pixel, zoom, share, stretch, side
        self.scale, self.steps, self.patch_size = scale, num_scales - 1, patch_size
        self.margin = tuple(margin)
        self.spare = ensure_tuple_rep(spare, len(self.margin))
        self.foreground, self.air = foreground, air

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Cut the window; ``spacing``, ``origin`` and the ``factors`` of the pyramid are put beside it.

        Where results of the scales before are at hand (`RandGeneratedd`) the window is not enlarged, and begins where
        their voxels do.

        Raises:
            ValueError: where the images are not of one shape.
        """
        out = dict(data)
        shapes = {key: tuple(out[key].shape) for key in self.key_iterator(out)}
        if len(set(shapes.values())) > 1:
            raise ValueError(f"images of one pair must lie on one grid; got {shapes}. Resample one onto the other.")
        image = out[self.first_key(out)]
        shape = image.shape[1:]
        native = spacing_of(image, len(shape))
        zoom = [1.0] * len(shape)
        if self.pixel and self.scale and "generated" not in out:
            drawn = float(np.exp(self.R.uniform(*np.log(self.pixel))))
            zoom[:2] = [min(max(native[0] / drawn, 1.0), self.zoom)] * 2
        spacing = [size / factor for size, factor in zip(native, zoom, strict=True)]
        factors = pyramid(spacing, self.steps)
        if self.scale == 0:
            bounds = []
            steps = step_of(factors, self.steps, 0) if factors else [1] * len(shape)
            for size, extra, voxels in zip(shape, self.spare, steps, strict=True):
                length = min(max(round(size * self.R.uniform(self.share, 1.0)), self.patch_size * voxels), size)
                start = int(self.R.randint(size - length + 1))
                bounds.append((start - extra, start + length + extra))
            sides = [stop - start for start, stop in bounds]
            if self.stretch:
                sides = [round(side * float(np.exp(self.R.uniform(*np.log(self.stretch))))) for side in sides]
            if self.side:
                sides = [self.side * voxels for voxels in steps]
        else:
            step = step_of(factors, self.steps, self.scale)
            # A multiple of two, and one coarse voxel more a side for the upsampling.
            sides = [
                window_side(self.patch_size, m) * s + 2 * extra
                for m, s, extra in zip(self.margin, step, self.spare, strict=True)
            ]
            for _ in range(20):
                centre = [int(self.R.randint(size)) for size in shape]
                if self.R.rand() > self.foreground or float(image[(0, *centre)]) > self.air:
                    break
            lengths = [round(side / factor) for side, factor in zip(sides, zoom, strict=True)]
            starts = [c - length // 2 for c, length in zip(centre, lengths, strict=True)]
            if "generated" in out:
                starts = [
                    (start + extra) // (2 * s) * 2 * s - extra
                    for start, extra, s in zip(starts, self.spare, step, strict=True)
                ]
            bounds = [(start, start + length) for start, length in zip(starts, lengths, strict=True)]
        for key in self.key_iterator(out):
            part = _cut(out[key], bounds)
            resized = (self.stretch or self.side) and self.scale == 0
            out[key] = stretched(part, sides) if resized else enlarge(part, sides[:2])
        out["origin"] = [start for start, _ in bounds]
        out["spacing"] = [
            size * (stop - start) / side for size, (start, stop), side in zip(native, bounds, sides, strict=True)
        ]
        out["factors"] = factors
        return out


def step_of(factors: Sequence[Sequence[int]], steps: int, scale: int) -> list[int]:
    """Voxels of full resolution in one of a scale, per axis."""
    step = [1] * len(factors[0])
    for factor in factors[: steps - scale]:
        step = [a * b for a, b in zip(step, factor, strict=True)]
    return step


def window_side(patch_size: int, margin: int) -> int:
    """Voxels of a scale that a window spans along one axis: even, with two more a side than patch and margin."""
    return (patch_size + 2 * margin + 5) // 2 * 2


def enlarge(image: Tensor, size: Sequence[int]) -> Tensor:
    """Interpolate the slices of an image, `(1, x, y)` or `(1, x, y, z)`, to a size; cubic, to keep them as sharp."""
    if tuple(image.shape[1:3]) == tuple(size):
        return image
    slices = image[0].reshape(*image.shape[1:3], -1).movedim(-1, 0)[None]
    larger = F.interpolate(slices, tuple(size), mode="bicubic")[0].movedim(0, -1)
    return larger.reshape(1, *size, *image.shape[3:])


def stretched(image: Tensor, size: Sequence[int]) -> Tensor:
    """Interpolate an image, `(1, *spatial)`, linearly to a size."""
    return F.interpolate(image[None], tuple(size), mode="trilinear" if len(size) == 3 else "bilinear")[0]


def _cut(image: Tensor | PackedImage, bounds: Sequence[tuple[int, int]]) -> Tensor:
    """A window of an image, from memory or disk."""
    if isinstance(image, PackedImage):
        return image.window(bounds)
    return read_window(torch.as_tensor(image).as_subclass(Tensor).float()[None], bounds)[0]
