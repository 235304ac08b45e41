"""Compressed voxels of MetaImage and NRRD, checked before ITK reads them: it takes what a damaged stream gives.

::

    header, blank line or ElementDataFile = LOCAL    [zlib or gzip: voxels, checksum]
"""

from __future__ import annotations

import zlib
from pathlib import Path

from bundle.images.image import ImageError

#: Bytes that are unpacked at once.
BLOCK = 2**20
#: What a gzip stream begins with; several may follow each other.
GZIP = b"\x1f\x8b"
#: Take zlib or gzip, whichever it is.
EITHER = 47


def check_packed(path: str | Path, file: Path, start: int, needed: int, size: int = -1) -> None:
    """Refuse compressed voxels that are damaged, cut short, or more or fewer than the header tells.

    Args:
        path: of the image, for the error.
        file: that holds them.
        start: their first byte.
        needed: bytes that they have to be, unpacked.
        size: bytes that they are, packed, by the header; -1 for all that follow.

    Raises:
        ImageError: If so.
    """
    found, unpacker = 0, zlib.decompressobj(EITHER)
    with file.open("rb") as stream:
        left = stream.seek(0, 2) - start if size < 0 else size
        stream.seek(start)
        packed = stream.read(min(BLOCK, left))
        left -= len(packed)
        while packed and found <= needed and not (unpacker.eof and not packed.startswith(GZIP)):
            unpacker = zlib.decompressobj(EITHER) if unpacker.eof else unpacker
            try:
                found += len(unpacker.decompress(packed, BLOCK))
            except zlib.error as error:
                raise ImageError(
                    f"image {str(path)!r} is damaged: its compressed voxels cannot be unpacked ({error}); fetch it "
                    "again."
                ) from error
            packed = unpacker.unused_data or unpacker.unconsumed_tail
            if not packed and left > 0:
                packed = stream.read(min(BLOCK, left))
                left = left - len(packed) if packed else 0
    if found != needed or not unpacker.eof:
        less = "cut short or damaged" if found <= needed else "damaged"
        raise ImageError(
            f"image {str(path)!r} is {less}: its compressed voxels are {'' if found <= needed else 'more than '}"
            f"{min(found, needed)} of {needed} bytes{'' if unpacker.eof else ', without an end'}; fetch it again."
        )
