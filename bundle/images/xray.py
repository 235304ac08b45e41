"""X-rays: the DICOM files that are an image each, without a place in a volume, and their grey levels.

A file stores its levels in one of several ways; here they all run from 0, as dark as air, to 2 ** BitsStored - 1:

- signed values start at 0 (Pixel Representation);
- where high values are dark, levels are turned: MONOCHROME1, or a falling rescale (PS3.3, C.7.6.3.1.2 and C.11.1.1.2).

Rescaling is linear, so that of the whole range only its direction counts; slope and intercept themselves do not.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import itk
import numpy as np
import pydicom
from bundle.images.bit_depth import level_type
from pydicom.dataset import Dataset, FileDataset
from pydicom.errors import InvalidDicomError
from pydicom.misc import is_dicom
from pydicom.uid import SecondaryCaptureImageStorage

#: Modalities of single images, whatever else their header holds: computed and digital radiography, mammography.
XRAY = ("CR", "DX", "MG")
#: What tells what a file is.
KIND = ("Modality", "Rows", "ImagePositionPatient")


def is_xray(file: str | Path) -> bool:
    """Whether a file is DICOM and an image by itself, if one that `read_xray` refuses: it has no place in a volume."""
    return is_dicom(file) and _kind(file) == "xray"


def xray_files(folder: str | Path) -> list[str]:
    """The X-rays among the files of a folder; none where it holds a slice of a volume as well, which goes first."""
    found = []
    for file in sorted(Path(folder).iterdir()):
        if file.is_file() and is_dicom(file):
            kind = _kind(file)
            if kind == "slice":
                return []
            found += [str(file)] if kind == "xray" else []
    return found


def _kind(file: str | Path) -> str:
    """Whether a DICOM file is an ``xray``, a ``slice``, or neither."""
    header = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=list(KIND))
    modality = header.get("Modality")
    if not header.get("Rows") or modality == "SEG":
        return ""
    return "slice" if header.get("ImagePositionPatient") and modality not in XRAY else "xray"


def read_xray(file: str | Path) -> tuple[np.ndarray, Dataset]:
    """The levels of an X-ray, `(columns, rows)`, 8 or 16 bits unsigned, and its header.

    Raises:
        ValueError: where the file is no X-ray of one frame in grey, or cannot be decoded.
    """
    try:
        header = pydicom.dcmread(file)
    except InvalidDicomError as error:
        raise ValueError(f"X-ray {str(file)!r} is no DICOM file; give one, or a PNG, JPEG or TIFF.") from error
    _check(file, header)
    return levels_of(_stored(file, header), header).T, header


def levels_of(stored: np.ndarray, header: Dataset) -> np.ndarray:
    """Levels of stored values, 8 or 16 bits unsigned: from 0, as dark as air."""
    bits = int(header.BitsStored)
    levels = stored.astype(np.int32) + _lowest(header)
    levels = 2**bits - 1 - levels if _is_turned(header) else levels
    return levels.astype(level_type(bits))


def stored_of(levels: np.ndarray, header: Dataset) -> np.ndarray:
    """The inverse of `levels_of`, little endian in the bits that the header allocates."""
    values = levels.astype(np.int32)
    values = 2 ** int(header.BitsStored) - 1 - values if _is_turned(header) else values
    return (values - _lowest(header)).astype(_kind_of_value(header))


def spacing_of_xray(header: Dataset) -> tuple[float, float]:
    """Pixel size along a row and along a column in mm: in the patient, else on the detector, else 1."""
    down, right = header.get("PixelSpacing") or header.get("ImagerPixelSpacing") or (1, 1)
    return float(right), float(down)


def _kind_of_value(header: Dataset) -> str:
    """The type of the stored values, little endian."""
    return f"<{'i' if header.PixelRepresentation else 'u'}{header.BitsAllocated // 8}"


def _lowest(header: Dataset) -> int:
    """How far the lowest value lies below zero."""
    return 2 ** (int(header.BitsStored) - 1) if header.PixelRepresentation else 0


def _is_turned(header: Dataset) -> bool:
    """Whether high stored values are dark."""
    falling = float(header.get("RescaleSlope") or 1) < 0
    return (header.PhotometricInterpretation == "MONOCHROME1") != falling


def _check(file: str | Path, header: Dataset) -> None:
    """Refuse what is no single frame in grey."""
    where, modality = f"X-ray {str(file)!r}", header.get("Modality") or ""
    frames, kind = int(header.get("NumberOfFrames") or 1), header.get("PhotometricInterpretation") or "nothing"
    if header.get("ImagePositionPatient") and modality not in XRAY:
        raise ValueError(f"{where} is one slice of a volume, by its modality {modality!r}; give the series' folder.")
    if "PixelData" not in header:
        raise ValueError(f"{where} holds no pixels, modality {modality!r}; one image is needed: leave the file out.")
    if frames > 1:
        raise ValueError(f"{where} has {frames} frames; one is needed: save the frame to translate as its own image.")
    if header.get("SamplesPerPixel", 1) != 1 or kind not in ("MONOCHROME1", "MONOCHROME2"):
        raise ValueError(
            f"{where} is stored as {kind}, {header.get('SamplesPerPixel', 1)} samples a pixel; grey is needed, "
            "MONOCHROME1 or MONOCHROME2: leave it out, or save it as a PNG, which is read as grey."
        )
    bits, allocated = header.get("BitsStored"), header.get("BitsAllocated")
    if allocated not in (8, 16) or not bits or not 2 <= bits <= allocated or header.get("HighBit") != bits - 1:
        raise ValueError(
            f"{where} stores {bits} of {allocated} bits up to bit {header.get('HighBit')}; 2 to 16 of 8 or 16, from "
            "bit 0 on, are read: write it anew, for instance as a 16-bit PNG."
        )


def _stored(file: str | Path, header: Dataset) -> np.ndarray:
    """The stored values, `(rows, columns)`: those of compressed files are decoded by ITK, as those of series are."""
    syntax = header.file_meta.TransferSyntaxUID
    try:
        values = _decoded(header) if syntax.is_compressed else header.pixel_array
    except (AttributeError, RuntimeError, ValueError) as error:
        raise ValueError(
            f"X-ray {str(file)!r}: its pixels, of the transfer syntax {syntax.name} ({syntax}), cannot be decoded. The "
            "file may be cut short: fetch it again; or write it anew without compression, for instance by gdcmconv "
            "--raw."
        ) from error
    unused = header.BitsAllocated - header.BitsStored  # which may hold overlays
    return (values.astype(_kind_of_value(header)) << unused) >> unused


def _decoded(header: Dataset) -> np.ndarray:
    """Compressed pixels under a header so plain that ITK takes them for stored values: nothing rescaled or turned."""
    # the one way that pydicom 2.4 and 3 share to make a file
    plain = FileDataset(
        "", {}, file_meta=header.file_meta, preamble=bytes(128), is_implicit_VR=False, is_little_endian=True
    )
    plain.SOPClassUID, plain.SOPInstanceUID = SecondaryCaptureImageStorage, header.SOPInstanceUID
    plain.SamplesPerPixel, plain.PhotometricInterpretation = 1, "MONOCHROME2"
    for keyword in ("Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation"):
        setattr(plain, keyword, header[keyword].value)
    plain.add(header["PixelData"])
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "plain.dcm"
        plain.save_as(file)
        values = itk.array_from_image(itk.imread(str(file)))
    return values.reshape(header.Rows, header.Columns)
