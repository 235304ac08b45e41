"""Read headers of DICOM files and classify the files, with or without preamble, complete or truncated."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from bundle.images.image import ImageError
from pydicom.dataset import Dataset
from pydicom.misc import is_dicom as has_preamble
from pydicom.multival import MultiValue
from pydicom.uid import (
    UID,
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    MediaStorageDirectoryStorage,
    MRImageStorage,
    PositronEmissionTomographyImageStorage,
)

#: Modalities of single images, whatever else is in the header: computed and digital radiography, mammography.
XRAY = ("CR", "DX", "MG")
#: SOP classes whose images are always slices of a volume.
SLICES = (CTImageStorage, MRImageStorage, PositronEmissionTomographyImageStorage)
#: SOP class UIDs of images: CR, DX, MG and slices.
IMAGES = re.compile(r"1\.2\.840\.10008\.5\.1\.4\.1\.1\.(1(\.[1-3](\.1)?)?|2|4|128)")
#: Attributes that tell the kind of a file.
KIND = ("SOPClassUID", "SOPInstanceUID", "Modality", "Rows", "ImagePositionPatient")
#: Attributes that tell how many bytes its pixels take.
SIZE = ("Rows", "Columns", "BitsAllocated", "SamplesPerPixel", "NumberOfFrames")
#: Transfer syntaxes of uncompressed pixels.
PLAIN = (ImplicitVRLittleEndian, ExplicitVRLittleEndian, DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian)
#: Length of preamble and magic word in bytes.
PREAMBLE = 132


def is_dicom(file: str | Path) -> bool:
    """Return whether a file is DICOM; old files have no preamble or meta header and begin with their first group."""
    file = Path(file)
    if not file.is_file() or file.name.startswith("._"):  # macOS puts them beside files on other disks
        return False
    if has_preamble(file):
        return True
    with file.open("rb") as stream:
        start = stream.read(8)
    if len(start) < 8 or not has_first_group(start):
        return False
    try:
        return "SOPClassUID" in pydicom.dcmread(file, force=True, stop_before_pixels=True, specific_tags=list(KIND))
    except Exception:  # pydicom raises many kinds on other files
        return False


def has_first_group(start: bytes) -> bool:
    """Return whether the first four bytes of a file are those of an element in one of DICOM's first groups."""
    group, element = int.from_bytes(start[:2], "little"), int.from_bytes(start[2:4], "little")
    return group in (2, 8) and element <= 0x1000


def read_header(file: str | Path, tags: tuple[str, ...] | None = None) -> Dataset:
    """Read the header of a file without its pixels; its transfer syntax is always set.

    Args:
        file: DICOM file, with or without preamble.
        tags: keywords to read; null for all.

    Raises:
        ImageError: If the file ends within its header, or is not a DICOM file.
    """
    try:
        header = pydicom.dcmread(
            file, stop_before_pixels=True, force=True, specific_tags=None if tags is None else [*tags, *KIND]
        )
    except Exception as error:  # pydicom raises many kinds on truncated files
        raise ImageError(
            f"DICOM file {str(file)!r} is cut short within its header ({error}); fetch it again."
        ) from error
    header.filename = str(file)  # older pydicom names a deflated file after its buffer
    settle(header)
    return header


def settle(header: Dataset) -> None:
    """Set the transfer syntax of a file that has no meta header."""
    if not hasattr(header, "file_meta") or header.file_meta is None:
        header.file_meta = pydicom.dataset.FileMetaDataset()
    if "TransferSyntaxUID" not in header.file_meta:
        header.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if header.is_implicit_VR else ExplicitVRLittleEndian


def value_of(header: Dataset, keyword: str, part: Dataset | None = None) -> Any:
    """Return the value of an attribute of a header, or of a part of it; None if there is none.

    Raises:
        ImageError: If its bytes are not valid for its value representation.
    """
    try:
        return (header if part is None else part).get(keyword)
    except Exception as error:  # pydicom raises many kinds on invalid bytes
        said = " ".join(str(error).split())[:90]
        raise ImageError(
            f"DICOM file {str(header.filename)!r}: its {keyword} cannot be read ({said}); fetch the file again, or "
            "correct the value, for instance with dcmodify."
        ) from error


def values_of(header: Dataset, keyword: str) -> list[Any]:
    """Return all values of an attribute; an empty list if it is absent or empty."""
    value = header.get(keyword)
    if isinstance(value, MultiValue):
        return list(value)
    return [value] if value else []


def is_cut(header: Dataset) -> bool:
    """Return whether a file ends before its SOPInstanceUID, or an image's file before its Rows."""
    if not value_of(header, "SOPInstanceUID"):
        return class_of(header) != MediaStorageDirectoryStorage
    return bool(IMAGES.fullmatch(class_of(header))) and not value_of(header, "Rows")


def class_of(header: Dataset) -> str:
    """Return the SOP class UID of a file."""
    meta = value_of(header, "MediaStorageSOPClassUID", header.file_meta)
    return str(value_of(header, "SOPClassUID") or meta or "")


def is_compressed(header: Dataset) -> bool:
    """Return whether the pixels of a file are compressed; assumed for an unknown transfer syntax."""
    return str(header.file_meta.TransferSyntaxUID) not in PLAIN


def kind_of(header: Dataset) -> str:
    """Return the kind of a file: ``xray``, a single image; ``slice``, of a volume; ``broken``; or an empty string.

    Raises:
        ImageError: If an attribute cannot be read.
    """
    modality = value_of(header, "Modality")
    if is_cut(header):
        return "broken"
    if not value_of(header, "Rows") or modality == "SEG":
        return ""
    placed = value_of(header, "ImagePositionPatient") or class_of(header) in SLICES
    return "slice" if placed and modality not in XRAY else "xray"


def file_kind(file: str | Path) -> str:
    """Return the kind of a DICOM file, see `kind_of`; ``broken`` if it cannot be read."""
    try:
        return kind_of(read_header(file, KIND))
    except ImageError:
        return "broken"


def name_of(header: Dataset) -> str:
    """Describe a file: its modality, or the name of its SOP class."""
    return str(header.get("Modality") or UID(header.get("SOPClassUID") or "").name or "unknown")


def check_length(header: Dataset) -> None:
    """Refuse an uncompressed file that is shorter than its pixels.

    Raises:
        ImageError: If the file is too short.
    """
    deflated = header.file_meta.TransferSyntaxUID == DeflatedExplicitVRLittleEndian
    if is_compressed(header) or deflated or not all(header.get(keyword) for keyword in SIZE[:3]):
        return
    pixels = int(header.Rows) * int(header.Columns) * int(header.BitsAllocated) // 8
    pixels *= int(header.get("SamplesPerPixel") or 1) * int(header.get("NumberOfFrames") or 1)
    size = Path(str(header.filename)).stat().st_size
    if size < pixels:
        raise ImageError(
            f"DICOM file {str(header.filename)!r} is cut short: it has {size} bytes, and its pixels alone take "
            f"{pixels}; fetch it again."
        )


def padding_in_hu(header: Dataset) -> list[float]:
    """Return Pixel Padding Value and Range Limit in the source's units, as far as present (C.7.5.1.1.2).

    They are stored like a pixel, but often with the wrong value representation, unsigned or signed. In unsigned pixels,
    a padding value above 32767 that is also above 32767 after rescaling is really negative: 63536 is -2000. No tissue
    or metal is that dense, and taken as it is, the padding would be the brightest value.
    """
    found = [header.get(keyword) for keyword in ("PixelPaddingValue", "PixelPaddingRangeLimit")]
    stored = [value for value in found if value not in (None, "")]
    if found[0] in (None, ""):
        return []
    slope, intercept = float(header.get("RescaleSlope") or 1), float(header.get("RescaleIntercept") or 0)
    units = np.array([int(value) % 65536 for value in stored], np.uint16)
    signed = bool(header.get("PixelRepresentation")) or is_wrapped(header)
    return [slope * int(value) + intercept for value in (units.view(np.int16) if signed else units)]


def is_wrapped(header: Dataset) -> bool:
    """Return whether the padding is a negative value stored in unsigned pixels."""
    if header.get("PixelRepresentation") or header.get("PixelPaddingValue") in (None, ""):
        return False
    value = int(header.PixelPaddingValue) % 65536
    slope, intercept = float(header.get("RescaleSlope") or 1), float(header.get("RescaleIntercept") or 0)
    return value > 32767 and slope * value + intercept > 32767
