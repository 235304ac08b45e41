"""Depth: the grey levels that an X-ray's file can hold, and the one range of grey that the cascade sees.

::

    level in the file    0 ................... 2 ** bits - 1
                         |     linear, by the depth alone   |
    grey                 0 ............................. 255

The same for every image of a depth, never by what an image holds: so tiles agree, and the way back is exact. Images
without a depth, such as CT in HU, are left alone.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

from monai.transforms import MapTransform
from torch import Tensor

#: The highest grey; the lowest is 0.
WHITE = 255


def depth_of(image: Any) -> int | None:
    """The bits of a level in the file that an image was read from, by its metadata; nothing where it has no depth."""
    bits = getattr(image, "meta", {}).get("bits")
    return None if bits is None else int(bits)


def level_type(bits: int) -> str:
    """Name of the smallest type that holds the levels of a depth of at most 16 bits, for NumPy and PyTorch."""
    return "uint8" if bits <= 8 else "uint16"


def to_grey(levels: Tensor, bits: int) -> Tensor:
    """Levels of a depth as grey, 0 to 255, float32; 8 bits stay what they are."""
    return levels.float() * WHITE / (2**bits - 1)  # in this order whole numbers below 2 ** 24 are divided: no rounding


def to_levels(grey: Tensor, bits: int) -> Tensor:
    """The inverse of `to_grey`: clipped to the levels that there are, and not rounded."""
    top = 2**bits - 1
    return (grey.float() * top / WHITE).clamp(0, top)


class _Scaled(MapTransform):
    """Scale images that have a bit depth; others stay as they are."""

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
    """Show images that have a bit depth as grey, 0 to 255, whatever the depth.

    Args:
        keys: images as they were read.
        allow_missing_keys: do not raise if a key is missing.
    """

    def scale(self, image: Tensor, bits: int) -> Tensor:
        """Return levels as grey."""
        return to_grey(image, bits)


class GreyToLevelsd(_Scaled):
    """Give images that have a bit depth the levels of their file back: the inverse of `LevelsToGreyd`, not rounded.

    Args:
        keys: images in grey, with their source's metadata.
        allow_missing_keys: do not raise if a key is missing.
    """

    def scale(self, image: Tensor, bits: int) -> Tensor:
        """Return grey as levels."""
        return to_levels(image, bits)
