"""Read and write DICOM X-rays: files that are single images, not slices of a volume, as grey levels."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from bundle.images.bit_depth import level_type
from bundle.images.derived import Derivation, write_derived_xray
from bundle.images.dicom_headers import XRAY, is_dicom, kind_of, read_header, value_of
from bundle.images.dicom_levels import levels_of
from bundle.images.dicom_pixels import read_stored
from bundle.images.dicom_rules import check_pixels, number, sides
from bundle.images.image import ImageError, LazyImage, Opened, Write, in_order
from pydicom.dataset import Dataset

SUFFIXES = {".dcm": ".dcm"}
#: Suffix of a result if the source has none.
END = ".dcm"


def matches(path: Path) -> bool:
    """Return whether the path has the suffix of a DICOM file, or is one."""
    return path.name.lower().endswith(END) or is_dicom(path)


def open(path: Path, **_: Any) -> Opened:
    """Open a file; its pixels are decoded on first access.

    Raises:
        ImageError: If the file is not a single-frame grey X-ray.
    """
    if not is_dicom(path):
        raise ImageError(
            f"X-ray {str(path)!r} is not a DICOM file, or ends within its preamble; give one, or a PNG, JPEG or TIFF."
        )
    header = read_header(path)
    _check(path, header)
    check_pixels(header)
    number(header, "RescaleSlope", 1)
    told = [keyword for keyword in ("PixelSpacing", "ImagerPixelSpacing") if value_of(header, keyword)]
    down, right = sides(header, told[0]) if told else (1, 1)
    decoded: list[np.ndarray] = []

    def read(window: tuple[slice, ...]) -> np.ndarray:
        if not decoded:
            decoded.append(read_levels(path))
        return decoded[0][window]

    bits = int(header.BitsStored)
    shape = int(header.Columns), int(header.Rows)
    affine = np.diag([float(right), float(down), 1.0, 1.0])
    return Opened(path, shape, affine, np.dtype(level_type(bits)), read, meta={"bits": bits}, kept=True)


def read_levels(path: Path) -> np.ndarray:
    """Return the levels of an X-ray, `(columns, rows)`, unsigned 8 or 16 bits.

    Raises:
        ImageError: If the file cannot be decoded.
    """
    stored, header = read_stored(path)
    return levels_of(stored, header).T


@contextmanager
def create(
    path: Path, like: LazyImage, _dtype: np.dtype, derivation: Derivation | None = None, **_: Any
) -> Iterator[Write]:
    """Write a derived X-ray; see `bundle.images.formats.create_image`.

    Raises:
        ImageError: If the source is not an X-ray.
    """
    if getattr(like, "files", ()):
        raise ImageError(
            f"source {str(like.path)!r} is a DICOM series, and output_ext '.dcm' the single file of an X-ray; leave it "
            "out for a derived series of a CT, or take '.nii.gz'."
        )
    if not is_dicom(like.path):
        raise ImageError(f"source {str(like.path)!r} is not a DICOM X-ray to derive one from; take another output_ext.")
    parts: list[np.ndarray] = []
    with in_order(path, like.shape, parts.append) as write:
        yield write
    write_derived_xray(like.path, path, np.concatenate(parts, -1), derivation or Derivation())


def _check(file: str | Path, header: Dataset) -> None:
    """Refuse anything but a single frame in grey."""
    where, modality = f"X-ray {str(file)!r}", value_of(header, "Modality") or ""
    frames, kind = value_of(header, "NumberOfFrames") or 1, value_of(header, "PhotometricInterpretation") or "nothing"
    if kind_of(header) == "slice":
        raise ImageError(f"{where} is one slice of a volume, by its modality {modality!r}; give the series' folder.")
    if not header.get("Rows"):
        raise ImageError(f"{where} holds no pixels, modality {modality!r}; one image is needed: leave the file out.")
    if frames != 1 and modality not in ("", *XRAY):
        raise ImageError(
            f"{where} has {frames} frames; a volume of several frames is not read: convert it to one file per slice, "
            "for instance by dcm4che's emf2sf, and give their folder; or as NIfTI, by dcm2niix."
        )
    if frames != 1:
        raise ImageError(f"{where} has {frames} frames; one is needed: save the frame to translate as its own image.")
    if value_of(header, "SamplesPerPixel") != 1 or kind not in ("MONOCHROME1", "MONOCHROME2"):
        raise ImageError(
            f"{where} is stored as {kind}, {header.get('SamplesPerPixel')} samples a pixel; grey is needed, "
            "MONOCHROME1 or MONOCHROME2: leave it out, or save it as a PNG, which is read as grey."
        )
    if value_of(header, "ModalityLUTSequence"):
        raise ImageError(
            f"{where} has a ModalityLUTSequence, a table of values, which is not applied; convert it by a program that "
            "does, for instance to a 16-bit PNG."
        )
    bits, allocated = value_of(header, "BitsStored"), value_of(header, "BitsAllocated")
    if (
        allocated not in (8, 16)
        or not isinstance(bits, int)
        or not 2 <= bits <= allocated
        or header.get("HighBit") != bits - 1
    ):
        raise ImageError(
            f"{where} stores {bits} of {allocated} bits up to bit {header.get('HighBit')}; 2 to 16 of 8 or 16, from "
            "bit 0 on, are read: convert it, for instance to a 16-bit PNG."
        )
