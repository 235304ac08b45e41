"""NIfTI files written slab by slab: no more of the image is in memory than one slab."""

from __future__ import annotations

import gzip
import os
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, cast

import nibabel
import numpy as np

#: Bytes of the header, where it has no extension.
HEADER = 352


class NiftiWriter:
    """Write a ``.nii`` or ``.nii.gz`` along its last axis; it appears under its name only when whole.

    Args:
        path: of the file; its folder is made where missing.
        shape: voxels per axis.
        affine: to RAS, in mm.
        dtype: of the voxels; they are stored as they are, without a slope.
        like: a header whose description, units and codes are kept.

    Raises:
        ValueError: on leaving, where the slabs did not make up the shape.
    """

    def __init__(
        self, path: str | Path, shape: Sequence[int], affine: np.ndarray, dtype: Any, like: Any | None = None
    ) -> None:
        self.path, self.dtype, self._left = Path(path), np.dtype(dtype), int(shape[-1])
        self._shape = tuple(int(side) for side in shape)
        if like is None:
            header = nibabel.Nifti1Header()
            header.set_xyzt_units("mm", "sec")
        else:
            header = nibabel.Nifti1Header.from_header(like, check=False)
        codes = (int(header["sform_code"]) or 1, int(header["qform_code"])) if like is not None else (1, 1)
        header.set_data_dtype(self.dtype)
        header.set_data_shape(self._shape)
        header.set_slope_inter(1, 0)
        header.set_sform(affine, code=codes[0])
        header.set_qform(affine, code=codes[1])
        for name in ("cal_min", "cal_max"):  # a viewer's window for other values
            header[name] = 0
        header["vox_offset"], header["magic"] = HEADER, b"n+1"
        self._header = header
        self._part = self.path.with_name(f".{os.getpid()}_{self.path.name}")
        self._stack = ExitStack()

    def __enter__(self) -> NiftiWriter:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        raw = self._stack.enter_context(self._part.open("wb"))
        self._file: BinaryIO = raw
        if self.path.name.endswith(".gz"):
            # Level 1, as nibabel: of noise, higher ones save little. No name and time: same voxels, same bytes.
            zipped = gzip.GzipFile(filename="", mode="wb", compresslevel=1, fileobj=raw, mtime=0)
            self._file = cast(BinaryIO, self._stack.enter_context(zipped))
        self._header.write_to(self._file)
        self._file.write(b"\0" * (HEADER - self._file.tell()))
        return self

    def append(self, slab: np.ndarray) -> None:
        """Write the next slices along the last axis."""
        self._left -= slab.shape[-1]
        self._file.write(np.asarray(slab, self.dtype).tobytes(order="F"))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()
        try:
            if kind is None:
                if self._left:
                    raise ValueError(f"{self.path.name} lacks {self._left} of {self._shape[-1]} slices.")
                self._part.replace(self.path)
        finally:
            self._part.unlink(missing_ok=True)
