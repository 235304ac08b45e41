"""Check the size that a header claims against its files and the free memory, before anything is allocated."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from bundle.images.image import ImageError
from bundle.runtime import free_memory

#: Largest ratio of unpacked to packed bytes in deflate.
UNPACKED = 1032
#: Copies of the voxels in memory at the peak of reading a whole file: the library's image and the array made from it.
COPIES = 2


def check_claim(path: Path, shape: Sequence[int], dtype: Any, packed: bool, files: Sequence[Path] = ()) -> None:
    """Refuse a header that claims more voxels than its files can hold.

    Args:
        path: image path.
        shape: size of every axis, as the header claims.
        dtype: type of the stored voxels.
        packed: whether they are compressed.
        files: the files that hold them, if not the image's own file.

    Raises:
        ImageError: If the header claims too many voxels.
    """
    claimed = math.prod(map(int, shape)) * np.dtype(dtype).itemsize
    size = sum(file.stat().st_size for file in files or (path,))
    if min(shape, default=0) < 0 or claimed > size * (UNPACKED if packed else 1):
        held = f"its {len(files)} files have" if files else "it has"
        raise ImageError(
            f"image {str(path)!r} is cut short, or its header is wrong: it claims {tuple(map(int, shape))} voxels of "
            f"{claimed} bytes, and {held} {size}; fetch it again."
        )


def check_memory(path: Path, shape: Sequence[int], dtype: Any, copies: int = COPIES) -> None:
    """Refuse a file that has to be read whole but does not fit into memory.

    Args:
        path: image path.
        shape: size of every axis.
        dtype: type of the voxels.
        copies: copies of them in memory at the peak.

    Raises:
        ImageError: If there is not enough free memory.
    """
    needed, free = math.prod(map(int, shape)) * np.dtype(dtype).itemsize * copies, free_memory()
    if needed > free:
        raise ImageError(
            f"image {str(path)!r} of {tuple(map(int, shape))} voxels is read whole, which takes {needed / 2**30:.1f} "
            f"GiB of memory, and {free / 2**30:.1f} GiB are free; save it as .nii or as .mha that is not compressed."
        )
