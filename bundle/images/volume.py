"""Read an image as a volume of axial slices in RAS orientation; only the requested slices are read.

::

    file, any axis order          Volume, `(x, y, z)`: right, front, up          slab(2, 4)
    [. . . . . . . . .]    -->    z = 0 1 2 3 4 5 6 7 8                   -->    z = 2 3
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from bundle.geometry import Window, read_window
from bundle.images.bit_depth import to_grey
from bundle.images.formats import create_image, open_image
from bundle.images.image import Opened, held
from bundle.images.own_files import OWN
from nibabel.orientations import inv_ornt_aff, io_orientation
from torch import Tensor

#: Slices per slab.
SLAB = 8


class Slabs(Protocol):
    """A volume that is read slab by slab: a `Volume`, or one that is filtered while it is read."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Voxels per axis."""

    @property
    def spacing(self) -> tuple[float, ...]:
        """Voxel size in mm per axis."""

    @property
    def affine(self) -> np.ndarray:
        """Affine from voxel indices to mm, `(4, 4)`."""

    def slab(self, start: int, stop: int) -> Tensor:
        """Return the slices from start to stop, `(x, y, stop - start)`, float32, in HU."""


class Volume:
    """A `LazyImage` in RAS orientation; a 2D picture is a volume of one slice, in grey if it has a bit depth.

    Args:
        image: a path, or an open image.
        series_uid: the series to read from a DICOM folder with several; null where no key chooses it.

    Raises:
        FileNotFoundError: If the path does not exist.
        ValueError: If it is not a single image of a known format.
    """

    def __init__(self, image: str | Path | Opened, series_uid: str | None = None) -> None:
        self.image = image if isinstance(image, Opened) else open_image(image, series_uid)
        self.path = self.image.path
        #: Whether the image has two axes.
        self.is_picture = len(self.image.shape) == 2
        turn = np.asarray([(axis, 1) for axis in range(3)])
        size = (*self.image.shape, 1)[:3]
        self.affine = self.image.affine
        if not self.is_picture:
            turn = io_orientation(self.image.affine)
            self.affine = self.image.affine @ inv_ornt_aff(turn, size)
        self._axes = [int(axis) for axis in np.argsort(turn[:, 0])]
        #: Whether each axis runs opposite to that of the file.
        self.flipped = [bool(turn[axis, 1] < 0) for axis in self._axes]
        self.shape = tuple(size[axis] for axis in self._axes)
        self.spacing = tuple(float(mm) for mm in np.linalg.norm(self.affine[:3, :3], axis=0))

    @property
    def thin_axis(self) -> int:
        """The axis of the file that runs across the slices."""
        return self._axes[2]

    def __getitem__(self, index: tuple[Any, int | slice]) -> Tensor:
        """Return slices along the last axis, ``image[..., z]`` or ``[..., a:b]``: all the indexing `scanner` needs."""
        z = index[1]
        return self.slab(z.start, z.stop) if isinstance(z, slice) else self.slab(z, z + 1)[..., 0]

    def window(self, bounds: Sequence[tuple[int, int]]) -> Tensor:
        """Read a window, `(*(stop - start))`, float32; beyond the border of the image, its edge voxels are repeated."""
        inside = [(max(a, 0), min(b, size)) for (a, b), size in zip(bounds, self.shape, strict=True)]
        found = np.array(self.image[self.in_file(inside)], np.float32)
        part = torch.from_numpy(found.reshape((*found.shape, 1)[:3])).permute(self._axes)
        part = part.flip([axis for axis, flipped in enumerate(self.flipped) if flipped]).contiguous()
        part = to_grey(part, self.image.bits) if self.is_picture and self.image.bits else part
        local = [(a - first, b - first) for (a, b), (first, _) in zip(bounds, inside, strict=True)]
        return read_window(part[None, None], local)[0, 0]

    def slab(self, start: int, stop: int) -> Tensor:
        """Return the slices from start to stop along the last axis, float32."""
        return self.window([*((0, side) for side in self.shape[:-1]), (start, stop)])

    def in_file(self, bounds: Sequence[tuple[int, int]]) -> Window:
        """Return the window of the file that holds the voxels within some bounds."""
        window = [slice(0, 0)] * 3
        for axis, (a, b), size, flipped in zip(self._axes, bounds, self.shape, self.flipped, strict=True):
            window[axis] = slice(size - b, size - a) if flipped else slice(a, b)
        return tuple(window[: len(self.image.shape)])

    def of_file(self, window: Window) -> Window:
        """Return the window of the volume for a window of the file, with as many axes: the inverse of `in_file`."""
        whole = (*window, slice(0, 1))[:3]
        bounds = []
        for axis, size, flipped in zip(self._axes, self.shape, self.flipped, strict=True):
            a, b = whole[axis].start, whole[axis].stop
            bounds.append(slice(size - b, size - a) if flipped else slice(a, b))
        return tuple(bounds[: len(self.image.shape)])


def slabs(depth: int, thickness: int = SLAB) -> Iterator[tuple[int, int]]:
    """Yield start and stop of the slabs that make up a depth."""
    for start in range(0, depth, thickness):
        yield start, min(start + thickness, depth)


@contextmanager
def create(path: str | Path, shape: Sequence[int], affine: np.ndarray) -> Iterator[Any]:
    """Write a 16-bit NIfTI slab by slab, marked as the bundle's own; it appears under its name only when complete.

    Args:
        path: file to create.
        shape: voxels per axis, three, or two for a picture.
        affine: from voxel indices to mm.

    Yields:
        A function that takes the next slab, `(x, y, slices)` in HU, and rounds and clips it to 16 bits.

    Raises:
        ValueError: If the slabs did not make up the shape.
    """
    limits, done = torch.iinfo(torch.int16), 0
    like = held(np.broadcast_to(np.int16(0), tuple(shape)), affine, meta=OWN)
    with create_image(path, like, np.int16) as write:

        def append(slab: Tensor) -> None:
            nonlocal done
            rounded = slab.round().clamp(limits.min, limits.max).to(torch.int16).numpy()
            whole: np.ndarray = rounded.reshape(rounded.shape[: len(shape)])
            across = [slice(0, size) for size in whole.shape[:-1]]
            write((*across, slice(done, done + whole.shape[-1])), whole)
            done += whole.shape[-1]

        yield append


def write(path: str | Path, image: Slabs, thickness: int = SLAB) -> None:
    """Write a volume that is read slab by slab, see `create`."""
    with create(path, image.shape, image.affine) as append:
        for start, stop in slabs(image.shape[2], thickness):
            append(image.slab(start, stop))
