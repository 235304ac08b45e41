"""Convert X-rays between the levels of their file and the grey range of the cascade; see `bundle.images.bit_depth`."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

from bundle.images import depth_of, to_grey, to_levels
from monai.transforms import MapTransform
from torch import Tensor


class _Scaled(MapTransform):
    """Scale images that have a bit depth; leave others unchanged."""

    def scale(self, image: Tensor, bits: int) -> Tensor:
        """Scale one image."""
        raise NotImplementedError

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Scale each image that has a bit depth."""
        out = dict(data)
        for key in self.key_iterator(out):
            bits = depth_of(out[key])
            out[key] = out[key] if bits is None else self.scale(out[key], bits)
        return out


class LevelsToGreyd(_Scaled):
    """Convert images that have a bit depth to grey, 0 to 255, whatever the depth.

    Args:
        keys: images as they were read.
        allow_missing_keys: do not raise if a key is missing.
    """

    def scale(self, image: Tensor, bits: int) -> Tensor:
        """Convert levels to grey."""
        return to_grey(image, bits)


class GreyToLevelsd(_Scaled):
    """Convert images that have a bit depth back to levels: the inverse of `LevelsToGreyd`, not rounded.

    Args:
        keys: images in grey, with their source's metadata.
        allow_missing_keys: do not raise if a key is missing.
    """

    def scale(self, image: Tensor, bits: int) -> Tensor:
        """Convert grey to levels."""
        return to_levels(image, bits)
