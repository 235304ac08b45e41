"""Read and write NRRD, ``.nrrd``: the first access reads the whole file; results are written in parts."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any

import itk
import numpy as np
from bundle.images.image import ImageError, LazyImage, Opened, Write, in_millimetres
from bundle.images.itk_files import UNREAD, axes_of, create_raw, open_by_itk, text_of
from bundle.images.packed import unpacked

SUFFIXES = {".nrrd": ".nrrd"}
#: The format's names of voxel types.
TYPES = {
    "uint8": "uchar",
    "uint16": "ushort",
    "int16": "short",
    "uint32": "uint",
    "int32": "int",
    "uint64": "ulonglong",
    "int64": "longlong",
    "float32": "float",
    "float64": "double",
}
#: Encodings that ITK reads.
ENCODINGS = ("raw", "gzip", "gz", "txt", "text", "ascii", "hex")
#: The compressed ones among them.
PACKED = ("gzip", "gz")
#: Kinds of spatial axes.
PLACES = ("domain", "space")


def matches(path: Path) -> bool:
    """Return whether the file name has a suffix of the format."""
    return path.name.lower().endswith(tuple(SUFFIXES))


def open(path: Path, **_: Any) -> Opened:
    """Open a file; raises the errors of `bundle.images.itk_files.open_by_itk` as well.

    Raises:
        ImageError: If ITK does not support the encoding, or an axis is not spatial.
    """
    fields = _fields(path)
    encoding = fields.get("encoding", "raw").lower()
    if encoding not in ENCODINGS:
        raise ImageError(
            f"image {str(path)!r} has the encoding {encoding!r}; one of {', '.join(ENCODINGS[:2])} is read: save it so."
        )
    other = [kind for kind in fields.get("kinds", "").lower().split() if kind not in PLACES]
    if other:
        raise ImageError(
            f"image {str(path)!r} has an axis of the kind {other[0]!r}, which is none of space; a volume of "
            "one channel and one time point is needed: save it without that axis."
        )
    packed = encoding in PACKED
    check = partial(_check_packed, path, fields) if packed else _pass
    opened = open_by_itk(path, itk.NrrdImageIO.New(), in_parts=False, packed=encoding != "raw", check=check)
    if opened.dtype in UNREAD:
        raise ImageError(
            f"image {str(path)!r} has voxels of {opened.dtype}, which ITK does not read from a .nrrd; save it as int16 "
            "or float32."
        )
    return in_millimetres(opened, re.findall(r'"([^"]*)"', fields.get("space units") or fields.get("units") or ""))


def _pass(_: int) -> None:
    """Check nothing for uncompressed voxels: ITK reports if some are missing."""


def _check_packed(path: Path, fields: Mapping[str, str], needed: int) -> None:
    """Refuse compressed voxels that are incomplete or damaged."""
    name = fields.get("data file") or fields.get("datafile") or ""
    skips = [fields.get(field, "0").strip() for field in ("line skip", "byte skip", "lineskip", "byteskip")]
    if name.startswith("LIST") or "%" in name or set(skips) != {"0"}:
        raise ImageError(
            f"image {str(path)!r} has compressed voxels in several files, or behind others; save it again as one file."
        )
    start, voxels = 0, path.parent / os.fsdecode(name.encode("latin-1")) if name else path
    if not name:
        with path.open("rb") as file:
            while file.readline(2**16).rstrip(b"\r\n"):
                pass
            start = file.tell()
    for _ in unpacked(path, voxels, start, needed):
        pass


def _fields(path: Path) -> dict[str, str]:
    """Return the fields of a header by their names in lower case."""
    fields = {}
    with path.open("rb") as file:
        for line in iter(lambda: file.readline(2**16).decode("latin-1").rstrip("\r\n"), ""):
            if found := re.fullmatch(r"([^#:][^:]*): (.*)", line):
                fields[found[1].lower()] = found[2].strip()
    return fields


def create(path: Path, like: LazyImage, dtype: np.dtype, **_: Any) -> AbstractContextManager[Write]:
    """Write a file slab by slab along its last axis; see `bundle.images.formats.create_image`.

    Raises:
        ImageError: If the format does not support the voxel type.
    """
    if dtype.name not in TYPES:
        raise ImageError(f"output_dtype {dtype.name!r} is unknown to .nrrd; take one of {', '.join(TYPES)}.")
    steps, origin = axes_of(like)
    dims, vectors = len(like.shape), [f"({text_of(step, ',')})" for step in steps]
    lines = [
        "NRRD0004",
        f"type: {TYPES[dtype.name]}",
        f"dimension: {dims}",
        "space: left-posterior-superior" if dims == 3 else f"space dimension: {dims}",
        f"sizes: {' '.join(map(str, like.shape))}",
        f"space directions: {' '.join(vectors)}",
        f"kinds: {' '.join(['domain'] * dims)}",
        "endian: little",
        "encoding: raw",
        f"space origin: ({text_of(origin, ',')})",
    ]
    return create_raw(path, like, dtype, "\n".join(lines) + "\n\n")
