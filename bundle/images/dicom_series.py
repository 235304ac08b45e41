"""Read a DICOM series, a folder of slices, slice by slice, and write a CT in HU as a derived series.

The geometry follows from the position and orientation of the slices alone: Spacing Between Slices may be negative, and
Slice Thickness is not their distance. Only a single slice takes its voxel depth from these two.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from bundle.geometry import Window
from bundle.images.derived import Derivation, DerivedSeries, is_ct
from bundle.images.dicom_headers import file_kind, is_dicom, is_wrapped, padding_in_hu, read_header, values_of
from bundle.images.dicom_pixels import read_stored
from bundle.images.dicom_rules import number
from bundle.images.dicom_stack import series_files
from bundle.images.image import ImageError, LazyImage, Opened, Write, in_order
from bundle.images.itk_files import TO_LPS
from bundle.images.layout import in_order_of
from pydicom.dataset import Dataset

#: A folder has no suffix, and neither has a result.
SUFFIXES: dict[str, str] = {}
#: Attributes that tell the position of a slice.
PLACE = ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness", "SpacingBetweenSlices")
#: Attributes that tell the reconstruction kernel, by their key in the metadata.
KERNEL = {"convolution_kernel": "ConvolutionKernel", "manufacturer": "Manufacturer"}


def matches(path: Path) -> bool:
    """Return whether the path is a folder that directly holds slices of a volume."""
    return path.is_dir() and any(
        file_kind(file) == "slice"
        for file in path.iterdir()
        if file.is_file() and os.access(file, os.R_OK) and is_dicom(file)
    )


def open(path: Path, series_uid: str | None = "", **_: Any) -> Opened:
    """Open one series of a folder.

    Args:
        path: the folder.
        series_uid: Series Instance UID of the series to read from a folder with several; null where no key chooses it.

    Raises:
        ImageError: If the folder does not hold one series that is an upright stack, see
            `bundle.images.dicom_stack.series_files`.
    """
    files = series_files(path, series_uid)
    tags = (*PLACE, "Columns", "SeriesInstanceUID", *KERNEL.values())
    first, last = (read_header(file, tags) for file in (files[0], files[-1]))
    shape = (int(first.Columns), int(first.Rows), len(files))

    def read(window: Window) -> np.ndarray:
        *across, z = window
        out = np.empty([part.stop - part.start for part in window], np.float32, "F")  # each slice in one piece
        for index, file in enumerate(files[z]):
            out[..., index] = read_slice(file, shape[:2])[tuple(across)]
        return out

    return Opened(
        path,
        shape,
        affine_of(first, last, len(files)),
        np.dtype(np.float32),
        read,
        meta={"series_uid": str(first.get("SeriesInstanceUID", "")), **kernel_of(first)},
        files=tuple(files),
    )


def kernel_of(header: Dataset) -> dict[str, str]:
    """Return what a header says about the reconstruction kernel; multiple values are joined by a backslash."""
    texts = {key: "\\".join(values_of(header, name)) for key, name in KERNEL.items()}
    return {key: text for key, text in texts.items() if text}


def affine_of(first: Dataset, last: Dataset, count: int) -> np.ndarray:
    """Return the affine to RAS in mm, from the positions of the first and last slice of an upright stack."""
    row, column = np.reshape(np.asarray(first.ImageOrientationPatient, float), (2, 3))
    row, column = row / np.linalg.norm(row), column / np.linalg.norm(column)
    begin, end = (np.asarray(header.ImagePositionPatient, float) for header in (first, last))
    down, right = (float(side) for side in first.PixelSpacing)
    normal = np.cross(row, column)
    own = (abs(number(first, keyword, 0)) for keyword in ("SliceThickness", "SpacingBetweenSlices"))
    step = float((end - begin) @ normal) / (count - 1) if count > 1 else next(filter(None, own), 1.0)
    affine = np.eye(4)
    affine[:3] = np.stack([row * right, column * down, normal * step, begin], 1)
    return TO_LPS @ affine


def read_slice(file: str, shape: Sequence[int]) -> np.ndarray:
    """Return the voxels of a slice, `(columns, rows)`, float32, rescaled; padding as in `padding_in_hu`.

    Raises:
        ImageError: If it cannot be decoded.
    """
    stored, header = read_stored(file)
    slope, intercept = number(header, "RescaleSlope", 1), number(header, "RescaleIntercept", 0)
    voxels = (stored * slope + intercept).astype(np.float32)
    if is_wrapped(header):
        voxels[stored == int(header["PixelPaddingValue"].value) % 65536] = padding_in_hu(header)[0]
    return voxels.T.reshape(shape)


def result_suffix(files: Sequence[str]) -> str:
    """Return the suffix of a series' result: empty, for a folder, for a CT in HU; that of NIfTI for all else."""
    return "" if is_ct(files[0]) else ".nii.gz"


@contextmanager
def create(
    path: Path, like: LazyImage, dtype: np.dtype, derivation: Derivation | None = None, **_: Any
) -> Iterator[Write]:
    """Write a derived series slab by slab, as 16-bit HU; see `bundle.images.formats.create_image`.

    Raises:
        ImageError: If the source is not a DICOM series, or the voxel type is another one.
    """
    if dtype != np.int16:
        raise ImageError(
            f"output_dtype {dtype.name!r} is unknown to a derived DICOM series, {str(path)!r}; take int16, or "
            "output_ext '.nii.gz'."
        )
    files = getattr(like, "files", ())
    if not files:
        raise ImageError(
            f"source {str(like.path)!r} is not a DICOM series to derive one from; take another output_ext."
        )
    with DerivedSeries(files, path, like.shape, like.affine, derivation) as series:
        index = iter(range(len(files)))

        def append(slab: np.ndarray) -> None:
            for image in np.moveaxis(in_order_of("F", slab), -1, 0):
                series.write(next(index), image)

        with in_order(path, like.shape, append) as write:
            yield write
