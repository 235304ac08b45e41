"""Convert images of any format to the bytes of NIfTI files, slab by slab, to be sent to the browser."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import nibabel
import numpy as np
from torch import Tensor

from bundle.images import HEADER, SLAB, Slabs, slabs

#: Largest number of voxels of an image that are sent to the browser.
LARGEST = 512**3


class Difference:
    """Result minus source, on the same grid.

    Raises:
        ValueError: If the grids differ.
    """

    def __init__(self, source: Slabs, result: Slabs) -> None:
        if source.shape != result.shape or not np.allclose(source.affine, result.affine, rtol=1e-3, atol=1e-2):
            raise ValueError(
                f"the source has {source.shape} voxels with the affine {source.affine.round(3).tolist()}, the result "
                f"{result.shape} with {result.affine.round(3).tolist()}. A result lies on its source's grid; give the "
                "pair that belongs together."
            )
        self.shape, self.spacing, self.affine = source.shape, source.spacing, source.affine
        self._source, self._result = source, result

    def slab(self, start: int, stop: int) -> Tensor:
        """Return the slices from start to stop, `(x, y, stop - start)`, float32."""
        return self._result.slab(start, stop) - self._source.slab(start, stop)


class NiftiStream:
    """An image as the bytes of a NIfTI file: header first, then slab by slab.

    ::

        voxels of the image    0 1 2 3 4 5 6 7
        sent with step 3       0     3     6       single voxels, not averages

    Args:
        image: image in RAS, read slab by slab.
        whole: whether to send 16-bit integers, rounded and clipped, instead of float32.
        step: send every ``step``-th voxel along each axis.
    """

    def __init__(self, image: Slabs, whole: bool = True, step: int = 1) -> None:
        self.image, self.step, self.dtype = image, step, np.dtype("<i2" if whole else "<f4")
        self.shape = tuple(-(-side // step) for side in image.shape)
        self.affine = image.affine @ np.diag([step, step, step, 1])

    def __len__(self) -> int:
        """Return the total number of bytes."""
        return HEADER + math.prod(self.shape) * self.dtype.itemsize

    def __iter__(self) -> Iterator[bytes]:
        """Yield the header, then the slabs."""
        yield self.header()
        thickness = -(-SLAB // self.step) * self.step  # so that each slab starts with a voxel to send
        for start, stop in slabs(self.image.shape[2], thickness):
            voxels = self.image.slab(start, stop)[:: self.step, :: self.step, :: self.step].numpy()
            if self.dtype.kind == "i":
                limits = np.iinfo(self.dtype)
                voxels = voxels.round().clip(limits.min, limits.max)
            yield voxels.astype(self.dtype).tobytes(order="F")

    def header(self) -> bytes:
        """Return the header of the file."""
        header = nibabel.Nifti1Header(endianness="<")
        header.set_xyzt_units("mm")
        header.set_data_dtype(self.dtype)
        header.set_data_shape(self.shape)
        header.set_zooms(np.linalg.norm(self.affine[:3, :3], axis=0))
        header.set_slope_inter(1, 0)
        header.set_sform(self.affine, code=1)
        header["vox_offset"], header["magic"] = HEADER, b"n+1"
        return header.binaryblock.ljust(HEADER, b"\0")


def holds_int16(image: Slabs) -> bool:
    """Return whether the middle slice contains only 16-bit integers, like a CT."""
    middle = image.shape[2] // 2
    voxels, limits = image.slab(middle, middle + 1).numpy(), np.iinfo(np.int16)
    return bool(((voxels == voxels.round()) & (voxels >= limits.min) & (voxels <= limits.max)).all())


def step_for(shape: Sequence[int], largest: int = LARGEST) -> int:
    """Return the smallest step along all axes with which at most ``largest`` voxels are sent."""
    step = 1
    while math.prod(-(-side // step) for side in shape) > largest:
        step += 1
    return step
