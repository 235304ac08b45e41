"""Compress voxels, and unpack and check those of MetaImage and NRRD, because ITK accepts damaged streams.

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
except ImportError:  # Python's own, five times slower
    from gzip import GzipFile  # type: ignore[assignment]

#: Bytes that are unpacked at once.
BLOCK = 2**20
#: Start of a gzip stream; a file may hold several in a row.
GZIP = b"\x1f\x8b"
#: Compression level: with noise, higher ones save little.
LEVEL = 1
#: Accept zlib and gzip.
EITHER = zlib.MAX_WBITS | 32


def unpacked(path: str | Path, file: Path, start: int, needed: int, size: float | None = None) -> Iterator[bytes]:
    """Yield unpacked voxels in blocks of at most 1 MiB; they are valid only if no error follows.

    Args:
        path: image path, for error messages.
        file: file that holds the voxels.
        start: position of their first byte.
        needed: required size in bytes, unpacked.
        size: packed size in bytes according to the header; None if it does not say.

    Raises:
        ImageError: If they are damaged, cut short, or of another size than the header says.
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
    """Return a gzip stream into a file, without name and time, so that the same voxels give the same bytes."""
    return cast(BinaryIO, GzipFile(filename="", mode="wb", compresslevel=LEVEL, fileobj=file, mtime=0))
