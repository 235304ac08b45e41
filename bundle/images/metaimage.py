"""Read and write MetaImage, ``.mha`` and ``.mhd``; uncompressed files are read in parts, others whole and only once."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import itk
import numpy as np
from bundle.geometry import Window
from bundle.images.claims import check_memory
from bundle.images.headers import LIMIT, check_references
from bundle.images.image import ImageError, LazyImage, Opened, Write, in_millimetres
from bundle.images.itk_files import IN_PARTS, axes_of, create_raw, open_by_itk, text_of
from bundle.images.packed import unpacked

#: A line of the header.
FIELD = re.compile(rb"^[ \t]*(\w+)[ \t]*[=:][ \t]*([^\r\n]*?)[ \t\r]*$", re.MULTILINE)
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
    """Return whether the file name has a suffix of the format."""
    return path.name.lower().endswith(tuple(SUFFIXES))


def open(path: Path, **_: Any) -> Opened:
    """Open a file; raises the errors of `bundle.images.itk_files.open_by_itk`.

    Raises:
        ImageError: If its voxels are text, or if compressed voxels lie in several files or behind another header.
    """
    with path.open("rb") as file:
        head = file.read(LIMIT)
    told = dict(FIELD.findall(head.partition(b"ElementDataFile")[0]))
    if not _is_true(told, b"BinaryData", b"True"):  # ITK would overflow its buffer
        raise ImageError(f"image {str(path)!r} has voxels as text, BinaryData is not True; save it in binary form.")
    packed = _is_true(told, b"CompressedData")
    # name the reader: ITK itself finds it for lower-case names only
    opened = open_by_itk(path, itk.MetaImageIO.New(), in_parts=True, packed=packed)
    opened = in_millimetres(opened, [told.get(b"DistanceUnits", b"").decode("latin-1")])
    if not packed and opened.dtype in IN_PARTS:
        return opened
    files = check_references(path)
    if len(files) > 1 or told.get(b"HeaderSize", b"0") != b"0":
        raise ImageError(
            f"image {str(path)!r} has {'compressed voxels' if packed else f'voxels of {opened.dtype}'} in several "
            "files, or behind a header of their own; save it as one .mha."
        )
    start = 0 if files else head.index(b"\n", head.index(b"ElementDataFile")) + 1
    big = _is_true(told, b"BinaryDataByteOrderMSB") or _is_true(told, b"ElementByteOrderMSB")
    stored = opened.dtype.newbyteorder(">" if big else "<")
    if not packed:
        return replace(opened, read=partial(_mapped, files[0] if files else path, start, opened.shape, stored))
    size = float(told[b"CompressedDataSize"]) if b"CompressedDataSize" in told else None
    voxels = cache(partial(_voxels, path, files[0] if files else path, start, size, opened.shape, stored))
    return replace(opened, read=lambda window: voxels()[window])


def _is_true(told: Mapping[bytes, bytes], key: bytes, default: bytes = b"") -> bool:
    """Return whether a field of a header is true."""
    return told.get(key, default)[:1] in (b"T", b"t", b"1")


def _mapped(file: Path, start: int, shape: Sequence[int], stored: np.dtype, window: Window) -> np.ndarray:
    """Return a window of uncompressed voxels, whose type ITK reads only whole, or not at all."""
    return np.array(np.memmap(file, stored, "r", start, tuple(shape), "F")[window], stored.newbyteorder("="))


def _voxels(
    path: Path, file: Path, start: int, size: float | None, shape: Sequence[int], stored: np.dtype
) -> np.ndarray:
    """Return all voxels of a compressed file; raises the errors of `bundle.images.packed.unpacked`.

    Raises:
        ImageError: If they do not fit into memory.
    """
    check_memory(path, shape, stored)
    found = bytearray()
    for block in unpacked(path, file, start, math.prod(shape) * stored.itemsize, size):
        found += block
    return np.frombuffer(found, stored).reshape(shape, order="F")


def create(path: Path, like: LazyImage, dtype: np.dtype, **_: Any) -> AbstractContextManager[Write]:
    """Write an ``.mha`` slab by slab along its last axis; see `bundle.images.formats.create_image`.

    Raises:
        ImageError: If the format does not support the voxel type.
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
