"""MetaImage, ``.mha`` and ``.mhd``: read where it is asked for, if the file is not compressed; else whole, once."""

from __future__ import annotations

import math
import re
import zlib
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import itk
import numpy as np
from bundle.images.claims import check_memory
from bundle.images.headers import LIMIT, check_references
from bundle.images.image import ImageError, LazyImage, Opened, Write
from bundle.images.itk_files import axes_of, create_raw, open_by_itk, text_of

#: Take zlib or gzip, whichever it is.
EITHER = zlib.MAX_WBITS | 32
#: Bytes that are unpacked at once.
BLOCK = 2**20
SUFFIXES = {".mha": ".mha", ".mhd": ".mha"}
#: The format's names of voxel types.
TYPES = {
    "uint8": "MET_UCHAR",
    "uint16": "MET_USHORT",
    "int16": "MET_SHORT",
    "uint32": "MET_UINT",
    "int32": "MET_INT",
    "uint64": "MET_ULONG_LONG",
    "int64": "MET_LONG_LONG",
    "float32": "MET_FLOAT",
    "float64": "MET_DOUBLE",
}


def matches(path: Path) -> bool:
    """Whether the path is named like a file of the format."""
    return path.name.lower().endswith(tuple(SUFFIXES))


def open(path: Path, **_: Any) -> Opened:
    """Open a file; errors as of `bundle.images.itk_files.open_by_itk`."""
    with path.open("rb") as file:
        head = file.read(LIMIT)
    packed, big = (_says(head, key) for key in (b"CompressedData", b"(?:BinaryData|Element)ByteOrderMSB"))
    # by its own reader, which ITK itself finds for lower-case names only
    opened = open_by_itk(path, itk.MetaImageIO.New(), in_parts=True, packed=packed)
    if not packed:
        return opened
    files = check_references(path)
    if len(files) > 1 or re.search(rb"^HeaderSize[ \t]*[=:][ \t]*-?[1-9]", head, re.MULTILINE):
        raise ImageError(
            f"image {str(path)!r} has compressed voxels in several files, or behind a header of their own; save it as "
            "one .mha."
        )
    start = 0 if files else head.index(b"\n", head.index(b"ElementDataFile")) + 1
    stored = opened.dtype.newbyteorder(">" if big else "<")
    told = re.search(rb"^CompressedDataSize[ \t]*[=:][ \t]*([^\s]*)", head, re.MULTILINE)
    size = None if told is None else told[1].decode("latin-1")
    voxels = cache(partial(_unpacked, path, files[0] if files else path, start, size, opened.shape, stored))
    return replace(opened, read=lambda window: voxels()[window])


def _says(head: bytes, key: bytes) -> bool:
    """Whether a field of a header is true."""
    return re.search(rb"^" + key + rb"[ \t]*[=:][ \t]*(?i:true|1)", head, re.MULTILINE) is not None


def _unpacked(
    path: Path, file: Path, start: int, size: str | None, shape: Sequence[int], stored: np.dtype
) -> np.ndarray:
    """The voxels of a compressed file, of which ITK makes others without a word where it is damaged.

    Raises:
        ImageError: If they do not make up the whole, or memory does not hold them.
    """
    check_memory(path, shape, stored)
    needed, unpacking, found, taken = math.prod(shape) * stored.itemsize, zlib.decompressobj(EITHER), bytearray(), 0
    try:
        with file.open("rb") as opened:
            opened.seek(start)
            while len(found) <= needed and not unpacking.eof and (block := opened.read(BLOCK)):
                found += unpacking.decompress(block, needed + 1 - len(found))
                taken += len(block) - len(unpacking.unused_data)
    except zlib.error as error:
        raise ImageError(
            f"image {str(path)!r} is damaged: its compressed voxels cannot be unpacked ({error}); fetch it again."
        ) from error
    if not unpacking.eof or len(found) != needed:
        many = f"more than {needed}" if len(found) > needed else f"{len(found)} of {needed}"
        raise ImageError(
            f"image {str(path)!r} is cut short or damaged: its compressed voxels are {many} bytes; fetch it again."
        )
    if size is not None and size != str(taken):
        raise ImageError(
            f"image {str(path)!r} is damaged: its CompressedDataSize is {size!r}, and its compressed voxels are "
            f"{taken} bytes; fetch it again."
        )
    return np.frombuffer(found, stored).reshape(shape, order="F")


def create(path: Path, like: LazyImage, dtype: np.dtype, **_: Any) -> AbstractContextManager[Write]:
    """Write an ``.mha`` slab by slab along its last axis; see `bundle.images.formats.create_image`.

    Raises:
        ImageError: If the format does not know the voxel type.
    """
    if dtype.name not in TYPES:
        raise ImageError(f"output_dtype {dtype.name!r} is unknown to .mha; take one of {', '.join(TYPES)}.")
    steps, origin = axes_of(like)
    spacing = np.linalg.norm(steps, axis=1)
    lines = {
        "ObjectType": "Image",
        "NDims": len(like.shape),
        "BinaryData": "True",
        "BinaryDataByteOrderMSB": "False",
        "CompressedData": "False",
        "TransformMatrix": text_of((steps / spacing[:, None]).ravel()),
        "Offset": text_of(origin),
        "CenterOfRotation": text_of(np.zeros(len(like.shape))),
        "ElementSpacing": text_of(spacing),
        "DimSize": " ".join(map(str, like.shape)),
        "ElementType": TYPES[dtype.name],
        "ElementDataFile": "LOCAL",
    }
    return create_raw(path, like, dtype, "".join(f"{key} = {value}\n" for key, value in lines.items()))
