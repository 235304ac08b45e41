"""Code streams: the compressed image of a DICOM file, whole and of the header's size, before it is decoded.

Decoders are lenient: some fill up what was cut off, or take the first rows of a larger image.

::

    Pixel Data   [item: offsets] [item: fragment] [item: fragment] ... [delimiter]      DICOM PS3.5, A.4
    frame                        [the fragments, one behind the other]
    JPEG         FFD8 ... [FFCn length, precision, rows, columns] ... FFD9              ITU T.81, B.2; T.87, C.2
    JPEG 2000    FF4F [FF51 length ... right, down, left, top ...] ... FFD9             ITU T.800, A.5
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

#: Before a code stream of JPEG 2000 that lies in a file of its own.
JP2_START, JP2_BOX = b"\0\0\0\x0cjP  ", b"jp2c"
#: Markers of a JPEG's or JPEG-LS's frame header.
FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC} | {0xF7}
JPEG, JPEG_2000, END = b"\xff\xd8", b"\xff\x4f\xff\x51", b"\xff\xd9"
#: What may follow the end, to make the length even.
FILL = b"\0\xff"
STARTS = (JPEG, JPEG_2000, JP2_START)


def fragments(data: bytes) -> Iterator[bytes]:
    """The fragments of encapsulated pixels, without the table of offsets.

    Raises:
        ValueError: If they end within one.
    """
    place, first = 0, True
    while place + 8 <= len(data):
        group, element, size = struct.unpack_from("<HHL", data, place)
        if (group, element) != (0xFFFE, 0xE000):
            if (group, element) == (0xFFFE, 0xE0DD):
                return
            raise ValueError(f"an item begins with {group:04X},{element:04X}, not FFFE,E000")
        place += 8 + size
        if place > len(data):
            raise ValueError(f"a fragment of {size} bytes lacks the last {place - len(data)}")
        if not first:
            yield data[place - size : place]
        first = False


def frame_of(data: bytes) -> bytes:
    """The one frame of encapsulated pixels.

    Raises:
        ValueError: If there is none, or there are several.
    """
    parts = list(fragments(data))
    if not any(parts):
        raise ValueError("there is no frame")
    count = sum(part.startswith(STARTS) for part in parts) or len(parts)  # of RLE a fragment each
    if count > 1:
        raise ValueError(f"there are {count} frames, and one is needed")
    return b"".join(parts)


@dataclass(frozen=True)
class Grid:
    """What a code stream or a header tells of an image.

    Args:
        rows: pixels down.
        columns: pixels across.
        bits: of a pixel.
        signed: whether there are negative values; null where that is not told.
        channels: numbers of a pixel.
    """

    rows: int
    columns: int
    bits: int
    signed: bool | None = None
    channels: int = 1


def check_codestream(frame: bytes, header: Grid) -> Grid:
    """Refuse a JPEG, JPEG-LS or JPEG 2000 that is cut short, or is not such an image as the header tells.

    Returns:
        What it tells itself; its bits may be more than the header's.

    Raises:
        ValueError: If so.
    """
    found = grid_of(frame)
    for name in ("rows", "columns", "channels"):
        own, told = getattr(found, name), getattr(header, name)
        if own != told:
            raise ValueError(f"{name}: {own} in the code stream, {told} in the header")
    if found.signed and not header.signed:  # the opposite is met, and means two's complement
        raise ValueError("values are signed in the code stream, and not in the header")
    if not frame.rstrip(FILL).endswith(END):
        raise ValueError("the code stream does not end in its end, FFD9")
    return found


def grid_of(frame: bytes) -> Grid:
    """What a JPEG, JPEG-LS or JPEG 2000 tells of its image.

    Raises:
        ValueError: If it is none, or ends before it does.
    """
    if not frame.startswith(STARTS):
        raise ValueError(f"the code stream begins with {frame[:4].hex()}, which is not a JPEG")
    try:
        if not frame.startswith(JPEG):
            place = frame.index(JP2_BOX) + len(JP2_BOX) if frame.startswith(JP2_START) else 0
            right, down, left, top = struct.unpack_from(">4L", frame, place + 8)
            channels, depth = struct.unpack_from(">HB", frame, place + 40)
            return Grid(down - top, right - left, depth % 128 + 1, depth > 127, channels)
        place = len(JPEG)
        while True:
            mark, kind, length = struct.unpack_from(">BBH", frame, place)
            if mark != 0xFF:
                raise ValueError("a marker is missing in the code stream")
            if kind in FRAMES:
                bits, rows, columns, channels = struct.unpack_from(">BHHB", frame, place + 4)
                return Grid(rows, columns, bits, channels=channels)
            place += 1 if kind == 0xFF else 2 + length  # filled up
    except struct.error as error:
        raise ValueError("the code stream ends within its header") from error
