"""Cut an image at full resolution, or a large part of it, for training scale 0."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
from bundle.geometry import pyramid, spacing_of
from bundle.training.data.windows import cut, resize, shape_of_all, spacing_after, voxels_per_step
from monai.config import KeysCollection
from monai.transforms import MapTransform, Randomizable
from monai.utils import ensure_tuple_rep


class RandWholeImaged(Randomizable, MapTransform):
    """Cut a whole image at full resolution, or a random part of it, and zoom it.

    Scale 0 is trained on whole images (Uzunova et al. 2019, section 2.1); `RandScalePatchd` cuts for the others.

    Args:
        keys: images of one grid, `(1, *spatial)`, in memory or as `PackedImage`.
        num_scales: number of scales of the cascade.
        patch_size: smallest side that is kept, in voxels of scale 0.
        crop_margin: voxels that a later transform crops on each side, at full resolution (`kernel_pair_reach`).
        crop_fraction: smallest fraction of each axis that is kept; the fraction is drawn for each image and axis. 1
            keeps all.
        zoom_range: range of factors by which each axis is zoomed, drawn log-uniformly for each image and axis, but not
            below ``least``; null for none.
        resize_to: side, in voxels of scale 0, that each image is resized to; null keeps its size.
        depth: most voxels of scale 0 to keep along the last axis, before zooming, for a network that works slice by
            slice (`bundle.cascade.SliceWise`); null for no limit.
        least: fewest voxels of scale 0 per axis that the discriminator takes (`bundle.training.least_sides`).
        allow_missing_keys: do not raise if a key is missing.
    """

    def __init__(
        self,
        keys: KeysCollection,
        num_scales: int,
        patch_size: int,
        crop_margin: Sequence[int] | int = 0,
        crop_fraction: float = 1.0,
        zoom_range: tuple[float, float] | None = None,
        resize_to: int | None = None,
        depth: int | None = None,
        least: Sequence[int] = (),
        allow_missing_keys: bool = False,
    ) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        self.steps, self.patch_size, self.crop_margin = num_scales - 1, patch_size, crop_margin
        self.crop_fraction, self.zoom_range, self.resize_to, self.depth = crop_fraction, zoom_range, resize_to, depth
        self.least = tuple(least)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Cut the image, and add ``spacing``, ``origin`` and the ``factors`` of the pyramid.

        Raises:
            ValueError: If the images do not lie on one grid, or one is too small.
        """
        out = dict(data)
        images = {key: out[key] for key in self.key_iterator(out)}
        shape = shape_of_all(images)
        native = spacing_of(next(iter(images.values())), len(shape))
        factors = pyramid(native, self.steps)
        steps = voxels_per_step(factors, self.steps) if factors else [1] * len(shape)
        self.check_size(next(iter(images.values())), shape, steps)
        bounds, most = [], [*shape[:-1], self.depth * steps[-1] if self.depth else shape[-1]]
        margins = ensure_tuple_rep(self.crop_margin, len(shape))
        for size, extra, voxels, limit in zip(shape, margins, steps, most, strict=True):
            length = max(round(size * self.R.uniform(self.crop_fraction, 1.0)), self.patch_size * voxels)
            length = min(length, size, limit)
            start = int(self.R.randint(size - length + 1))
            bounds.append((start - extra, start + length + extra))
        sides = [stop - start for start, stop in bounds]
        if self.zoom_range:
            few = self.least or [0] * len(sides)
            floors = [least * step + 2 * extra for least, step, extra in zip(few, steps, margins, strict=True)]
            zooms = [float(np.exp(self.R.uniform(*np.log(self.zoom_range)))) for _ in sides]
            sides = [
                max(round(side * zoom), min(side, floor))
                for side, zoom, floor in zip(sides, zooms, floors, strict=True)
            ]
        if self.resize_to:
            sides = [self.resize_to * voxels for voxels in steps]
        for key, image in images.items():
            part = cut(image, bounds)
            out[key] = resize(part, sides) if self.zoom_range or self.resize_to else part
        origin = [start for start, _ in bounds]
        return out | {"origin": origin, "spacing": spacing_after(native, bounds, sides), "factors": factors}

    def check_size(self, image: Any, shape: Sequence[int], steps: Sequence[int]) -> None:
        """Check that the smallest part that can be drawn of an image is not too small at scale 0.

        Args:
            image: the image, for the message.
            shape: its voxels per axis.
            steps: its voxels per voxel of scale 0.

        Raises:
            ValueError: If it is.
        """
        sides = [math.ceil(size / voxels) for size, voxels in zip(shape, steps, strict=True)]
        for axis, (least, size, voxels) in enumerate(zip(self.least, shape, steps, strict=False)):
            kept = min(size, max(round(size * self.crop_fraction), self.patch_size * voxels))
            if axis == len(shape) - 1 and self.depth:
                kept = min(kept, self.depth * voxels)
            side = self.resize_to or math.ceil(kept / voxels)
            if side < least:
                raise ValueError(
                    f"image {getattr(image, 'origin', '')!r} is too small for scale 0: it has {sides} voxels there, of "
                    f"which {side} may be cut along axis {axis}, and the discriminator takes at least {least}; leave "
                    "it out (--held_out), or train without scale 0."
                )
