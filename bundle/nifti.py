"""NIfTI files written slab by slab: no more of the image is in memory than one slab."""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, cast

import nibabel
import numpy as np
from bundle.readback import check_nifti, least_bytes
from bundle.runtime.files import atomic

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
        NotWrittenError: If the file cannot be written whole, see `bundle.runtime.files`.
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

    def __enter__(self) -> NiftiWriter:
        needed = least_bytes(self._shape, self.dtype, self.path.suffix)
        with ExitStack() as stack:
            part = stack.enter_context(atomic(self.path, needed, self._verify))
            raw = stack.enter_context(part.open("wb"))
            self._file: BinaryIO = raw
            if self.path.name.endswith(".gz"):
                # Level 1, as nibabel: of noise, higher ones save little. No name and time: same voxels, same bytes.
                zipped = gzip.GzipFile(filename="", mode="wb", compresslevel=1, fileobj=raw, mtime=0)
                self._file = cast(BinaryIO, stack.enter_context(zipped))
            self._header.write_to(self._file)
            self._file.write(b"\0" * (HEADER - self._file.tell()))
            self._stack = stack.pop_all()
        return self

    def _verify(self, part: Path) -> None:
        check_nifti(part, self._shape, self.dtype)

    def append(self, slab: np.ndarray) -> None:
        """Write the next slices along the last axis."""
        self._left -= slab.shape[-1]
        self._file.write(np.asarray(slab, self.dtype).tobytes(order="F"))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None and self._left:
            kind = ValueError
            error = ValueError(f"{self.path.name} lacks {self._left} of {self._shape[-1]} slices.")
            self._stack.__exit__(kind, error, None)
            raise error
        self._stack.__exit__(kind, error, trace)
