"""Compressed voxels: packed, and for MetaImage and NRRD unpacked and checked, as ITK takes damaged streams for whole.

::

    header, blank line or ElementDataFile = LOCAL    [zlib or gzip: voxels, checksum]
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, cast

from bundle.images.image import ImageError

try:
    from isal.igzip import GzipFile
except ImportError:  # of Python itself, five times as slow
    from gzip import GzipFile  # type: ignore[assignment]

#: Bytes that are unpacked at once.
BLOCK = 2**20
#: What a gzip stream begins with; several may follow each other.
GZIP = b"\x1f\x8b"
#: How hard to pack: of noise, more saves little.
LEVEL = 1
#: Take zlib or gzip, whichever it is.
EITHER = zlib.MAX_WBITS | 32


def unpacked(path: str | Path, file: Path, start: int, needed: int, size: float | None = None) -> Iterator[bytes]:
    """Yield voxels, unpacked, in blocks of at most 1 MiB; what was yielded holds when no error has followed.

    Args:
        path: of the image, for the error.
        file: that holds them.
        start: their first byte.
        needed: bytes that they have to be, unpacked.
        size: bytes that they are, packed, by the header; null if it does not tell.

    Raises:
        ImageError: If they are damaged, cut short, or more or fewer than the header tells.
    """
    found, taken, unpacker = 0, 0, zlib.decompressobj(EITHER)
    with file.open("rb") as stream:
        stream.seek(start)
        packed = stream.read(BLOCK)
        while packed and found <= needed and not (unpacker.eof and not packed.startswith(GZIP)):
            unpacker = zlib.decompressobj(EITHER) if unpacker.eof else unpacker
            try:
                block = unpacker.decompress(packed, BLOCK)
            except zlib.error as error:
                raise ImageError(
                    f"image {str(path)!r} is damaged: its compressed voxels cannot be unpacked ({error}); fetch it "
                    "again."
                ) from error
            yield block
            found += len(block)
            rest = unpacker.unused_data or unpacker.unconsumed_tail
            taken += len(packed) - len(rest)
            packed = rest or stream.read(BLOCK)
    if found != needed or not unpacker.eof:
        less = "cut short or damaged" if found <= needed else "damaged"
        raise ImageError(
            f"image {str(path)!r} is {less}: its compressed voxels are {'' if found <= needed else 'more than '}"
            f"{min(found, needed)} of {needed} bytes{'' if unpacker.eof else ', without an end'}; fetch it again."
        )
    if size not in (None, taken):
        raise ImageError(
            f"image {str(path)!r} is damaged: its CompressedDataSize is {size:.0f}, and its compressed voxels are "
            f"{taken} bytes; fetch it again."
        )


def packing(file: BinaryIO) -> BinaryIO:
    """What packs a file as it is written, by gzip; without a name and a time: the same voxels are the same bytes."""
    return cast(BinaryIO, GzipFile(filename="", mode="wb", compresslevel=LEVEL, fileobj=file, mtime=0))
