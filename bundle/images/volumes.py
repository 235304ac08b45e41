"""Images on disk as slabs of axial slices in HU, oriented to RAS: only what is asked for is read.

::

    file, any axes order          Volume, `(x, y, z)`: right, front, up          slab(2, 4)
    [. . . . . . . . .]    -->    z = 0 1 2 3 4 5 6 7 8                   -->    z = 2 3
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from bundle.geometry import Window, read_window
from bundle.images.bit_depth import to_grey
from bundle.images.nifti import NiftiWriter
from bundle.images.voxels import open_voxels
from nibabel.orientations import inv_ornt_aff, io_orientation
from torch import Tensor

#: Slices that are looked at together.
SLAB = 8


class Slabs(Protocol):
    """What is read slab by slab: an image on disk, or one that is filtered on the way."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Voxels per axis."""

    @property
    def spacing(self) -> tuple[float, ...]:
        """Voxel size in mm per axis."""

    @property
    def affine(self) -> np.ndarray:
        """From voxels to mm, `(4, 4)`."""

    def slab(self, start: int, stop: int) -> Tensor:
        """The slices from start to stop, `(x, y, stop - start)`, float32, in HU."""


class Volume:
    """An image file, oriented to RAS where it is a volume, of which only what is asked for is read.

    How far that is possible depends on the format, see `bundle.images.voxels`.

    Args:
        path: any image that `bundle.images.formats` reads.
        spatial_dims: 2 or 3.
        series_uid: of a DICOM folder with several series, the one to take.

    Raises:
        FileNotFoundError: where there is none.
        ValueError: where it does not have so many axes.
    """

    def __init__(self, path: str | Path, spatial_dims: int = 3, series_uid: str = "") -> None:
        voxels, affine = open_voxels(path, series_uid)
        size = tuple(voxels.shape)
        if len(size) < spatial_dims or any(side != 1 for side in size[spatial_dims:]):
            raise ValueError(
                f"image {str(path)!r} has the shape {size}; {spatial_dims} axes of one channel are needed."
            )
        #: The files of a DICOM series, in the order of their position.
        self.series: list[str] = getattr(voxels, "files", [])
        #: What metadata tell of an image in memory: the ``bits`` of a file of levels (`bundle.images.bit_depth`).
        self.meta = {"bits": bits} if (bits := getattr(voxels, "bits", None)) else {}
        self._voxels, self._more = voxels, (slice(None),) * (len(size) - spatial_dims)
        #: Voxels per axis of the file, and its affine.
        self.file_shape, self.file_affine = size[:spatial_dims], np.asarray(affine, float)
        turn = np.asarray([(axis, 1) for axis in range(spatial_dims)])
        self.affine = self.file_affine
        if spatial_dims == 3:
            turn = io_orientation(self.file_affine)
            self.affine = self.file_affine @ inv_ornt_aff(turn, self.file_shape)
        self._axes = [int(axis) for axis in np.argsort(turn[:, 0])]
        #: Whether each axis here runs against that of the file.
        self.flipped = [bool(turn[axis, 1] < 0) for axis in self._axes]
        self.path = Path(path)
        self.shape = tuple(self.file_shape[axis] for axis in self._axes)
        self.spacing = tuple(float(mm) for mm in np.linalg.norm(self.affine[:spatial_dims, :spatial_dims], axis=0))

    def __getitem__(self, index: tuple[Any, int]) -> Tensor:
        """One slice across the last axis, ``image[..., z]``: as much of a tensor as `bundle.scanner` needs."""
        return self.slab(index[1], index[1] + 1)[..., 0]

    def window(self, bounds: Sequence[tuple[int, int]]) -> Tensor:
        """Read a window, which may reach over the border that is repeated there: `(*(stop - start))`, float32."""
        inside = [(max(a, 0), min(b, size)) for (a, b), size in zip(bounds, self.shape, strict=True)]
        part = self.oriented(self.in_file(self.file_window(inside)))
        local = [(a - first, b - first) for (a, b), (first, _) in zip(bounds, inside, strict=True)]
        return read_window(part[None, None], local)[0, 0]

    def slab(self, start: int, stop: int) -> Tensor:
        """The slices from start to stop along the last axis, float32."""
        return self.window([*((0, side) for side in self.shape[:-1]), (start, stop)])

    def in_file(self, window: Window) -> Tensor:
        """The voxels of a window in the axes of the file, float32."""
        found = np.array(self._voxels[(*window, *self._more)], np.float32)
        return torch.from_numpy(found.reshape(found.shape[: len(window)]))

    def file_window(self, bounds: Sequence[tuple[int, int]]) -> Window:
        """Where in the file the voxels of some bounds lie."""
        window = [slice(0, 0)] * len(self.shape)
        for axis, (a, b), flipped in zip(self._axes, bounds, self.flipped, strict=True):
            size = self.file_shape[axis]
            window[axis] = slice(size - b, size - a) if flipped else slice(a, b)
        return tuple(window)

    def of_file(self, window: Window, shape: Sequence[int] | None = None) -> Window:
        """The window here of a window of the file: the inverse of `file_window`; with a shape, of a coarser scale's."""
        bounds = []
        for axis, flipped in zip(self._axes, self.flipped, strict=True):
            a, b, size = window[axis].start, window[axis].stop, (shape or self.file_shape)[axis]
            bounds.append(slice(size - b, size - a) if flipped else slice(a, b))
        return tuple(bounds)

    def axes_in_file(self, values: Sequence[Any]) -> tuple[Any, ...]:
        """What belongs to each axis here, in the order of the file's."""
        return tuple(values[self._axes.index(axis)] for axis in range(len(self._axes)))

    def oriented(self, voxels: Tensor) -> Tensor:
        """Turn voxels in the axes of the file to RAS."""
        return voxels.permute(self._axes).flip(self._turned()).contiguous()

    def as_in_file(self, voxels: Tensor) -> Tensor:
        """Turn voxels in RAS to the axes of the file: the inverse of `oriented`."""
        return voxels.flip(self._turned()).permute(self.axes_in_file(range(voxels.ndim))).contiguous()

    def _turned(self) -> list[int]:
        return [axis for axis, flipped in enumerate(self.flipped) if flipped]


class Picture:
    """An image of two axes as a volume of one slice, in grey from 0 to 255 where it has a bit depth.

    Args:
        path: any image that `bundle.images.formats` reads.

    Raises:
        FileNotFoundError: where there is none.
        ValueError: where it does not have two axes.
    """

    def __init__(self, path: str | Path) -> None:
        self._image = Volume(path, spatial_dims=2)
        self.path, self.affine = self._image.path, self._image.affine
        self.shape, self.spacing = (*self._image.shape, 1), (*self._image.spacing, 1.0)

    def slab(self, start: int, stop: int) -> Tensor:
        """All of it, or nothing."""
        levels, bits = self._image.slab(0, self.shape[1]), self._image.meta.get("bits")
        return (to_grey(levels, bits) if bits else levels)[..., None][..., start:stop]


def open_slabs(path: str | Path) -> Volume | Picture:
    """Open an image of two or three axes, to be read slab by slab."""
    return Picture(path) if len(open_voxels(path)[0].shape) == 2 else Volume(path)


def slabs(depth: int, thickness: int = SLAB) -> Iterator[tuple[int, int]]:
    """Start and stop of the slabs that make up a depth."""
    for start in range(0, depth, thickness):
        yield start, min(start + thickness, depth)


@contextmanager
def create(path: str | Path, shape: Sequence[int], affine: np.ndarray) -> Iterator[Callable[[Tensor], None]]:
    """Write a NIfTI of 16 bits slab by slab; it appears under its name only when whole.

    Args:
        path: of the file.
        shape: voxels per axis, three, or two of a picture.
        affine: from voxels to mm.

    Yields:
        What takes the next slab, `(x, y, slices)` in HU: rounded, and clipped to 16 bits.

    Raises:
        ValueError: where the slabs did not make up the shape.
    """
    limits = torch.iinfo(torch.int16)
    with NiftiWriter(path, shape, affine, np.int16) as writer:

        def append(slab: Tensor) -> None:
            whole = slab.round().clamp(limits.min, limits.max).to(torch.int16).numpy()
            writer.append(whole.reshape(*whole.shape[: len(shape)]))

        yield append


def write(path: str | Path, image: Slabs, thickness: int = SLAB) -> None:
    """Write what is read slab by slab, as `create` does."""
    with create(path, image.shape, image.affine) as append:
        for start, stop in slabs(image.shape[2], thickness):
            append(image.slab(start, stop))
