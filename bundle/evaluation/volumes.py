"""Images on disk as slabs of axial slices in HU, oriented to RAS: only what is asked for is read.

::

    file, any axes order          Volume, `(x, y, z)`: right, front, up          slab(2, 4)
    [. . . . . . . . .]    -->    z = 0 1 2 3 4 5 6 7 8                   -->    z = 2 3
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import nibabel
import numpy as np
import torch
from monai.transforms import LoadImage
from nibabel.orientations import inv_ornt_aff, io_orientation
from torch import Tensor

from bundle.storage import NIFTI, ScanReader, read_window, suffix

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
    """An image file as slabs; NIfTI is read as far as it is asked for, other formats are held whole.

    Args:
        path: any image of three axes that `bundle.storage` reads.

    Raises:
        FileNotFoundError: where there is none.
        ValueError: where it does not have three axes.
    """

    def __init__(self, path: str | Path) -> None:
        if not Path(path).exists():
            raise FileNotFoundError(f"image {str(path)!r} does not exist.")
        if suffix(path) in NIFTI and Path(path).is_file():
            image = nibabel.load(path)
            assert isinstance(image, nibabel.Nifti1Image)
            voxels, affine = image.dataobj, image.affine
        else:
            loaded = LoadImage(reader=ScanReader(), image_only=True)(str(path))
            voxels, affine = loaded.numpy(), loaded.affine.numpy()
        size = tuple(voxels.shape)
        if len(size) < 3 or any(side != 1 for side in size[3:]):
            raise ValueError(f"image {str(path)!r} has the shape {size}; an evaluation needs CT volumes of three axes.")
        turn = io_orientation(affine)
        self._voxels, self._more = voxels, (0,) * (len(size) - 3)
        self._size, self._axes = size[:3], [int(axis) for axis in np.argsort(turn[:, 0])]
        self._flipped = [turn[axis, 1] < 0 for axis in self._axes]
        self.path = Path(path)
        self.affine = affine @ inv_ornt_aff(turn, self._size)
        self.shape = tuple(self._size[axis] for axis in self._axes)
        self.spacing = tuple(float(mm) for mm in np.linalg.norm(self.affine[:3, :3], axis=0))

    def window(self, bounds: Sequence[tuple[int, int]]) -> Tensor:
        """Read a window, which may reach over the border that is repeated there: `(*(stop - start))`, float32."""
        inside = [(max(a, 0), min(b, size)) for (a, b), size in zip(bounds, self.shape, strict=True)]
        index: list[slice] = [slice(None)] * 3
        for axis, (a, b), flipped in zip(self._axes, inside, self._flipped, strict=True):
            index[axis] = slice(self._size[axis] - b, self._size[axis] - a) if flipped else slice(a, b)
        found = np.asarray(self._voxels[(*index, *self._more)], np.float32).transpose(self._axes)
        found = np.flip(found, tuple(axis for axis, flipped in enumerate(self._flipped) if flipped))
        part = torch.from_numpy(np.ascontiguousarray(found))
        local = [(a - first, b - first) for (a, b), (first, _) in zip(bounds, inside, strict=True)]
        return read_window(part[None, None], local)[0, 0]

    def slab(self, start: int, stop: int) -> Tensor:
        """The slices from start to stop, `(x, y, stop - start)`, float32, in HU."""
        return self.window([(0, self.shape[0]), (0, self.shape[1]), (start, stop)])


def slabs(depth: int, thickness: int = SLAB) -> Iterator[tuple[int, int]]:
    """Start and stop of the slabs that make up a depth."""
    for start in range(0, depth, thickness):
        yield start, min(start + thickness, depth)


@contextmanager
def create(path: str | Path, shape: Sequence[int], affine: np.ndarray) -> Iterator[Callable[[Tensor], None]]:
    """Write an uncompressed NIfTI slab by slab; it appears under its name only when whole.

    Yields:
        What takes the next slab, `(x, y, slices)` in HU: rounded, and clipped to 16 bits.

    Raises:
        ValueError: where the slabs did not make up the shape.
    """
    path, left = Path(path), shape[2]
    header = nibabel.Nifti1Header()
    header.set_data_dtype(np.int16)
    header.set_data_shape(shape)
    header.set_sform(affine, code=1)
    header.set_qform(affine, code=1)
    header.set_xyzt_units("mm", "sec")
    header["vox_offset"] = 352
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".part_{path.name}")
    limits = torch.iinfo(torch.int16)
    try:
        with part.open("wb") as file:
            header.write_to(file)
            file.seek(352)

            def append(slab: Tensor) -> None:
                nonlocal left
                left -= slab.shape[2]
                voxels = slab.round().clamp(limits.min, limits.max).to(torch.int16)
                file.write(voxels.numpy().tobytes(order="F"))

            yield append
        if left:
            raise ValueError(f"{path.name} lacks {left} of {shape[2]} slices.")
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def write(path: str | Path, image: Slabs, thickness: int = SLAB) -> None:
    """Write what is read slab by slab, as `create` does."""
    with create(path, image.shape, image.affine) as append:
        for start, stop in slabs(image.shape[2], thickness):
            append(image.slab(start, stop))
