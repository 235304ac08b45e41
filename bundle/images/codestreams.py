"""Check that the compressed image of a DICOM file is complete and matches its header, before it is decoded.

Decoders are lenient: some fill up truncated data, or return the first rows of a larger image.

::

    Pixel Data   [item: offsets] [item: fragment] [item: fragment] ... [delimiter]      DICOM PS3.5, A.4
    frame                        [the fragments, concatenated]
    JPEG         FFD8 ... [FFCn length, precision, rows, columns] ... FFD9              ITU T.81, B.2; T.87, C.2
    JPEG 2000    FF4F [FF51 length ... right, down, left, top ...] ... FFD9             ITU T.800, A.5
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

#: Start of a JP2 file, and the box in it that holds the JPEG 2000 code stream.
JP2_START, JP2_BOX = b"\0\0\0\x0cjP  ", b"jp2c"
#: Markers of the frame header in JPEG and JPEG-LS.
FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC} | {0xF7}
JPEG, JPEG_2000, END = b"\xff\xd8", b"\xff\x4f\xff\x51", b"\xff\xd9"
#: Padding that may follow the end, to an even length.
FILL = b"\0\xff"
STARTS = (JPEG, JPEG_2000, JP2_START)


def fragments(data: bytes) -> Iterator[bytes]:
    """Yield the fragments of encapsulated pixels, without the offset table.

    Raises:
        ValueError: If the data end within a fragment, or an item is not a fragment.
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
    """Return the only frame of encapsulated pixels.

    Raises:
        ValueError: If there are no frames, or several.
    """
    parts = list(fragments(data))
    if not any(parts):
        raise ValueError("there is no frame")
    count = sum(part.startswith(STARTS) for part in parts) or len(parts)  # in RLE, each fragment is a frame
    if count > 1:
        raise ValueError(f"there are {count} frames, and one is needed")
    return b"".join(parts)


@dataclass(frozen=True)
class Grid:
    """The pixel format of an image, according to a code stream or a header.

    Args:
        rows: pixels per column.
        columns: pixels per row.
        bits: bits per pixel.
        signed: whether values are signed; None if unknown.
        channels: numbers per pixel.
    """

    rows: int
    columns: int
    bits: int
    signed: bool | None = None
    channels: int = 1


def check_codestream(frame: bytes, header: Grid) -> Grid:
    """Refuse a JPEG, JPEG-LS or JPEG 2000 that is cut short, or does not match the header.

    Returns:
        The pixel format of the code stream; it may have more bits than the header says.

    Raises:
        ValueError: If the code stream is refused.
    """
    found = grid_of(frame)
    for name in ("rows", "columns", "channels"):
        own, told = getattr(found, name), getattr(header, name)
        if own != told:
            raise ValueError(f"{name}: {own} in the code stream, {told} in the header")
    if found.signed and not header.signed:  # the opposite occurs, and means two's complement
        raise ValueError("values are signed in the code stream, and not in the header")
    if not frame.rstrip(FILL).endswith(END):
        raise ValueError("the code stream does not end in its end, FFD9")
    return found


def grid_of(frame: bytes) -> Grid:
    """Read the pixel format of a JPEG, JPEG-LS or JPEG 2000.

    Raises:
        ValueError: If it is none of these, or ends within its header.
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
            place += 1 if kind == 0xFF else 2 + length  # 0xFF: fill byte
    except struct.error as error:
        raise ValueError("the code stream ends within its header") from error
