r"""Derived image: a source image's header, changed where it would no longer be true, around new pixels.

What becomes of the header (DICOM PS3.3), whatever the kind of image; `ct` and `xray` say what is theirs:

- kept: patient, study, frame of reference, position, orientation, spacing, acquisition (kV, dose, contrast, times), VOI
  window, instance number, and whether the image ever was lossily compressed;
- new: the UIDs of series and image, the series' number and description, Image Type (DERIVED\SECONDARY, C.7.6.1.1.2),
  derivation and source image (C.7.6.1.1.3 and 4), pixels;
- moved: the equipment is now this bundle with its version and the SHA-256 of its weights; the scanner becomes
  contributing equipment (C.12.1.1.5, note 1), beside the bundle once more;
- gone: what speaks of the source's own pixels (extreme values, padding, icon, overlays, curves, signatures), of its
  making (creation and content times, performed procedure step), and every private attribute, because only its vendor
  knows whether it still holds.
"""

from __future__ import annotations

import copy
import hashlib
import re
from dataclasses import dataclass
from typing import Any

import pydicom
from bundle import __version__
from monai.utils import ensure_tuple
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import PYDICOM_IMPLEMENTATION_UID, UID, ExplicitVRLittleEndian, generate_uid

#: This bundle as equipment (C.7.5.1), by the names in `configs/metadata.json`.
MANUFACTURER, MODEL = "The authors of the CT kernel translation GAN bundle", "CT kernel translation GAN"

#: What describes equipment, in its own module (C.7.5.1) and in an item of the Contributing Equipment Sequence alike.
EQUIPMENT = re.compile(
    "Manufacturer(ModelName)?|Institution(Name|Address|alDepartment(Name|TypeCodeSequence))|StationName|DeviceUID"
    "|DeviceSerialNumber|UDISequence|SoftwareVersions|SpatialResolution|(Date|Time)OfLastCalibration"
)
#: How every derivation description ends.
CAUTION = ". Research only: not for clinical use."
#: What holds for the source's pixels or for its making, and not for what is derived from it.
GONE = re.compile(
    "(Smallest|Largest).*PixelValue.*|PixelPadding.*|PlanarConfiguration"
    "|Instance(CreationDate|CreationTime|CreatorUID)|(Series|Content)(Date|Time)"
    "|SeriesDescriptionCodeSequence|(ReferencedPerformed|Performed|CommentsOnThePerformed)(Procedure|Protocol).*"
)
#: The same by group: icon and storage media, authorisation, signatures and encrypted originals, pixels, padding.
GONE_GROUPS = (0x0088, 0x0100, 0x0400, 0x4FFE, 0x7FE0, 0xFFFA, 0xFFFC)
#: What every image has to have, if empty (type 2 in the modules of patient, study and image).
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
    """What made a derived series.

    Args:
        description: what it is; the source's own series description follows.
        number: series number; by default the source's plus 1000.
        weights: SHA-256 of the weights, 64 hexadecimal digits, or nothing.
        version: of this bundle.
        kernels: names of the kernels that a CT was converted between, which follow the description; or nothing.
        kernels_told: the same with where they are from and how sure they are, for the derivation description.
        kernel: the one that was reached, for Convolution Kernel, if it has a name that the attribute can hold.
    """

    description: str = "Synthetic soft kernel"
    number: int | None = None
    weights: str = ""
    version: str = __version__
    kernels: str = ""
    kernels_told: str = ""
    kernel: str = ""

    def parts(self) -> tuple[Any, ...]:
        """Return what UIDs follow from; without kernels nothing is added for them."""
        kernels = (self.kernels, self.kernels_told, self.kernel)
        return (self.description, self.number, self.weights, self.version, *(kernels if any(kernels) else ()))


def derived_image(
    header: Dataset, pixels: bytes, derivation: Derivation, told: str = "", type_2: tuple[str, ...] = ()
) -> FileDataset:
    """The image that a source's header makes around new pixels, which it has not got yet, in a series `UNNAMED` yet.

    Args:
        header: of the source image.
        pixels: what its pixels are to be, as they are stored; the image's UID follows from them.
        derivation: what made them.
        told: what the derivation description tells besides.
        type_2: what has to be there, if empty, besides `TYPE_2`.
    """
    uid = uid_of(header.SOPInstanceUID, *derivation.parts(), hashlib.sha256(pixels).hexdigest())
    meta = FileMetaDataset()
    meta.FileMetaInformationGroupLength, meta.FileMetaInformationVersion = 0, b"\x00\x01"
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = header.SOPClassUID, uid
    meta.TransferSyntaxUID, meta.ImplementationClassUID = ExplicitVRLittleEndian, PYDICOM_IMPLEMENTATION_UID
    # the one way that pydicom 2.4 and 3 share to make a file
    derived = FileDataset("", {}, file_meta=meta, preamble=bytes(128), is_implicit_VR=False, is_little_endian=True)
    for element in header:
        if _holds(element):
            # a sequence's items are changed below; copying each number as deep takes a quarter of the time
            derived.add(copy.deepcopy(element) if element.VR == "SQ" else copy.copy(element))
    # a body part that is not named may be one of two
    sides = () if derived.get("BodyPartExamined") else ("Laterality",)
    for keyword in (*TYPE_2, *type_2, *sides):
        if keyword not in derived:
            setattr(derived, keyword, None)
    derived.SOPInstanceUID, derived.SeriesInstanceUID = uid, UNNAMED
    number = int(header.get("SeriesNumber") or 0) + 1000
    derived.SeriesNumber = number if derivation.number is None else derivation.number
    kernels = f" ({ascii_text(derivation.kernels)})" if derivation.kernels else ""
    described = derivation.description + kernels.replace("\\", "/")
    derived.SeriesDescription = ": ".join(filter(None, (described, header.get("SeriesDescription"))))[:64]
    derived.ImageType = ["DERIVED", "SECONDARY", *ensure_tuple(header.get("ImageType") or ())[2:]]
    _set_derivation(derived, header, derivation, told)
    _set_equipment(derived, header, derivation)
    derived.remove_private_tags()
    return derived


def ascii_text(text: str) -> str:
    """Return a text in the characters that every character set of DICOM has; a question mark stands for others."""
    return text.encode("ascii", "replace").decode()


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


def _set_derivation(derived: Dataset, source: Dataset, derivation: Derivation, told: str) -> None:
    """Say of what image and how it was made (C.7.6.1)."""
    made = f"{derivation.description}, by neural network ({MODEL} {derivation.version})"
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
    """Name this bundle as the equipment, and the source's equipment as a contributor (C.7.5.1, C.12.1.1.5)."""
    ours = {
        "Manufacturer": MANUFACTURER,
        "ManufacturerModelName": MODEL,
        # The hash, of the 64 characters that LO allows, is not the last: a space may be added to that.
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
    """Set the attributes of a data set, and return it."""
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    return dataset


def _code(value: str, meaning: str) -> Dataset:
    """A code of DICOM's own scheme (PS3.16, annex D)."""
    return _set(Dataset(), CodeValue=value, CodingSchemeDesignator="DCM", CodeMeaning=meaning)
