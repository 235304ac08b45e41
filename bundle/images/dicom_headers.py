"""Headers of DICOM files: what a file is, with or without its preamble, whole or cut short."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
from bundle.images.image import ImageError
from pydicom.dataset import Dataset
from pydicom.misc import is_dicom as has_preamble
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

#: Modalities of single images, whatever else their header holds: computed and digital radiography, mammography.
XRAY = ("CR", "DX", "MG")
#: What tells what a file is.
KIND = ("SOPClassUID", "Modality", "Rows", "ImagePositionPatient")
#: What tells how many bytes its pixels take.
SIZE = ("Rows", "Columns", "BitsAllocated", "SamplesPerPixel", "NumberOfFrames")
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
    group, element = int.from_bytes(start[:2], "little"), int.from_bytes(start[2:4], "little")
    if len(start) < 8 or group not in (2, 8) or element > 0x1000:
        return False
    try:
        return "SOPClassUID" in pydicom.dcmread(file, force=True, stop_before_pixels=True, specific_tags=list(KIND))
    except Exception:  # whatever pydicom makes of what is no DICOM
        return False


def read_header(file: str | Path, tags: tuple[str, ...] | None = None) -> Dataset:
    """A file's header, without its pixels, with its transfer syntax in any case.

    Args:
        file: DICOM, with or without preamble.
        tags: all that is needed; null for everything.

    Raises:
        ImageError: If the file ends within its header, or is no DICOM file.
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


def kind_of(header: Dataset) -> str:
    """What a file is: an ``xray``, which is an image by itself, a ``slice`` of a volume, or neither."""
    modality = header.get("Modality")
    if not header.get("Rows") or modality == "SEG":
        return ""
    return "slice" if header.get("ImagePositionPatient") and modality not in XRAY else "xray"


def file_kind(file: str | Path) -> str:
    """The same of a DICOM file; neither for one that cannot be read."""
    try:
        return kind_of(read_header(file, KIND))
    except ImageError:
        return ""


def name_of(header: Dataset) -> str:
    """What a file is, in words: its modality, or the name of its class."""
    return str(header.get("Modality") or UID(header.get("SOPClassUID") or "").name or "unknown")


def check_length(header: Dataset) -> None:
    """Refuse an uncompressed file that is shorter than its pixels.

    Raises:
        ImageError: If it is.
    """
    syntax = header.file_meta.TransferSyntaxUID
    if syntax.is_compressed or syntax == DeflatedExplicitVRLittleEndian or not all(header.get(k) for k in SIZE[:3]):
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
    stored = [header[keyword].value for keyword in ("PixelPaddingValue", "PixelPaddingRangeLimit") if keyword in header]
    if "PixelPaddingValue" not in header:
        return []
    slope, intercept = float(header.get("RescaleSlope") or 1), float(header.get("RescaleIntercept") or 0)
    units = np.array([int(value) % 65536 for value in stored], np.uint16)
    signed = bool(header.get("PixelRepresentation")) or is_wrapped(header)
    return [slope * int(value) + intercept for value in (units.view(np.int16) if signed else units)]


def is_wrapped(header: Dataset) -> bool:
    """Whether the padding is a negative value in unsigned pixels."""
    if header.get("PixelRepresentation") or "PixelPaddingValue" not in header:
        return False
    value = int(header["PixelPaddingValue"].value) % 65536
    slope, intercept = float(header.get("RescaleSlope") or 1), float(header.get("RescaleIntercept") or 0)
    return value > 32767 and slope * value + intercept > 32767
