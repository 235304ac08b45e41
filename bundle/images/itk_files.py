"""Shared code of the formats that ITK reads: geometry, voxel types, partial reads, and writing with a text header."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import itk
import numpy as np
from bundle.geometry import Window
from bundle.images.claims import check_claim, check_memory
from bundle.images.headers import check_references
from bundle.images.image import ImageError, LazyImage, Opened, Write, in_order, named, one_channel
from bundle.images.layout import file_bytes
from bundle.images.readback import check_itk, least_bytes
from bundle.runtime.files import atomic

#: From RAS coordinates, as in NIfTI, to ITK's LPS, and back.
TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
#: NumPy types by ITK's names of component types.
TYPES = {
    "unsigned_char": "u1",
    "char": "i1",
    "unsigned_short": "u2",
    "short": "i2",
    "unsigned_int": "u4",
    "int": "i4",
    "unsigned_long": "u8",
    "long": "i8",
    "unsigned_long_long": "u8",
    "long_long": "i8",
    "float": "f4",
    "double": "f8",
}
#: The types that ITK reads in parts, and those that it does not read.
IN_PARTS = ("u1", "u2", "i2", "f4", "f8")
UNREAD = ("i1", "i8")


def open_by_itk(
    path: Path, image_io: Any, in_parts: bool, packed: bool, check: Callable[[int], object] = lambda _: None
) -> Opened:
    """Open a file whose header may name other files; reads the header only.

    Args:
        path: image file.
        image_io: ITK's reader of the format.
        in_parts: whether ITK may read a part of the file; else the first access reads the whole file.
        packed: whether the voxels are compressed, or written as text.
        check: called with the number of bytes of all voxels before the whole file is read.

    Raises:
        ImageError: If it cannot be read, has more than one channel, or claims more than its files hold.
        ValueError: If its header names files elsewhere (`bundle.images.headers`).
    """
    files = check_references(path)
    with named(path):
        image_io.SetFileName(str(path))
        image_io.ReadImageInformation()
        dims = image_io.GetNumberOfDimensions()
        size = [int(image_io.GetDimensions(axis)) for axis in range(dims)]
        stored = np.dtype(TYPES[image_io.GetComponentTypeAsString(image_io.GetComponentType())])
        components = int(image_io.GetNumberOfComponents())
    if components != 1:
        raise ImageError(f"image {str(path)!r} has {components} channels; one is needed: choose it first.")
    check_claim(path, size, stored, packed, files)
    shape = one_channel(path, size, stored)
    checked = partial(check, math.prod(size) * stored.itemsize)
    whole = partial(_whole, path, image_io, size, stored, checked)
    kept = not (in_parts and image_io.CanStreamRead())
    reader = whole() if kept else _parts(path, image_io)
    more = (slice(0, 1),) * (dims - len(shape))
    return Opened(path, shape, _affine(image_io), stored, lambda window: reader((*window, *more)), kept=kept)


def _affine(image_io: Any) -> np.ndarray:
    """Return the affine to RAS; axes after the third are left out."""
    dims = min(image_io.GetNumberOfDimensions(), 3)
    affine = np.eye(4)
    for axis in range(dims):
        affine[:dims, axis] = np.asarray(image_io.GetDirection(axis))[:dims] * image_io.GetSpacing(axis)
        affine[axis, 3] = image_io.GetOrigin(axis)
    return TO_LPS @ affine


def _parts(path: Path, image_io: Any) -> Callable[[Window], np.ndarray]:
    """Return a function that reads a window of a file."""
    opened: list[Any] = []

    def read(window: Window) -> np.ndarray:
        if not opened:
            opened.append(itk.ImageFileReader.New(FileName=str(path), ImageIO=image_io))
            opened[0].UpdateOutputInformation()
        region = itk.ImageRegion[len(window)]()
        region.SetIndex([part.start for part in window])
        region.SetSize([part.stop - part.start for part in window])
        part = itk.RegionOfInterestImageFilter.New(opened[0].GetOutput(), RegionOfInterest=region)
        part.Update()
        return np.array(itk.array_view_from_image(part.GetOutput(), keep_axes=False).T)

    return read


def _whole(
    path: Path, image_io: Any, size: Sequence[int], stored: np.dtype, check: Callable[[], object]
) -> Callable[[Window], np.ndarray]:
    """Return a function that checks and reads the whole file on its first call, and then returns windows of it."""
    voxels: list[np.ndarray] = []

    def read(window: Window) -> np.ndarray:
        if not voxels:
            check_memory(path, size, stored)
            check()
            voxels.append(itk.array_from_image(itk.imread(str(path), imageio=image_io)).T)
        return voxels[0][window]

    return read


@contextmanager
def create_raw(path: Path, like: LazyImage, dtype: np.dtype, header: str) -> Iterator[Write]:
    """Write a text header followed by the voxels, little endian, slab by slab along the last axis."""
    stored, needed = dtype.newbyteorder("<"), least_bytes(like.shape, dtype, path.suffix.lower())
    with (
        atomic(path, needed, lambda part: check_itk(part, like.shape, dtype)) as part,
        part.open("wb") as file,
        in_order(path, like.shape, lambda slab: file.write(file_bytes(slab, stored))) as write,
    ):
        file.write(header.encode("ascii"))
        yield write


def axes_of(like: LazyImage) -> tuple[np.ndarray, np.ndarray]:
    """Return the step between voxels along each axis, `(axes, axes)`, and the origin, both in LPS and mm."""
    dims = len(like.shape)
    affine = TO_LPS @ like.affine
    return affine[:dims, :dims].T, affine[:dims, 3]


def text_of(numbers: Sequence[float] | np.ndarray, between: str = " ") -> str:
    """Format numbers without loss of precision."""
    return between.join(f"{float(number) + 0.0:.17g}" for number in numbers)
