"""Pixels of a DICOM file as they are stored: uncompressed ones read by pydicom, others decoded by ITK's GDCM."""

from __future__ import annotations

import tempfile
from pathlib import Path

import itk
import numpy as np
import pydicom
from bundle.images.dicom_headers import settle
from bundle.images.image import ImageError
from pydicom.dataset import Dataset, FileDataset
from pydicom.uid import SecondaryCaptureImageStorage

#: What a decoder needs to know of a file.
GRID = ("Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation")


def stored_type(header: Dataset) -> str:
    """The type of the stored values, little endian."""
    return f"<{'i' if header.PixelRepresentation else 'u'}{header.BitsAllocated // 8}"


def read_stored(file: str | Path) -> tuple[np.ndarray, Dataset]:
    """The stored values of an image in grey of one frame, `(rows, columns)`, and its header.

    Raises:
        ImageError: If there are none, or they cannot be decoded.
    """
    header = pydicom.dcmread(file, force=True)
    header.filename = str(file)
    settle(header)
    if "PixelData" not in header:
        raise ImageError(f"DICOM file {str(file)!r} holds no pixels; one image is needed: leave the file out.")
    syntax = header.file_meta.TransferSyntaxUID
    found, needed = len(header.PixelData), int(header.Rows) * int(header.Columns) * int(header.BitsAllocated) // 8
    if not syntax.is_compressed and found < needed:
        raise ImageError(
            f"DICOM file {str(file)!r} is cut short: it holds {found} of {needed} bytes of its pixels, which cannot be "
            "decoded; fetch it again."
        )
    try:
        values = _decoded(header) if syntax.is_compressed else header.pixel_array
        values = values.reshape(int(header.Rows), int(header.Columns))
    except (AttributeError, RuntimeError, ValueError) as error:
        way_out = "fetch it again"
        if syntax.is_compressed:
            way_out += (
                f"; or ITK cannot decode its transfer syntax {syntax.name} ({syntax}): write it anew without "
                "compression, for instance by gdcmconv --raw"
            )
        raise ImageError(
            f"DICOM file {str(file)!r}: its pixels cannot be decoded. It may be cut short or damaged: {way_out}."
        ) from error
    unused = header.BitsAllocated - header.BitsStored  # which may hold overlays
    return (values.astype(stored_type(header)) << unused) >> unused, header


def _decoded(header: Dataset) -> np.ndarray:
    """Compressed pixels under a header so plain that ITK takes them for stored values: nothing rescaled or turned."""
    # the one way that pydicom 2.4 and 3 share to make a file
    plain = FileDataset(
        "", {}, file_meta=header.file_meta, preamble=bytes(128), is_implicit_VR=False, is_little_endian=True
    )
    plain.SOPClassUID, plain.SOPInstanceUID = SecondaryCaptureImageStorage, header.SOPInstanceUID
    plain.SamplesPerPixel, plain.PhotometricInterpretation = 1, "MONOCHROME2"
    for keyword in GRID:
        setattr(plain, keyword, header[keyword].value)
    plain.add(header["PixelData"])
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "plain.dcm"
        plain.save_as(file)
        values = itk.array_from_image(itk.imread(str(file)))
    return values
