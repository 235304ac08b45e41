"""Bit depth: convert between the stored pixel values of an X-ray's file and the grey range 0 to 255 of the cascade.

::

    level in the file    0 ................... 2 ** bits - 1
                         |    linear, by the depth only     |
    grey                 0 ............................. 255

The conversion depends on the bit depth only, never on an image's content: so tiles agree, and the inverse is exact.
Images without a bit depth, such as CT in HU, are left unchanged. A stored pixel value is called a level here.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

from monai.transforms import MapTransform
from torch import Tensor

#: The highest grey; the lowest is 0.
WHITE = 255


def depth_of(image: Any) -> int | None:
    """Return the bit depth of the file that an image was read from, by its metadata; None if it has none."""
    bits = getattr(image, "meta", {}).get("bits")
    return None if bits is None else int(bits)


def level_type(bits: int) -> str:
    """Return the name, in NumPy and PyTorch, of the smallest type for a bit depth of at most 16."""
    return "uint8" if bits <= 8 else "uint16"


def to_grey(levels: Tensor, bits: int) -> Tensor:
    """Convert levels of a bit depth to grey, 0 to 255, float32; 8-bit levels keep their values."""
    return levels.float() * WHITE / (2**bits - 1)  # the product, an integer below 2 ** 24, is exact


def to_levels(grey: Tensor, bits: int) -> Tensor:
    """Invert `to_grey`; the result is clipped to the valid levels, but not rounded."""
    top = 2**bits - 1
    return (grey.float() * top / WHITE).clamp(0, top)


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
