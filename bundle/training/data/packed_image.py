"""Read windows of an image packed for training."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import torch
from bundle.geometry import clip_window, region, repeat_border
from torch import Tensor


class PackedImage:
    """A one-channel image in an uncompressed ``.nii`` file; windows are read from disk, so it is never fully in memory.

    Args:
        path: an uncompressed NIfTI file, see `bundle.training.data.packing.pack`.
        origin: the image that was packed, for messages; null for the file itself.
    """

    def __init__(self, path: str | Path, origin: str | Path | None = None) -> None:
        self.path, self.origin = str(path), str(origin or path)
        header = nibabel.Nifti1Image.from_filename(self.path)
        #: `(1, *spatial)`.
        self.shape = torch.Size((1, *header.shape))
        self.affine = torch.as_tensor(header.affine)

    def __getitem__(self, index: Any) -> Tensor:
        """Return the voxels at an index into `(1, *spatial)`, float32; the index must begin with 0 or an ellipsis."""
        index = index[1:] if isinstance(index, tuple) and index[0] == 0 else index
        return torch.from_numpy(np.array(nibabel.Nifti1Image.from_filename(self.path).dataobj[index], np.float32))

    def slice(self, first: int, number: int = 1) -> PackedSlice:
        """Return a single-slice image: the mean of ``number`` slices from ``first`` on."""
        return PackedSlice(self.path, first, number)

    def window(self, bounds: Sequence[tuple[int, int]]) -> Tensor:
        """Return a window, `(1, *(stop - start))`, float32; beyond the image its border is repeated."""
        inside, padding = clip_window(bounds, self.shape[1:])
        return repeat_border(self[region(inside)][None, None], padding)[0]


class PackedSlice(PackedImage):
    """Mean of adjacent slices of a packed volume, as an image of one thicker slice, `(1, x, y, 1)`.

    Args:
        path: an uncompressed NIfTI file of a volume.
        first: the first slice.
        number: number of slices.
    """

    def __init__(self, path: str | Path, first: int, number: int = 1) -> None:
        super().__init__(path)
        self.slices = slice(first, first + number)
        self.shape = torch.Size((*self.shape[:3], 1))
        self.affine = self.affine.clone()
        self.affine[:, 2] *= number

    def __getitem__(self, index: Any) -> Tensor:
        """Return the voxels at an index into `(1, x, y, 1)`, float32; the index must begin with 0 or an ellipsis."""
        index = index[1:] if isinstance(index, tuple) else ()
        x, y, z = index if len(index) == 3 else (slice(None),) * 3
        return super().__getitem__((0, x, y, self.slices)).mean(-1, keepdim=True)[..., z]
