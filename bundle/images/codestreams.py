"""Code streams: the compressed image of a DICOM file, whole and of the header's size, before it is decoded.

Decoders are lenient: some fill up what was cut off, or take the first rows of a larger image.

::

    Pixel Data   [item: offsets] [item: fragment] [item: fragment] ... [delimiter]      DICOM PS3.5, A.4
    frame                        [the fragments, one behind the other]
    JPEG         FFD8 ... [FFCn length, precision, rows, columns] ... FFD9              ITU T.81, B.2; T.87, C.2
    JPEG 2000    FF4F [FF51 length, capabilities, right, down, left, top] ... FFD9      ITU T.800, A.5
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from pydicom.uid import UID

#: Before a code stream of JPEG 2000 that lies in a file of its own.
JP2_START, JP2_BOX = b"\0\0\0\x0cjP  ", b"jp2c"
#: Markers of a JPEG's or JPEG-LS's frame header.
FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC} | {0xF7}
END = b"\xff\xd9"


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


def frame_of(data: bytes, syntax: UID, shape: tuple[int, int]) -> bytes:
    """The one frame of encapsulated pixels.

    Args:
        data: the value of Pixel Data.
        syntax: the transfer syntax.
        shape: rows and columns by the header.

    Raises:
        ValueError: If there is none, there are several, it does not end in its end, or it is of another size.
    """
    parts = list(fragments(data))
    frame = b"".join(parts)
    if not frame:
        raise ValueError("there is no frame")
    if "RLE" in syntax.name:
        if len(parts) > 1:
            raise ValueError(f"there are {len(parts)} frames, and one is needed")
        return frame
    if not frame.startswith((b"\xff\xd8", b"\xff\x4f", JP2_START)):
        return frame  # of a kind that is not known here
    starts = [part for part in parts[1:] if part.startswith(frame[:4]) and frame.startswith(b"\xff")]
    if starts:
        raise ValueError(f"there are {1 + len(starts)} frames, and one is needed")
    if not frame.rstrip(b"\0").endswith(END):
        raise ValueError("the code stream does not end in its end, FFD9")
    if (found := size_of(frame)) != shape:
        raise ValueError(f"the code stream has {found[0]} rows of {found[1]}, the header {shape[0]} of {shape[1]}")
    return frame


def size_of(frame: bytes) -> tuple[int, int]:
    """Rows and columns of a JPEG, JPEG-LS or JPEG 2000.

    Raises:
        ValueError: If its header does not tell.
    """
    try:
        if not frame.startswith(b"\xff\xd8"):
            place = frame.index(JP2_BOX) + len(JP2_BOX) if frame.startswith(JP2_START) else 0
            right, down, left, top = struct.unpack_from(">4L", frame, place + 8)
            return down - top, right - left
        place = 2
        while True:
            mark, kind, length = struct.unpack_from(">BBH", frame, place)
            if kind in FRAMES and mark == 0xFF:
                rows, columns = struct.unpack_from(">HH", frame, place + 5)
                return rows, columns
            if mark != 0xFF:
                raise ValueError("a marker is missing in the code stream")
            place += 1 if kind == 0xFF else 2 + length  # filled up
    except struct.error as error:
        raise ValueError("the code stream ends within its header") from error
