"""Headers of DICOM files: what a file is, with or without its preamble, whole or cut short."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from bundle.images.image import ImageError
from pydicom.dataset import Dataset
from pydicom.misc import is_dicom as has_preamble
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

#: Modalities of single images, whatever else their header holds: computed and digital radiography, mammography.
XRAY = ("CR", "DX", "MG")
#: Classes of which every image is a slice of a volume.
SLICES = (CTImageStorage, MRImageStorage, PositronEmissionTomographyImageStorage)
#: Classes of images, by the number that they begin with: CR, DX, MG and slices.
IMAGES = re.compile(r"1\.2\.840\.10008\.5\.1\.4\.1\.1\.(1(\.[1-3](\.1)?)?|2|4|128)")
#: What tells what a file is.
KIND = ("SOPClassUID", "SOPInstanceUID", "Modality", "Rows", "ImagePositionPatient")
#: What tells how many bytes its pixels take.
SIZE = ("Rows", "Columns", "BitsAllocated", "SamplesPerPixel", "NumberOfFrames")
#: Transfer syntaxes of pixels that are not compressed.
PLAIN = (ImplicitVRLittleEndian, ExplicitVRLittleEndian, DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian)
#: Bytes of preamble and magic word.
PREAMBLE = 132


def is_dicom(file: str | Path) -> bool:
    """Whether a file is DICOM; old ones have neither preamble nor meta header, and begin with their first group."""
    file = Path(file)
    if not file.is_file() or file.name.startswith("._"):  # which macOS puts beside a file, on other disks
        return False
    if has_preamble(file):
        return True
    with file.open("rb") as stream:
        start = stream.read(8)
    if len(start) < 8 or not has_first_group(start):
        return False
    try:
        return "SOPClassUID" in pydicom.dcmread(file, force=True, stop_before_pixels=True, specific_tags=list(KIND))
    except Exception:  # whatever pydicom makes of what is not DICOM
        return False


def has_first_group(start: bytes) -> bool:
    """Whether a file begins with an element of a first group of DICOM, by its first four bytes."""
    group, element = int.from_bytes(start[:2], "little"), int.from_bytes(start[2:4], "little")
    return group in (2, 8) and element <= 0x1000


def read_header(file: str | Path, tags: tuple[str, ...] | None = None) -> Dataset:
    """A file's header, without its pixels, with its transfer syntax in any case.

    Args:
        file: DICOM, with or without preamble.
        tags: all that is needed; null for everything.

    Raises:
        ImageError: If the file ends within its header, or is not a DICOM file.
    """
    try:
        header = pydicom.dcmread(
            file, stop_before_pixels=True, force=True, specific_tags=None if tags is None else [*tags, *KIND]
        )
    except Exception as error:  # whatever pydicom makes of half a file
        raise ImageError(
            f"DICOM file {str(file)!r} is cut short within its header ({error}); fetch it again."
        ) from error
    header.filename = str(file)  # older pydicom names a deflated file after its buffer
    settle(header)
    return header


def settle(header: Dataset) -> None:
    """Note the transfer syntax of a file without a meta header."""
    if not hasattr(header, "file_meta") or header.file_meta is None:
        header.file_meta = pydicom.dataset.FileMetaDataset()
    if "TransferSyntaxUID" not in header.file_meta:
        header.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if header.is_implicit_VR else ExplicitVRLittleEndian


def value_of(header: Dataset, keyword: str, part: Dataset | None = None) -> Any:
    """The value of an attribute of a header, or of a part of it; or nothing.

    Raises:
        ImageError: If its bytes are none of its value representation.
    """
    try:
        return (header if part is None else part).get(keyword)
    except Exception as error:  # whatever pydicom makes of bytes of another kind
        said = " ".join(str(error).split())[:90]
        raise ImageError(
            f"DICOM file {str(header.filename)!r}: its {keyword} cannot be read ({said}); fetch the file again, or "
            "correct the value, for instance with dcmodify."
        ) from error


def is_cut(header: Dataset) -> bool:
    """Whether a file ends before the name of its object, or an image's before its size."""
    if not value_of(header, "SOPInstanceUID"):
        return class_of(header) != MediaStorageDirectoryStorage
    return bool(IMAGES.fullmatch(class_of(header))) and not value_of(header, "Rows")


def class_of(header: Dataset) -> str:
    """The UID of a file's class."""
    meta = value_of(header, "MediaStorageSOPClassUID", header.file_meta)
    return str(value_of(header, "SOPClassUID") or meta or "")


def is_compressed(header: Dataset) -> bool:
    """Whether the pixels of a file are compressed, as those of an unknown transfer syntax may be."""
    return str(header.file_meta.TransferSyntaxUID) not in PLAIN


def kind_of(header: Dataset) -> str:
    """What a file is: an ``xray``, which is an image by itself, a ``slice`` of a volume, ``broken``, or none of them.

    Raises:
        ImageError: If that cannot be read.
    """
    modality = value_of(header, "Modality")
    if is_cut(header):
        return "broken"
    if not value_of(header, "Rows") or modality == "SEG":
        return ""
    placed = value_of(header, "ImagePositionPatient") or class_of(header) in SLICES
    return "slice" if placed and modality not in XRAY else "xray"


def file_kind(file: str | Path) -> str:
    """The same of a DICOM file; ``broken`` for one that cannot be read."""
    try:
        return kind_of(read_header(file, KIND))
    except ImageError:
        return "broken"


def name_of(header: Dataset) -> str:
    """What a file is, in words: its modality, or the name of its class."""
    return str(header.get("Modality") or UID(header.get("SOPClassUID") or "").name or "unknown")


def check_length(header: Dataset) -> None:
    """Refuse an uncompressed file that is shorter than its pixels.

    Raises:
        ImageError: If it is.
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
    """Pixel Padding Value and Range Limit in the source's units, as far as there are (C.7.5.1.1.2).

    They are stored like a pixel, but often under the wrong one of two value representations, unsigned or signed. In
    unsigned pixels a value above 32767 whose rescaled value no 16 bits hold is a negative one: 63536 is -2000. There is
    no such tissue or metal, and as a number it would be taken for the brightest.
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
    """Whether the padding is a negative value in unsigned pixels."""
    if header.get("PixelRepresentation") or header.get("PixelPaddingValue") in (None, ""):
        return False
    value = int(header.PixelPaddingValue) % 65536
    slope, intercept = float(header.get("RescaleSlope") or 1), float(header.get("RescaleIntercept") or 0)
    return value > 32767 and slope * value + intercept > 32767
