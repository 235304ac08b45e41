"""Bit depth: convert between the stored pixel values of an X-ray's file and the grey range 0 to 255 of the cascade.

::

    level in the file    0 ................... 2 ** bits - 1
                         |    linear, by the depth only     |
    grey                 0 ............................. 255

The conversion depends on the bit depth only, never on an image's content: so tiles agree, and the inverse is exact.
Images without a bit depth, such as CT in HU, are left unchanged. A stored pixel value is called a level here.
"""

from __future__ import annotations

from typing import Any

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
