"""Cut a window of an image at full resolution, large enough for one patch of a scale above 0."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
from bundle.geometry import pyramid, spacing_of
from bundle.training.data.windows import AIR, cut, enlarge, shape_of_all, spacing_after, voxels_per_step
from monai.config import KeysCollection
from monai.transforms import MapTransform, Randomizable
from monai.utils import ensure_tuple_rep

#: Largest number of draws for a patch whose centre has to lie in the body.
TRIES = 20


class RandScalePatchd(Randomizable, MapTransform):
    """Cut a window at full resolution, large enough for one patch of one scale.

    The scales above 0 are trained on patches (Uzunova et al. 2019, section 2.1); `RandWholeImaged` cuts for scale 0.

    Args:
        keys: images of one grid, `(1, *spatial)`, in memory or as `PackedImage`; only the window is read.
        scale: the scale to train, 1 or above.
        num_scales: number of scales of the cascade.
        patch_size: side of the patch in voxels of that scale.
        margin: voxels that the network needs on each side of the patch, at that scale (``Cascade.reach``).
        crop_margin: voxels that a later transform crops on each side, at full resolution (`kernel_pair_reach`).
        foreground: fraction of patches whose centre must lie above ``air``, and so inside the body.
        air: the largest value of air and background, in the images' units.
        pixel_size_range: range of pixel sizes in mm, drawn log-uniformly for each patch. If the image's pixels are
            larger, the window is enlarged in the slice, since a kernel changes fine pixels more than coarse ones.
            Null keeps the pixel size.
        max_zoom: largest factor by which a window is enlarged.
        allow_missing_keys: do not raise if a key is missing.

    Raises:
        ValueError: If the scale is 0.
    """

    def __init__(
        self,
        keys: KeysCollection,
        scale: int,
        num_scales: int,
        patch_size: int,
        margin: Sequence[int],
        crop_margin: Sequence[int] | int = 0,
        foreground: float = 0.9,
        air: float = AIR,
        pixel_size_range: tuple[float, float] | None = None,
        max_zoom: float = 1.8,
        allow_missing_keys: bool = False,
    ) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        if scale < 1:
            raise ValueError(f"scale {scale} must be at least 1; RandWholeImaged cuts for scale 0.")
        self.pixel_size_range, self.max_zoom = pixel_size_range, max_zoom
        self.scale, self.steps, self.patch_size = scale, num_scales - 1, patch_size
        self.margin = tuple(margin)
        self.crop_margin = ensure_tuple_rep(crop_margin, len(self.margin))
        self.foreground, self.air = foreground, air

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Cut the window, and add ``spacing``, ``origin`` and the ``factors`` of the pyramid.

        If the previous scales have translated the image (`RandGeneratedd`), the window is not enlarged and is aligned
        with their voxels.

        Raises:
            ValueError: If the images do not lie on one grid.
        """
        out = dict(data)
        images = {key: out[key] for key in self.key_iterator(out)}
        image, shape = next(iter(images.values())), shape_of_all(images)
        native, zoom = spacing_of(image, len(shape)), [1.0] * len(shape)
        if self.pixel_size_range and "generated" not in out:
            drawn = float(np.exp(self.R.uniform(*np.log(self.pixel_size_range))))
            zoom[:2] = [min(max(native[0] / drawn, 1.0), self.max_zoom)] * 2
        factors = pyramid([size / factor for size, factor in zip(native, zoom, strict=True)], self.steps)
        step = voxels_per_step(factors, self.steps - self.scale)
        sides = [
            window_side(self.patch_size, m) * s + 2 * extra
            for m, s, extra in zip(self.margin, step, self.crop_margin, strict=True)
        ]
        lengths = [round(side / factor) for side, factor in zip(sides, zoom, strict=True)]
        starts = [c - length // 2 for c, length in zip(self.draw_centre(image, shape), lengths, strict=True)]
        if "generated" in out:
            starts = [
                (start + extra) // (2 * s) * 2 * s - extra
                for start, extra, s in zip(starts, self.crop_margin, step, strict=True)
            ]
        bounds = [(start, start + length) for start, length in zip(starts, lengths, strict=True)]
        out |= {key: enlarge(cut(other, bounds), sides[:2]) for key, other in images.items()}
        return out | {"origin": starts, "spacing": spacing_after(native, bounds, sides), "factors": factors}

    def draw_centre(self, image: Any, shape: Sequence[int]) -> list[int]:
        """Draw the central voxel of the window."""
        for _ in range(TRIES):
            centre = [int(self.R.randint(size)) for size in shape]
            if self.R.rand() > self.foreground or float(image[(0, *centre)]) > self.air:
                break
        return centre


def window_side(patch_size: int, margin: int) -> int:
    """Return the length of a window along one axis, in voxels of its scale.

    The length is even and exceeds patch and margin by at least two voxels on each side, for the upsampling.
    """
    return (patch_size + 2 * margin + 5) // 2 * 2
