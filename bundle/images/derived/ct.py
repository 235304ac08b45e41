"""Derive a CT image: a slice's header with new voxels in HU (DICOM PS3.3, A.3 CT Image IOD)."""

from __future__ import annotations

import re
from pathlib import Path

from bundle.images.derived.image import Derivation, derived_image
from bundle.images.dicom_headers import padding_in_hu, read_header, values_of
from pydicom.dataset import Dataset, FileDataset
from pydicom.uid import CTImageStorage

#: HU; values below can be padding but not tissue.
AIR = -1024
#: Attributes that hold only for the source's stored values or kernel.
GONE = re.compile(".*LUTSequence|RealWorldValueMappingSequence|ConvolutionKernel(Group)?")
#: A kernel name that fits into Convolution Kernel (SH, PS3.5, 6.2) and needs no Specific Character Set.
SHORT = re.compile(r"(?! )[ -\[\]-~]{1,16}(?<! )")
#: Further attributes that a CT image must have, possibly empty (type 2 in the modules of A.3).
TYPE_2 = ("PatientPosition", "PositionReferenceIndicator", "AcquisitionNumber", "SliceThickness", "KVP")


def is_ct(file: str | Path) -> bool:
    """Return whether a DICOM file is a single-frame CT image in HU, from which a series can be derived."""
    header = read_header(file, ("SOPClassUID", "RescaleType"))
    return header.get("SOPClassUID") == CTImageStorage and (header.get("RescaleType") or "US") in ("HU", "US")


def derived_slice(header: Dataset, pixels: bytes, derivation: Derivation) -> FileDataset:
    """Return the derived slice of a source's header and new pixels, see `bundle.images.derived.image.derived_image`.

    Args:
        header: header of the source image.
        pixels: HU in signed 16 bits, little endian, row by row.
        derivation: how they were made.
    """
    kernel = ", ".join(values_of(header, "ConvolutionKernel") or ["not named"])
    derived = derived_image(header, pixels, derivation, f"reconstruction kernel of the source: {kernel}", TYPE_2)
    for keyword in [element.keyword for element in derived if GONE.fullmatch(element.keyword)]:
        delattr(derived, keyword)
    if SHORT.fullmatch(derivation.kernel):
        derived.ConvolutionKernel = derivation.kernel
    kind = derived.ImageType
    derived.ImageType = kind if len(kind) > 2 else [*kind, "AXIAL"]
    _set_pixels(derived, header, pixels)
    return derived


def _set_pixels(derived: Dataset, source: Dataset, pixels: bytes) -> None:
    """Set unscaled HU in signed 16 bits (C.8.2.1), and the source's padding if it is not a value of tissue."""
    derived.SamplesPerPixel, derived.PhotometricInterpretation = 1, "MONOCHROME2"
    derived.BitsAllocated, derived.BitsStored, derived.HighBit, derived.PixelRepresentation = 16, 16, 15, 1
    derived.RescaleIntercept, derived.RescaleSlope, derived.RescaleType = 0, 1, "HU"
    padding = [round(value) for value in padding_in_hu(source)]
    if all(-32768 <= value < AIR for value in padding):
        for tag, value in zip((0x00280120, 0x00280121), padding, strict=False):
            derived.add_new(tag, "SS", value)
    derived.add_new(0x7FE00010, "OW", pixels)
