"""Decode DICOM RLE strictly: a segment with more or fewer bytes than the header says is refused, not filled up.

::

    frame     [number of segments, their 15 offsets: 64 bytes] [highest bytes] [next lower bytes] ...   PS3.5, annex G
    segment   [n, n + 1 bytes] or [257 - n, one byte repeated n times] ...
"""

from __future__ import annotations

import struct
from itertools import pairwise

import numpy as np


def decode_rle(frame: bytes, count: int, size: int) -> np.ndarray:
    """Decode one grey frame, `(count,)`, unsigned and little endian.

    Args:
        frame: the code stream.
        count: number of pixels.
        size: bytes per pixel.

    Raises:
        ValueError: If the frame does not hold exactly that many.
    """
    if len(frame) < 64:
        raise ValueError(f"a frame of {len(frame)} bytes ends within its header of 64")
    segments, *places = struct.unpack("<16L", frame[:64])
    if segments != size:
        raise ValueError(f"there are {segments} segments, and pixels of {size} bytes")
    bounds = [*places[:size], len(frame)]
    if bounds[0] < 64 or any(stop < start for start, stop in pairwise(bounds)):
        raise ValueError("a segment lies outside of the frame")
    planes = [unpacked(frame[start:stop], count) for start, stop in pairwise(bounds)]
    return np.stack(planes[::-1], -1).reshape(-1).view(f"<u{size}")


def unpacked(segment: bytes, count: int) -> np.ndarray:
    """Unpack the bytes of a segment, `(count,)`.

    Raises:
        ValueError: If it does not hold exactly that many.
    """
    parts, found, place = [], 0, 0
    while found < count and place < len(segment):
        head = segment[place]
        if head < 128:
            part = segment[place + 1 : place + 2 + head]
            place += 2 + head
        else:  # 128 is a no-op
            part = segment[place + 1 : place + 2] * (257 - head if head > 128 else 0)
            place += 2 if head > 128 else 1
        parts.append(part)
        found += len(part)
    if found != count or place > len(segment) or len(segment) - place > 1:  # one byte may pad to an even length
        raise ValueError(
            f"a segment of {len(segment)} bytes does not hold {count} bytes of pixels, but {found} or more"
        )
    return np.frombuffer(b"".join(parts), np.uint8)
