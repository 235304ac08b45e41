"""An image packed for training, of which windows are read."""

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
    """A one-channel image in a plain ``.nii`` file. Windows are read from disk; the image is never held in memory.

    Args:
        path: an uncompressed NIfTI file, see `bundle.training.data.packing.pack`.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = str(path)
        header = nibabel.Nifti1Image.from_filename(self.path)
        #: `(1, *spatial)`.
        self.shape = torch.Size((1, *header.shape))
        self.affine = torch.as_tensor(header.affine)

    def __getitem__(self, index: Any) -> Tensor:
        """The voxels at an index over `(1, *spatial)`, float32; the index must begin with 0 or an ellipsis."""
        index = index[1:] if isinstance(index, tuple) and index[0] == 0 else index
        return torch.from_numpy(np.array(nibabel.Nifti1Image.from_filename(self.path).dataobj[index], np.float32))

    def window(self, bounds: Sequence[tuple[int, int]]) -> Tensor:
        """A window that may reach over the border, which is repeated there: `(1, *(stop - start))`, float32."""
        inside, padding = clip_window(bounds, self.shape[1:])
        return repeat_border(self[region(inside)][None, None], padding)[0]
