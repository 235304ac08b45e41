"""Pool a pair to the scale to train and add the previous scale."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

from bundle.geometry import crop, pool, read_window, upsample, upsampled_window
from bundle.training.data.packed_image import PackedImage
from bundle.training.data.windows import voxels_per_step
from monai.config import KeysCollection
from monai.transforms import MapTransform
from monai.utils import ensure_tuple_rep
from torch import Tensor


class ScaleConditionsd(MapTransform):
    """Pool a windowed pair down to one scale, and add the previous scale of the target.

    Args:
        keys: source and target, each `(1, *spatial)`, as `RandScalePatchd` or `RandWholeImaged` cut them; each is
            replaced by its image at that scale.
        coarse_key: key of the upsampled previous scale: the target's, or the result of the previous scales for the
            source (`RandGeneratedd`); absent at scale 0.
        scale: the scale to train.
        num_scales: number of scales of the cascade.
        patch_size: as in `RandScalePatchd`.
        margin: as in `RandScalePatchd`; source and previous scale keep it, the target does not.
        crop_margin: as in `RandScalePatchd`.
        previous: provide the previous scale; otherwise zeros replace it, as in a network trained on patches alone.
    """

    def __init__(
        self,
        keys: KeysCollection,
        scale: int,
        num_scales: int,
        patch_size: int,
        margin: Sequence[int],
        crop_margin: Sequence[int] | int = 0,
        coarse_key: str = "coarse",
        previous: bool = True,
    ) -> None:
        super().__init__(keys)
        self.coarse_key, self.scale, self.steps = coarse_key, scale, num_scales - 1
        self.patch_size, self.margin, self.previous = patch_size, list(margin), previous
        self.crop_margin = ensure_tuple_rep(crop_margin, len(self.margin))

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Replace source and target, and add the previous scale."""
        out = dict(data)
        factors, origin = out.pop("factors"), out.pop("origin")
        out.pop("spacing")
        generated = out.pop("generated", None)
        source_key, target_key = self.keys
        images = {key: out[key].as_subclass(Tensor)[None] for key in self.keys}
        for factor in factors[: self.steps - self.scale]:
            images = {key: pool(image, list(factor)) for key, image in images.items()}
        if self.scale == 0:
            margin = [(-m, size + m) for m, size in zip(self.margin, images[source_key].shape[2:], strict=True)]
            out[source_key], out[target_key] = read_window(images[source_key], margin)[0], images[target_key][0]
            return out
        factor = list(factors[self.steps - self.scale])
        # The outermost upsampled voxels were computed without neighbours outside the window, so they are cropped.
        grown = [self.patch_size + 2 * m for m in self.margin]
        if generated is None:
            coarse = _middle(upsample(pool(images[target_key], factor), factor), grown)
        else:
            step = voxels_per_step(factors, self.steps - self.scale)
            first = [
                (start + extra) // s + (size - side) // 2
                for start, extra, s, size, side in zip(
                    origin, self.crop_margin, step, images[source_key].shape[2:], grown, strict=True
                )
            ]
            coarse = previous_window(generated.previous, first, grown, factor)
        out[source_key] = _middle(images[source_key], grown)[0]
        out[self.coarse_key] = coarse[0] if self.previous else coarse[0] * 0
        out[target_key] = crop(_middle(images[target_key], grown), self.margin)[0]
        return out


def previous_window(previous: PackedImage, first: Sequence[int], sides: Sequence[int], factor: Sequence[int]) -> Tensor:
    """Return a window of the previous scale's result, upsampled to the current scale: `(1, 1, *sides)`."""
    window = tuple(slice(a, a + side) for a, side in zip(first, sides, strict=True))
    return upsampled_window(lambda bounds: previous.window(bounds)[None], window, factor)


def _middle(image: Tensor, size: Sequence[int]) -> Tensor:
    """Return the central part of an image."""
    for axis, side in enumerate(size):
        image = image.narrow(axis + 2, (image.shape[axis + 2] - side) // 2, side)
    return image
