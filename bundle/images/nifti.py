"""Read and write NIfTI in parts; a read of ``.nii.gz`` unpacks from its start, or from a position passed before.

A result in the same format keeps the source's header: units, codes, both transforms and extensions. Fields about the
source's voxels (type, slope, display window) are reset. Free text, which may name a patient, and DICOM extensions
are dropped.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import nibabel
import numpy as np
from bundle.images.claims import check_claim
from bundle.images.image import ImageError, LazyImage, Opened, Write, in_order, millimetres, named, one_channel
from bundle.images.layout import file_bytes
from bundle.images.packed import packing
from bundle.images.readback import check_nifti, least_bytes
from bundle.runtime.files import atomic
from nibabel.nifti1 import Nifti1Header, unit_codes
from nibabel.nifti2 import Nifti2Header
from nibabel.spatialimages import HeaderDataError

#: Suffixes of files, and for each the suffix of a result.
SUFFIXES = {".nii.gz": ".nii.gz", ".nii": ".nii"}
#: Size of the header in bytes, without extensions.
HEADER = 352
#: Free-text fields, in which programs store names of patients and files.
TEXTS = ("descrip", "aux_file", "db_name", "intent_name")
#: The code of an extension that holds a DICOM header.
DICOM = 2
#: Longest axis in NIfTI-1.
LONGEST = 32767


def matches(path: Path) -> bool:
    """Return whether the file name has a suffix of the format."""
    return path.name.lower().endswith(tuple(SUFFIXES))


def open(path: Path, **_: Any) -> Opened:
    """Open a file.

    Raises:
        ImageError: If it cannot be read, has more than one channel, or has no valid voxel size.
    """
    with named(path):
        image = nibabel.load(path)
        assert isinstance(image, nibabel.Nifti1Image) and isinstance(image.dataobj, nibabel.arrayproxy.ArrayProxy)
        header = image.header
        stored = header.get_data_dtype()
        shape = one_channel(path, image.shape, stored)
        packed = path.name.lower().endswith(".gz")
        most = image.dataobj.offset + math.prod(image.shape) * stored.itemsize
        if not packed and path.stat().st_size < most:
            raise ImageError(
                f"image {str(path)!r} is cut short: it has {path.stat().st_size} of {most} bytes; fetch it again."
            )
        check_claim(path, image.shape, stored, packed)
        units = _units(header)
        scale = np.diag([*[millimetres(path, units)] * 3, 1.0])
        affine = scale @ _affine(path, header)
    proxy, more = image.dataobj, (0,) * (len(image.shape) - len(shape))
    return Opened(path, shape, affine, stored, lambda window: proxy[(*window, *more)], units, header=header)


@contextmanager
def create(path: Path, like: LazyImage, dtype: np.dtype, **_: Any) -> Iterator[Write]:
    """Write a file slab by slab along its last axis, little endian; see `bundle.images.formats.create_image`."""
    header = header_for(like, dtype)
    packed = path.name.lower().endswith(".gz")
    needed = least_bytes(like.shape, dtype, path.suffix.lower())
    with atomic(path, needed, lambda part: check_nifti(part, like.shape, dtype)) as part, ExitStack() as stack:
        file: BinaryIO = stack.enter_context(part.open("wb"))
        if packed:
            file = stack.enter_context(packing(file))
        header.write_to(file)
        file.write(b"\0" * (int(header["vox_offset"]) - file.tell()))
        stored = dtype.newbyteorder("<")
        with in_order(path, like.shape, lambda slab: file.write(file_bytes(slab, stored))) as write:
            yield write


def header_for(like: LazyImage, dtype: np.dtype) -> Nifti1Header:
    """Return the header of a result: the source's own if it is NIfTI, else a new one with the affine in mm."""
    own = getattr(like, "header", None)
    if isinstance(own, Nifti1Header):
        header = own.as_byteswapped("<")
        header.extensions = type(own.extensions)(each for each in own.extensions if each.get_code() != DICOM)
        for name in TEXTS:
            if name in header:
                header[name] = b""
    else:
        header = (Nifti2Header if max(like.shape) > LONGEST else Nifti1Header)(endianness="<")
        header.set_xyzt_units("mm", "sec")
        header["descrip"] = getattr(like, "meta", {}).get("made_by", "").encode()
    header.set_data_dtype(dtype)
    header.set_data_shape(like.shape)
    header.set_slope_inter(1, 0)
    if own is not header and not isinstance(own, Nifti1Header):
        header.set_sform(like.affine, code=1)
        header.set_qform(like.affine, code=1)
    for name in ("cal_min", "cal_max"):  # the display window of the source's values
        header[name] = 0
    header["vox_offset"], header["magic"] = 0, header.single_magic
    return header


def _units(header: Nifti1Header) -> str:
    """Return the unit of space; "unknown" for an invalid code."""
    try:
        return str(unit_codes.label[int(header["xyzt_units"]) % 8])  # the other bits are the unit of time
    except KeyError:
        return "unknown"


def _affine(path: Path, header: Nifti1Header) -> np.ndarray:
    """Return the first valid transform: sform, qform or voxel size, in the order of the standard."""
    read = [header.get_sform] if int(header["sform_code"]) > 0 else []
    read += [header.get_qform] if int(header["qform_code"]) > 0 else []
    for transform in (*read, header.get_base_affine):
        try:
            affine = transform()
        except (HeaderDataError, ValueError):  # a quaternion that is no rotation
            continue
        if np.isfinite(affine).all() and abs(np.linalg.det(affine[:3, :3])) > 0:
            return np.asarray(affine, float)
    raise ImageError(
        f"image {str(path)!r} names no voxel size: sform, qform and pixdim are zero or not numbers; set them."
    )
