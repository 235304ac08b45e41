"""Read and write FreeSurfer's ``.mgz`` and ``.mgh`` in parts; each read of a compressed file unpacks from its start."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import nibabel
import numpy as np
from bundle.images.claims import check_claim
from bundle.images.image import ImageError, LazyImage, Opened, Write, in_order, named, one_channel
from bundle.images.layout import file_bytes
from bundle.images.packed import packing
from bundle.images.readback import check_mgz, least_bytes
from bundle.runtime.files import atomic
from nibabel.arrayproxy import ArrayProxy
from nibabel.freesurfer.mghformat import MGHHeader
from nibabel.openers import ImageOpener

SUFFIXES = {".mgz": ".mgz", ".mgh": ".mgh"}
#: Voxel types that the format supports.
TYPES = ("uint8", "int16", "int32", "float32")


def matches(path: Path) -> bool:
    """Return whether the file name has a suffix of the format."""
    return path.name.lower().endswith(tuple(SUFFIXES))


def open(path: Path, **_: Any) -> Opened:
    """Open a file.

    Raises:
        ImageError: If it cannot be read, or has more than one frame.
    """
    with named(path):
        with ImageOpener(str(path)) as file:  # nibabel.load leaves it open
            header = MGHHeader.from_fileobj(file)
        stored, whole = header.get_data_dtype(), header.get_data_shape()
        check_claim(path, whole, stored, packed=not path.name.lower().endswith(".mgh"))
        shape = one_channel(path, whole, stored)
    proxy, more = ArrayProxy(str(path), header), (0,) * (len(whole) - len(shape))
    return Opened(path, shape, np.asarray(header.get_affine()), stored, lambda window: proxy[(*window, *more)])


@contextmanager
def create(path: Path, like: LazyImage, dtype: np.dtype, **_: Any) -> Iterator[Write]:
    """Write a file slab by slab along its last axis; see `bundle.images.formats.create_image`.

    Raises:
        ImageError: If the format does not support the voxel type.
    """
    if dtype.name not in TYPES:
        raise ImageError(f"output_dtype {dtype.name!r} is unknown to {path.suffix}; take one of {', '.join(TYPES)}.")
    shape = (*like.shape, *(1,) * (3 - len(like.shape)))
    header = nibabel.MGHImage(np.broadcast_to(np.zeros((), dtype), shape), like.affine).header
    needed = least_bytes(like.shape, dtype, path.suffix.lower())
    with atomic(path, needed, lambda part: check_mgz(part, shape, dtype)) as part, ExitStack() as stack:
        file: BinaryIO = stack.enter_context(part.open("wb"))
        if path.name.lower().endswith(".mgz"):
            file = stack.enter_context(packing(file))
        header.writehdr_to(file)
        file.write(b"\0" * (header.get_data_offset() - file.tell()))
        stored = dtype.newbyteorder(">")
        with in_order(path, like.shape, lambda slab: file.write(file_bytes(slab, stored))) as write:
            yield write
        header.writeftr_to(file)
