r"""Derived image: a source image's header, changed where it would no longer be true, around new pixels.

What becomes of the header (DICOM PS3.3, A.3 CT Image IOD):

- kept: patient, study, frame of reference, position, orientation, spacing, acquisition (kV, dose, contrast, times), VOI
  window, instance number, and whether the image ever was lossily compressed;
- new: the UIDs of series and image, the series' number and description, Image Type (DERIVED\SECONDARY, C.7.6.1.1.2),
  derivation and source image (C.7.6.1.1.3 and 4), pixels and rescaling;
- moved: the equipment is now this bundle with its version and the SHA-256 of its weights; the scanner becomes
  contributing equipment (C.12.1.1.5, note 1), beside the bundle once more;
- gone: what speaks of the source's own pixels (reconstruction kernel, extreme values, LUTs and real world mappings of
  stored values, icon, overlays, curves, signatures), of its making (creation and content times, performed procedure
  step), and every private attribute, because only its vendor knows whether it still holds.
"""

from __future__ import annotations

import copy
import hashlib
import re
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from bundle import __version__
from monai.utils import ensure_tuple
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import PYDICOM_IMPLEMENTATION_UID, UID, CTImageStorage, ExplicitVRLittleEndian, generate_uid

#: This bundle as equipment (C.7.5.1), by the names in `configs/metadata.json`.
MANUFACTURER, MODEL = "The authors of the CT kernel translation GAN bundle", "CT kernel translation GAN"
#: HU; what lies below can be padding but no tissue.
AIR = -1024

#: What describes equipment, in its own module (C.7.5.1) and in an item of the Contributing Equipment Sequence alike.
EQUIPMENT = re.compile(
    "Manufacturer(ModelName)?|Institution(Name|Address|alDepartment(Name|TypeCodeSequence))|StationName|DeviceUID"
    "|DeviceSerialNumber|UDISequence|SoftwareVersions|SpatialResolution|(Date|Time)OfLastCalibration"
)
#: What holds for the source's pixels or for its making, and not for what is derived from it.
GONE = re.compile(
    "(Smallest|Largest).*PixelValue.*|PixelPadding.*|PlanarConfiguration|.*LUTSequence|RealWorldValueMappingSequence"
    "|ConvolutionKernel(Group)?|Instance(CreationDate|CreationTime|CreatorUID)|(Series|Content)(Date|Time)"
    "|SeriesDescriptionCodeSequence|(ReferencedPerformed|Performed|CommentsOnThePerformed)(Procedure|Protocol).*"
)
#: The same by group: icon and storage media, authorisation, signatures and encrypted originals, pixels, padding.
GONE_GROUPS = (0x0088, 0x0100, 0x0400, 0x4FFE, 0x7FE0, 0xFFFA, 0xFFFC)
#: What a CT image has to have, if empty (type 2 in the modules of A.3).
TYPE_2 = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "PatientPosition",
    "StudyDate",
    "StudyTime",
    "StudyID",
    "AccessionNumber",
    "ReferringPhysicianName",
    "PositionReferenceIndicator",
    "AcquisitionNumber",
    "InstanceNumber",
    "SliceThickness",
    "KVP",
)


@dataclass(frozen=True)
class Derivation:
    """What made a derived series.

    Args:
        description: what it is; the source's own series description follows.
        number: series number; by default the source's plus 1000.
        weights: SHA-256 of the weights, 64 hexadecimal digits, or nothing.
        version: of this bundle.
    """

    description: str = "Synthetic soft kernel"
    number: int | None = None
    weights: str = ""
    version: str = __version__


def is_ct(file: str | Path) -> bool:
    """Whether a DICOM file is a single-frame CT image in HU, of which a series can be derived."""
    header = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=["SOPClassUID", "RescaleType"])
    return header.get("SOPClassUID") == CTImageStorage and (header.get("RescaleType") or "US") in ("HU", "US")


def derived_image(header: Dataset, pixels: bytes, derivation: Derivation) -> FileDataset:
    """The image that a source's header and new pixels make, ready to be saved, but for its `UNNAMED` series.

    Args:
        header: of the source image.
        pixels: HU in signed 16 bits, little endian, row after row.
        derivation: what made them.
    """
    uid = uid_of(header.SOPInstanceUID, *astuple(derivation), hashlib.sha256(pixels).hexdigest())
    meta = FileMetaDataset()
    meta.FileMetaInformationGroupLength, meta.FileMetaInformationVersion = 0, b"\x00\x01"
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = CTImageStorage, uid
    meta.TransferSyntaxUID, meta.ImplementationClassUID = ExplicitVRLittleEndian, PYDICOM_IMPLEMENTATION_UID
    # the one way that pydicom 2.4 and 3 share to make a file
    derived = FileDataset("", {}, file_meta=meta, preamble=bytes(128), is_implicit_VR=False, is_little_endian=True)
    for element in header:
        if _holds(element):
            derived.add(copy.deepcopy(element))
    # a body part that is not named may be one of two
    for keyword in TYPE_2 if derived.get("BodyPartExamined") else (*TYPE_2, "Laterality"):
        if keyword not in derived:
            setattr(derived, keyword, None)
    derived.SOPInstanceUID, derived.SeriesInstanceUID = uid, UNNAMED
    number = int(header.get("SeriesNumber") or 0) + 1000
    derived.SeriesNumber = number if derivation.number is None else derivation.number
    derived.SeriesDescription = ": ".join(filter(None, (derivation.description, header.get("SeriesDescription"))))[:64]
    kind = ensure_tuple(header.get("ImageType") or ())[2:] or ("AXIAL",)
    derived.ImageType = ["DERIVED", "SECONDARY", *kind]
    _set_derivation(derived, header, derivation)
    _set_equipment(derived, header, derivation)
    _set_pixels(derived, header, pixels)
    derived.remove_private_tags()
    return derived


def uid_of(*parts: Any) -> UID:
    """A UID that follows from its parts, 64 characters long, below pydicom's root (PS3.5, section 9)."""
    return generate_uid(entropy_srcs=[str(part) for part in parts])


#: Series Instance UID of an image before its series has one; takes as many bytes.
UNNAMED = uid_of("unnamed")


def _holds(element: pydicom.DataElement) -> bool:
    """Whether what an element says of the source is true of a derived image."""
    group = element.tag.group
    drawn = 0x5000 <= group <= 0x50FF or 0x6000 <= group <= 0x60FF  # curves, overlays
    named = GONE.fullmatch(element.keyword) or EQUIPMENT.fullmatch(element.keyword)
    return not (named or drawn or group in GONE_GROUPS)


def _set_derivation(derived: Dataset, source: Dataset, derivation: Derivation) -> None:
    """Say of what image and how it was made (C.7.6.1)."""
    kernel = source.get("ConvolutionKernel") or "not named"
    derived.DerivationDescription = (
        f"{derivation.description}, by neural network ({MODEL} {derivation.version}); reconstruction kernel of the "
        f"source: {', '.join(ensure_tuple(kernel))}. Research only: not for clinical use."
    )[:1024]
    # CID 7203 (Image Derivation) has no code for networks; it may be extended
    derived.DerivationCodeSequence = [_code("123110", "Artificial Intelligence")]
    derived.SourceImageSequence = [
        _set(
            Dataset(),
            ReferencedSOPClassUID=source.SOPClassUID,
            ReferencedSOPInstanceUID=source.SOPInstanceUID,
            SpatialLocationsPreserved="YES",
            PurposeOfReferenceCodeSequence=[_code("121322", "Source image for image processing operation")],
        )
    ]


def _set_equipment(derived: Dataset, source: Dataset, derivation: Derivation) -> None:
    """Name this bundle as the equipment, and the source's equipment as a contributor (C.7.5.1, C.12.1.1.5)."""
    ours = {
        "Manufacturer": MANUFACTURER,
        "ManufacturerModelName": MODEL,
        "SoftwareVersions": [text for text in (derivation.version, derivation.weights) if text],
    }
    theirs = {element.keyword: element.value for element in source if EQUIPMENT.fullmatch(element.keyword)}
    theirs["Manufacturer"] = source.get("Manufacturer") or "unknown"
    processing, acquisition = _code("109102", "Processing Equipment"), _code("109101", "Acquisition Equipment")
    processed = "DERIVED" in (source.get("ImageType") or "")
    _set(derived, **ours)
    derived.ContributingEquipmentSequence = [
        *(source.get("ContributingEquipmentSequence") or []),
        _set(Dataset(), **theirs, PurposeOfReferenceCodeSequence=[processing if processed else acquisition]),
        _set(
            Dataset(),
            **ours,
            ContributionDescription="software versions: of the bundle, then the SHA-256 of the weights",
            PurposeOfReferenceCodeSequence=[processing],
        ),
    ]


def _set_pixels(derived: Dataset, source: Dataset, pixels: bytes) -> None:
    """HU as they are, in signed 16 bits (C.8.2.1), and the source's padding where it is no tissue's value."""
    derived.SamplesPerPixel, derived.PhotometricInterpretation = 1, "MONOCHROME2"
    derived.BitsAllocated, derived.BitsStored, derived.HighBit, derived.PixelRepresentation = 16, 16, 15, 1
    derived.RescaleIntercept, derived.RescaleSlope, derived.RescaleType = 0, 1, "HU"
    padding = _padding(source)
    if all(-32768 <= value < AIR for value in padding):
        for tag, value in zip((0x00280120, 0x00280121), padding, strict=False):
            derived.add_new(tag, "SS", value)
    derived.add_new(0x7FE00010, "OW", pixels)


def _padding(source: Dataset) -> list[int]:
    """A source's Pixel Padding Value and, where there is one, Range Limit, in HU (C.7.5.1.1.2)."""
    stored = [source[keyword].value for keyword in ("PixelPaddingValue", "PixelPaddingRangeLimit") if keyword in source]
    if "PixelPaddingValue" not in source:
        return []
    # stored like a pixel, but often under the wrong one of two value representations, unsigned or signed
    units = np.array([value % 65536 for value in stored], np.uint16)
    units = units.view(np.int16) if source.PixelRepresentation else units
    slope, intercept = float(source.get("RescaleSlope", 1)), float(source.get("RescaleIntercept", 0))
    return [round(slope * int(value) + intercept) for value in units]


def _set(dataset: Dataset, **values: Any) -> Dataset:
    """Set the attributes of a data set, and return it."""
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    return dataset


def _code(value: str, meaning: str) -> Dataset:
    """A code of DICOM's own scheme (PS3.16, annex D)."""
    return _set(Dataset(), CodeValue=value, CodingSchemeDesignator="DCM", CodeMeaning=meaning)
