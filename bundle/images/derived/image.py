r"""Derive a DICOM image: the header of a source image, updated where it would no longer be true, for new pixels.

How the header changes (DICOM PS3.3) for every kind of image; `ct` and `xray` describe their own changes:

- kept: patient, study, frame of reference, position, orientation, spacing, acquisition (kV, dose, contrast, times), VOI
  window, instance number, and whether the image was ever lossily compressed;
- new: the UIDs of series and image, the series' number and description, Image Type (DERIVED\SECONDARY, C.7.6.1.1.2),
  derivation and source image (C.7.6.1.1.3 and 4), pixels;
- moved: the equipment is now this bundle with its version and the SHA-256 of its weights; the scanner becomes
  contributing equipment (C.12.1.1.5, note 1), where the bundle is listed as well;
- removed: attributes about the source's pixels (extreme values, padding, icon, overlays, curves, signatures) or its
  creation (creation and content times, performed procedure step), and all private attributes, because only their
  vendor knows whether they still hold;
- character set: the source's; UTF-8 (ISO_IR 192) for all texts if that cannot hold the description.
"""

from __future__ import annotations

import copy
import hashlib
import re
from dataclasses import dataclass
from typing import Any

import pydicom
from bundle import __version__
from bundle.images.dicom_headers import values_of
from pydicom.charset import python_encoding
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import PYDICOM_IMPLEMENTATION_UID, UID, ExplicitVRLittleEndian, generate_uid

#: This bundle as equipment (C.7.5.1), by the names in `configs/metadata.json`.
MANUFACTURER, MODEL = "The authors of the CT kernel translation GAN bundle", "CT kernel translation GAN"

#: Attributes of equipment, both in its own module (C.7.5.1) and in items of the Contributing Equipment Sequence.
EQUIPMENT = re.compile(
    "Manufacturer(ModelName)?|Institution(Name|Address|alDepartment(Name|TypeCodeSequence))|StationName|DeviceUID"
    "|DeviceSerialNumber|UDISequence|SoftwareVersions|SpatialResolution|(Date|Time)OfLastCalibration"
)
#: The end of every derivation description.
CAUTION = ". Research only: not for clinical use."
#: Characters of a description (LO, PS3.5, 6.2), and the character set that holds every text (C.12.1.1.2).
LONGEST, UTF_8 = 64, "ISO_IR 192"
#: Attributes that hold only for the source's pixels or creation.
GONE = re.compile(
    "(Smallest|Largest).*PixelValue.*|PixelPadding.*|PlanarConfiguration"
    "|Instance(CreationDate|CreationTime|CreatorUID)|(Series|Content)(Date|Time)"
    "|SeriesDescriptionCodeSequence|(ReferencedPerformed|Performed|CommentsOnThePerformed)(Procedure|Protocol).*"
)
#: The same by group: icon and storage media, authorisation, signatures and encrypted originals, pixels, padding.
GONE_GROUPS = (0x0088, 0x0100, 0x0400, 0x4FFE, 0x7FE0, 0xFFFA, 0xFFFC)
#: Attributes that every image must have, possibly empty (type 2 in the modules of patient, study and image).
TYPE_2 = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyDate",
    "StudyTime",
    "StudyID",
    "AccessionNumber",
    "ReferringPhysicianName",
    "InstanceNumber",
)


@dataclass(frozen=True)
class Derivation:
    """How a derived image or series was made.

    Args:
        description: description of the result; the source's own series description follows it.
        number: series number; by default the source's plus 1000.
        weights: SHA-256 of the weights, 64 hexadecimal digits, or empty.
        version: version of this bundle.
        kernels: names of the kernels that a CT was converted between, added to the description; or empty.
        kernels_told: the same with their origin and uncertainty, for the derivation description.
        kernel: name of the target kernel, for Convolution Kernel if it fits into that attribute.
    """

    description: str = "Synthetic soft kernel"
    number: int | None = None
    weights: str = ""
    version: str = __version__
    kernels: str = ""
    kernels_told: str = ""
    kernel: str = ""

    def parts(self) -> tuple[Any, ...]:
        """Return the values that UIDs are derived from; those of kernels only if there are any."""
        kernels = (self.kernels, self.kernels_told, self.kernel)
        return (self.description, self.number, self.weights, self.version, *(kernels if any(kernels) else ()))


def series_number(header: Dataset, more: int) -> int:
    """Return the number of a series that is made from another: larger by ``more``, within an integer string (PS3.5)."""
    return min(int(header.get("SeriesNumber") or 0) + more, 2**31 - 1)


def derived_image(
    header: Dataset, pixels: bytes, derivation: Derivation, told: str = "", type_2: tuple[str, ...] = ()
) -> FileDataset:
    """Return the derived image of a source's header, still without pixels and in the series `UNNAMED`.

    Args:
        header: header of the source image.
        pixels: the pixels to be added, as they are stored; the image's UID depends on them.
        derivation: how they were made.
        told: addition to the derivation description.
        type_2: attributes that must be present, possibly empty, besides `TYPE_2`.
    """
    uid = uid_of(header.SOPInstanceUID, *derivation.parts(), hashlib.sha256(pixels).hexdigest())
    meta = FileMetaDataset()
    meta.FileMetaInformationGroupLength, meta.FileMetaInformationVersion = 0, b"\x00\x01"
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = header.SOPClassUID, uid
    meta.TransferSyntaxUID, meta.ImplementationClassUID = ExplicitVRLittleEndian, PYDICOM_IMPLEMENTATION_UID
    # the only way to create a file that works in both pydicom 2.4 and 3
    derived = FileDataset("", {}, file_meta=meta, preamble=bytes(128), is_implicit_VR=False, is_little_endian=True)
    if not _is_encodable(header, derivation.description):
        header.decode()
        header.SpecificCharacterSet = UTF_8
        header.walk(_set_utf_8)
    for element in header:
        if _holds(element):
            # the items of sequences are changed below; deep copies of all elements would take a quarter of the time
            derived.add(copy.deepcopy(element) if element.VR == "SQ" else copy.copy(element))
    # an unnamed body part may be a paired one
    sides = () if derived.get("BodyPartExamined") else ("Laterality",)
    for keyword in (*TYPE_2, *type_2, *sides):
        if keyword not in derived:
            setattr(derived, keyword, None)
    derived.SOPInstanceUID, derived.SeriesInstanceUID = uid, UNNAMED
    derived.SeriesNumber = series_number(header, 1000) if derivation.number is None else derivation.number
    kernels = f"({ascii_text(derivation.kernels)})".replace("\\", "/") if derivation.kernels else ""
    described = " ".join(filter(None, (derivation.description, kernels)))
    derived.SeriesDescription = ": ".join(filter(None, (described, header.get("SeriesDescription"))))[:64]
    derived.ImageType = ["DERIVED", "SECONDARY", *values_of(header, "ImageType")[2:]]
    _set_derivation(derived, header, derivation, told)
    _set_equipment(derived, header, derivation)
    derived.remove_private_tags()
    return derived


def check_description(text: str) -> str:
    """Return a description, for a Series Description.

    Raises:
        ValueError: If a DICOM header cannot hold it as one value.
    """
    if len(text) > LONGEST or not text.isprintable() or "\\" in text:
        raise ValueError(
            f"series_description {text!r} of {len(text)} characters is not printable text of at most {LONGEST} without "
            "backslashes; take another."
        )
    return text


def ascii_text(text: str) -> str:
    """Return a text in ASCII, which every DICOM character set contains; other characters become question marks."""
    return text.encode("ascii", "replace").decode()


def uid_of(*parts: Any) -> UID:
    """Return a UID derived from its parts, 64 characters long, below pydicom's root (PS3.5, section 9)."""
    return generate_uid(entropy_srcs=[str(part) for part in parts])


#: Placeholder for the Series Instance UID until the series has one of the same length.
UNNAMED = uid_of("unnamed")


def _holds(element: pydicom.DataElement) -> bool:
    """Return whether an element of the source still holds for a derived image."""
    group = element.tag.group
    drawn = 0x5000 <= group <= 0x50FF or 0x6000 <= group <= 0x60FF  # curves, overlays
    named = GONE.fullmatch(element.keyword) or EQUIPMENT.fullmatch(element.keyword)
    return not (named or drawn or group in GONE_GROUPS)


def _is_encodable(header: Dataset, text: str) -> bool:
    """Return whether a header's character set holds a text; of several sets, only ASCII is expected."""
    sets = values_of(header, "SpecificCharacterSet")
    codec = python_encoding.get(str(sets[0])) if len(sets) == 1 and sets[0] != "ISO_IR 6" else None
    try:
        text.encode(codec or "ascii")
    except (UnicodeError, LookupError):
        return False
    return True


def _set_utf_8(_: Dataset, element: pydicom.DataElement) -> None:
    """Set the character set of an item of a sequence that has its own."""
    if element.keyword == "SpecificCharacterSet":
        element.value = UTF_8


def _set_derivation(derived: Dataset, source: Dataset, derivation: Derivation, told: str) -> None:
    """Record the source image and how the result was made (C.7.6.1)."""
    made = ", ".join(filter(None, (derivation.description, f"by neural network ({MODEL} {derivation.version})")))
    text, end = "; ".join(filter(None, (made, told, ascii_text(derivation.kernels_told)))), CAUTION
    derived.DerivationDescription = text[: 1024 - len(end)] + end
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
    """Record this bundle as the equipment, and the source's equipment as a contributor (C.7.5.1, C.12.1.1.5)."""
    ours = {
        "Manufacturer": MANUFACTURER,
        "ManufacturerModelName": MODEL,
        # The hash fills the 64 characters that LO allows, so it must not be last: the last value may be padded.
        "SoftwareVersions": [text for text in (derivation.weights, derivation.version) if text],
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
            ContributionDescription="software versions: the SHA-256 of the weights, then the version of the bundle",
            PurposeOfReferenceCodeSequence=[processing],
        ),
    ]


def _set(dataset: Dataset, **values: Any) -> Dataset:
    """Set attributes of a data set, and return it."""
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    return dataset


def _code(value: str, meaning: str) -> Dataset:
    """Return a code of DICOM's own scheme (PS3.16, annex D)."""
    return _set(Dataset(), CodeValue=value, CodingSchemeDesignator="DCM", CodeMeaning=meaning)
