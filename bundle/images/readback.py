"""Check a file that was just written by reading back its header and size, or its pixels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import itk
import nibabel
import numpy as np
from nibabel.freesurfer.mghformat import MGHHeader
from nibabel.openers import ImageOpener

#: Formats with uncompressed voxels.
PLAIN = (".nii", ".mha", ".nrrd", ".mgh", ".dcm", ".tif", ".tiff", "")
#: Minimum size of a compressed result, as a share of its voxels' bytes: noise does not compress further.
COMPRESSED = 1 / 8
#: The end of the header in ITK's formats, before the voxels.
BORDER = {".mha": b"ElementDataFile = LOCAL\n", ".nrrd": b"\n\n"}


def least_bytes(shape: Sequence[int], dtype: Any, end: str) -> int:
    """Return the minimum size of an image on disk in bytes, as a file or folder.

    Args:
        shape: voxels per axis.
        dtype: NumPy type of the voxels.
        end: suffix of the format; empty for a DICOM series.
    """
    return int(math.prod(shape) * np.dtype(dtype).itemsize * (1 if end in PLAIN else COMPRESSED))


def check_nifti(path: Path, shape: Sequence[int], dtype: Any) -> None:
    """Check header and size of a ``.nii`` or ``.nii.gz``.

    Raises:
        OSError: If the file is incomplete or differs.
    """
    with ImageOpener(str(path)) as opened:
        second = int.from_bytes(opened.read(4), "little") == nibabel.Nifti2Header.sizeof_hdr
        opened.seek(0)
        header = (nibabel.Nifti2Header if second else nibabel.Nifti1Header).from_fileobj(opened, check=False)
    found, kind = header.get_data_shape(), header.get_data_dtype()
    size = int(header["vox_offset"]) + math.prod(found) * kind.itemsize
    _expect(path, (_squeezed(found), kind.name), (_squeezed(shape), np.dtype(dtype).name))
    if path.name.endswith(".gz"):
        _expect(path, _unpacked(path), size % 2**32)
    else:
        _expect(path, path.stat().st_size, size)


def check_mgz(path: Path, shape: Sequence[int], dtype: Any) -> None:
    """Check header and size of an ``.mgz`` or ``.mgh``.

    Raises:
        OSError: If the file is incomplete or differs.
    """
    with ImageOpener(str(path)) as opened:
        try:
            header = MGHHeader.from_fileobj(opened)
        except TypeError as error:  # NumPy's, on too few bytes
            raise OSError(f"file {str(path)!r}, read back, ends within its header.") from error
    _expect(path, _squeezed(header.get_data_shape()), _squeezed(shape))
    _expect(path, header.get_data_dtype().newbyteorder("=").name, np.dtype(dtype).name)
    size = header.get_footer_offset() + header._ftrdtype.itemsize
    _expect(path, _unpacked(path) if path.name.lower().endswith(".mgz") else path.stat().st_size, size % 2**32)


def _unpacked(path: Path) -> int:
    """Return the unpacked size of a gzip file modulo 2 ** 32, from its last four bytes."""
    with path.open("rb") as file:
        file.seek(-4, 2)
        return int.from_bytes(file.read(), "little")


def check_itk(path: Path, shape: Sequence[int], dtype: Any) -> None:
    """Check header and size of an uncompressed MetaImage or NRRD.

    Raises:
        OSError: If the file is incomplete or differs.
    """
    end = path.suffix
    imageio = (itk.NrrdImageIO if end == ".nrrd" else itk.MetaImageIO).New()
    imageio.SetFileName(str(path))
    try:
        imageio.ReadImageInformation()
    except RuntimeError as error:
        raise OSError(f"file {str(path)!r} cannot be read back: its header is cut short.") from error
    found = [imageio.GetDimensions(axis) for axis in range(imageio.GetNumberOfDimensions())]
    _expect(path, _squeezed(found), _squeezed(shape))
    with path.open("rb") as file:
        header = file.read(2**20).partition(BORDER[end])[0]
    _expect(path, path.stat().st_size, len(header) + len(BORDER[end]) + math.prod(shape) * np.dtype(dtype).itemsize)


def check_pixels(path: Path, found: np.ndarray, written: np.ndarray) -> None:
    """Compare the pixels that were read back with those that were written.

    Raises:
        OSError: If they differ.
    """
    _expect(path, (found.shape, found.dtype.name), (written.shape, written.dtype.name))
    _expect(path, np.array_equal(found, written), True)


def check_tail(path: Path, tail: bytes) -> None:
    """Check that a file ends in its pixels, as DICOM does.

    Raises:
        OSError: If it does not.
    """
    with path.open("rb") as file:
        file.seek(-min(len(tail), path.stat().st_size), 2)
        _expect(path, file.read() == tail, True)


def _squeezed(shape: Sequence[int]) -> tuple[int, ...]:
    """Return a shape without trailing axes of one voxel, which formats leave out."""
    sides = [int(side) for side in shape]
    while len(sides) > 1 and sides[-1] == 1:
        sides.pop()
    return tuple(sides)


def _expect(path: Path, found: Any, written: Any) -> None:
    if found != written:
        raise OSError(5, f"it was read back as {found}, not as {written}", str(path.name))
