"""Read the stored pixel values of a DICOM file: uncompressed and RLE pixels here, others through ITK's GDCM."""

from __future__ import annotations

import tempfile
from pathlib import Path

import itk
import numpy as np
import pydicom
from bundle.images.codestreams import Grid, check_codestream, frame_of
from bundle.images.dicom_headers import is_compressed, settle
from bundle.images.dicom_rle import decode_rle
from bundle.images.image import ImageError
from pydicom.dataset import Dataset, FileDataset
from pydicom.encaps import encapsulate
from pydicom.uid import ExplicitVRBigEndian, RLELossless, SecondaryCaptureImageStorage

#: Attributes that a decoder needs.
GRID = ("Rows", "Columns", "BitsAllocated", "PixelRepresentation")

#: Compressed transfer syntaxes that are read: JPEG Baseline, Extended, Lossless (any, first-order); JPEG-LS lossless
#: and near-lossless; JPEG 2000 and High-Throughput JPEG 2000, lossless and lossy; RLE.
DECODED = (
    *(f"1.2.840.10008.1.2.4.{number}" for number in (50, 51, 57, 70, 80, 81, 90, 91, 201, 202, 203)),
    RLELossless,
)


def stored_type(header: Dataset) -> str:
    """Return the NumPy type of the stored values, little endian."""
    return f"<{'i' if header.PixelRepresentation else 'u'}{header.BitsAllocated // 8}"


def read_stored(file: str | Path) -> tuple[np.ndarray, Dataset]:
    """Return the stored values of a single-frame grey image, `(rows, columns)`, and its header.

    Raises:
        ImageError: If there are no pixels, or they cannot be decoded.
    """
    where = f"DICOM file {str(file)!r}"
    try:
        header = pydicom.dcmread(file, force=True)
    except Exception as error:  # pydicom raises many kinds on truncated files
        said = " ".join(str(error).split())[:90]
        raise ImageError(f"{where} is cut short or damaged ({said}); fetch it again.") from error
    header.filename = str(file)
    settle(header)
    if not header.get("PixelData"):
        raise ImageError(
            f"{where} holds no pixels, or is cut short before their end; one image is needed: fetch it again, or leave "
            "the file out."
        )
    syntax = header.file_meta.TransferSyntaxUID
    if not is_compressed(header):
        _check_length(where, header)
    elif syntax not in DECODED:
        raise ImageError(
            f"{where}: its pixels cannot be decoded: ITK cannot decode the transfer syntax {syntax.name} ({syntax}); "
            "rewrite it without compression: have the archive send Explicit VR Little Endian, or install "
            "libgdcm-tools, for gdcmconv --raw, or dcmtk, for dcmdjpeg."
        )
    try:
        values = _decoded(header) if is_compressed(header) else _plain(header)
        values = values.reshape(int(header.Rows), int(header.Columns))
    except Exception as error:  # decoders raise many kinds
        said = " ".join(str(error).split())[:200] if isinstance(error, ValueError) else type(error).__name__
        raise ImageError(
            f"{where}: its pixels, {syntax.name}, cannot be decoded ({said}). It may be cut short or damaged: fetch it "
            "again, or rewrite it without compression, for instance by gdcmconv --raw."
        ) from error
    return _used_bits(where, values.astype(stored_type(header)), header), header


def _check_length(where: str, header: Dataset) -> None:
    """Refuse uncompressed pixels of more or fewer bytes than the header says (PS3.5, 8.1.1)."""
    found, needed = len(header.PixelData), int(header.Rows) * int(header.Columns) * int(header.BitsAllocated) // 8
    if found < needed:
        raise ImageError(
            f"{where} is cut short: it holds {found} of {needed} bytes of its pixels, which cannot be decoded; "
            "fetch it again."
        )
    if found > needed + needed % 2:
        raise ImageError(
            f"{where} holds {found} bytes of pixels; Rows {header.Rows}, Columns {header.Columns} and BitsAllocated "
            f"{header.BitsAllocated} make {needed}: fetch it again, or correct the header."
        )


def _plain(header: Dataset) -> np.ndarray:
    """Return uncompressed pixels."""
    needed = int(header.Rows) * int(header.Columns) * int(header.BitsAllocated) // 8
    order = ">" if header.file_meta.TransferSyntaxUID == ExplicitVRBigEndian else "<"
    pixels = header.PixelData[:needed]
    if order == ">" and header["PixelData"].VR == "OW" and header.BitsAllocated == 8:  # bytes in words, PS3.5, A.3
        pixels = np.frombuffer(header.PixelData, ">u2").astype("<u2").tobytes()[:needed]
    return np.frombuffer(pixels, order + stored_type(header)[1:])


def _used_bits(where: str, values: np.ndarray, header: Dataset) -> np.ndarray:
    """Return the values of the stored bits; the bits above may hold overlays, the sign, or nothing."""
    unused = int(header.BitsAllocated) - int(header.BitsStored)
    used = (values << unused) >> unused
    above = values >> int(header.BitsStored)
    overlays = any(tag.group >> 8 == 0x60 and tag.element == 0x0102 for tag in header.keys())  # noqa: SIM118 - unread
    if not unused or overlays or np.array_equal(used, values) or not above.any():
        return used
    raise ImageError(
        f"{where} stores values up to {int(values.max())}; BitsStored {header.BitsStored} has to be enough for them, "
        "as no overlay is said to lie above: fetch it again, or correct the header."
    )


def _decoded(header: Dataset) -> np.ndarray:
    """Decode compressed pixels under a minimal header, so that ITK returns stored values, not rescaled or inverted."""
    syntax = header.file_meta.TransferSyntaxUID
    frame = frame_of(header.PixelData)
    if syntax == RLELossless:  # ITK would fill up truncated data
        values = decode_rle(frame, int(header.Rows) * int(header.Columns), int(header.BitsAllocated) // 8)
        return values.view(stored_type(header))
    signed = bool(header.PixelRepresentation)
    bits = check_codestream(frame, Grid(int(header.Rows), int(header.Columns), int(header.BitsStored), signed)).bits
    # the only way to create a file that works in both pydicom 2.4 and 3
    plain = FileDataset(
        "", {}, file_meta=header.file_meta, preamble=bytes(128), is_implicit_VR=False, is_little_endian=True
    )
    plain.SOPClassUID, plain.SOPInstanceUID = SecondaryCaptureImageStorage, header.SOPInstanceUID
    plain.SamplesPerPixel, plain.PhotometricInterpretation = 1, "MONOCHROME2"
    for keyword in GRID:
        setattr(plain, keyword, header[keyword].value)
    plain.BitsStored, plain.HighBit = bits, bits - 1  # ITK does not clear the other bits
    plain.PixelData = encapsulate([frame])
    plain["PixelData"].is_undefined_length = True
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "plain.dcm"
        plain.save_as(file)
        values = itk.array_from_image(itk.imread(str(file)))
    return values
