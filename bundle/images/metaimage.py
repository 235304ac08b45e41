"""MetaImage, ``.mha`` and ``.mhd``: read where it is asked for, if the file is not compressed; else whole, once."""

from __future__ import annotations

import os
import re
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any

import itk
import numpy as np
from bundle.images.headers import LIMIT, LOCAL
from bundle.images.image import ImageError, LazyImage, Opened, Write
from bundle.images.itk_files import axes_of, create_raw, open_by_itk, text_of
from bundle.images.packed import check_packed

SUFFIXES = {".mha": ".mha", ".mhd": ".mha"}
#: A line of the header, and the last one, which names the file of the voxels.
FIELD = re.compile(rb"^[ \t]*(\w+)[ \t]*[=:][ \t]*([^\r\n]*?)[ \t\r]*$", re.MULTILINE)
DATA = re.compile(rb"^[ \t]*ElementDataFile[ \t]*[=:]([^\n]*)\n", re.MULTILINE)
#: What a yes begins with.
TRUE = (b"T", b"t", b"1")
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
    _check_binary(path)
    # by its own reader, which ITK itself finds for lower-case names only
    return open_by_itk(path, itk.MetaImageIO.New(), in_parts=True, check=partial(_check_packed, path))


def _check_binary(path: Path) -> None:
    """Refuse voxels as text, of which ITK writes twice as many into memory as there is room for."""
    with path.open("rb") as file:
        told = dict(FIELD.findall(file.read(LIMIT).partition(b"ElementDataFile")[0]))
    if told.get(b"BinaryData", b"True")[:1] not in TRUE:
        raise ImageError(f"image {str(path)!r} has voxels as text, BinaryData is not True; save it in binary form.")


def _check_packed(path: Path, needed: int) -> None:
    """Refuse compressed voxels that are not whole."""
    with path.open("rb") as file:
        head = file.read(LIMIT)
    told = dict(FIELD.findall(head.partition(b"ElementDataFile")[0]))
    found = DATA.search(head)
    if not found or told.get(b"CompressedData", b"")[:1] not in TRUE:
        return
    name, size = found[1].strip().decode("latin-1"), told.get(b"CompressedDataSize", b"")
    if not size.isdigit():  # without which ITK makes voxels of what memory held before
        raise ImageError(f"image {str(path)!r} is compressed and has no CompressedDataSize; save it anew.")
    if name in LOCAL:
        check_packed(path, path, found.end(), needed, int(size))
    elif name.startswith("LIST") or "%" in name or int(told.get(b"HeaderSize", b"0")):
        raise ImageError(
            f"image {str(path)!r} has compressed voxels in several files, or behind a header of their own; save it as "
            "one .mha."
        )
    else:
        file_of_voxels = path.parent / os.fsdecode(name.encode("latin-1"))
        if file_of_voxels.is_file():  # ITK itself looks for names that end in .gz, which hold a checksum
            check_packed(path, file_of_voxels, 0, needed, int(size))


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
