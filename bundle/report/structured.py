"""Write the lung densities as a DICOM structured report (PS3.16, TID 1500), by highdicom.

::

    Imaging Measurement Report
        observer: this bundle; procedure: CT
        Imaging Measurements
            group: right lung, source:  LAA -950 HU, Perc15, mean attenuation, volume; its slices
            group: right lung, result:  ...

Measurements have DICOM's code if there is one, and otherwise one of this bundle's coding scheme, `SCHEME`.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from bundle import __version__
from bundle.images import Volume
from bundle.images.derived.image import MANUFACTURER, MODEL, series_number, uid_of
from bundle.images.dicom_headers import read_header
from bundle.report.wording import CODES
from bundle.runtime.settings import check_highdicom
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes

try:
    from highdicom import sr
except ImportError:  # an optional dependency; `check_highdicom` tells how to install it
    sr = None

#: Coding scheme of measurements without a DICOM code; private schemes begin with 99 (PS3.16, section 8.2).
SCHEME = "99CTKTG"
OWN_CODES = {
    "laa950_percent": ("LAA950", "Low attenuation area below -950 HU"),
    "perc15_hu": ("PERC15", "15th percentile of attenuation"),
}
#: Attributes of a slice's header that a reference to the slice needs.
REFERENCE = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID", "Modality")
#: Attributes that tell when a file was written.
WRITTEN = ("InstanceCreationDate", "InstanceCreationTime", "SeriesDate", "SeriesTime", "ContributionDateTime")
#: The content's date and time if the study has none; DICOM requires them (PS3.3, C.17.2).
UNDATED = {"Date": "19000101", "Time": "000000"}
NUMBER = 1  # added to the series number of the result
WHEN = {"before": "source", "after": "result"}
# highdicom logs every module of a header that it copies
logging.getLogger("highdicom").setLevel(logging.WARNING)


def write_structured(path: Path, facts: Mapping[str, Any], source: Volume, result: Volume) -> None:
    """Write the report as a DICOM file in a new series of the result's patient and study.

    Args:
        path: file to write.
        facts: contents of the report with densities, see `bundle.report.facts.facts_of`.
        source: a DICOM series.
        result: the series that was derived from it.

    Raises:
        ValueError: If highdicom is missing.
    """
    check_highdicom()

    slices = {"before": headers_of(source), "after": headers_of(result)}
    first = read_header(result.image.files[0])
    parts = (first.SeriesInstanceUID, __version__, facts["densitometry"])
    slices["after"][0] = first  # the full header, for patient and study
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about unusual patient names, which warnings would print
        report = sr.Comprehensive3DSR(
            evidence=[*slices["after"], *slices["before"]],
            content=content_of(facts, slices, uid_of(*parts, "device"))[0],
            series_instance_uid=uid_of(*parts, "series"),
            series_number=series_number(first, NUMBER),
            sop_instance_uid=uid_of(*parts, "report"),
            instance_number=1,
            manufacturer=MANUFACTURER,
            is_complete=True,
            is_final=False,
            is_verified=False,
        )
    described = f"Lung densitometry: {first.get('SeriesDescription') or 'of a result'}"
    report.SeriesDescription = described[:64].rstrip()
    report.ManufacturerModelName, report.SoftwareVersions = MODEL, __version__
    report.CodingSchemeIdentificationSequence = [scheme()]
    _date(report, first)
    report.save_as(path, enforce_file_format=True)


def _date(report: Dataset, header: Dataset) -> None:
    """Date a report by its study, not by the time of writing: a UID never names two reports (PS3.5, section 9)."""
    for part in (report, *report.get("ContributingEquipmentSequence", ())):
        for keyword in WRITTEN:
            if keyword in part:
                del part[keyword]
    for keyword, usual in UNDATED.items():
        setattr(report, f"Content{keyword}", header.get(f"Study{keyword}") or usual)


def headers_of(image: Volume) -> list[Dataset]:
    """Return the headers of all slices, reduced to what references need."""
    return [read_header(file, REFERENCE) for file in image.image.files]


def content_of(facts: Mapping[str, Any], slices: Mapping[str, Sequence[Dataset]], device: str) -> Any:
    """Return the content of the report.

    Args:
        facts: contents of the report with densities.
        slices: headers of source (``before``) and result (``after``).
        device: UID of the observing device.
    """
    observer = sr.DeviceObserverIdentifyingAttributes(device, MODEL, MANUFACTURER, MODEL)
    return sr.MeasurementReport(
        observation_context=sr.ObservationContext(
            observer_device_context=sr.ObserverContext(codes.DCM.Device, observer)
        ),
        procedure_reported=sr.CodedConcept("77477000", "SCT", "Computed tomography"),
        imaging_measurements=list(groups(facts, slices)),
        title=codes.DCM.ImagingMeasurementReport,
    )


def groups(facts: Mapping[str, Any], slices: Mapping[str, Sequence[Dataset]]) -> Iterator[Any]:
    """Yield the measurement groups: each lung, and both together, in source and result."""
    lung = sr.CodedConcept("39607008", "SCT", "Lung")
    sides = {
        "right": sr.CodedConcept("24028007", "SCT", "Right"),
        "left": sr.CodedConcept("7771000", "SCT", "Left"),
        "both": sr.CodedConcept("51440002", "SCT", "Right and left"),
    }
    for side, laterality in sides.items():
        for when, name in WHEN.items():
            measures = facts["densitometry"][when][side]
            if measures["mean_hu"] is None:
                continue
            images = slices[when]
            label = f"{side} lung{'s' * (side == 'both')}, {name}"
            yield sr.MeasurementsAndQualitativeEvaluations(
                tracking_identifier=sr.TrackingIdentifier(
                    uid_of(images[0].SeriesInstanceUID, __version__, label), label
                ),
                finding_sites=[sr.FindingSite(lung, laterality)],
                algorithm_id=sr.AlgorithmIdentification("Densitometry of CT kernel translation GAN", __version__),
                measurements=list(measurements(measures)),
                source_images=[
                    sr.SourceImageForMeasurementGroup(each.SOPClassUID, each.SOPInstanceUID) for each in images
                ],
            )


def measurements(measures: Mapping[str, float]) -> Iterator[Any]:
    """Yield the measurements of a lung."""
    units: Any = codes.UCUM
    own = {key: sr.CodedConcept(value, SCHEME, meaning) for key, (value, meaning) in OWN_CODES.items()}
    mean = sr.CodedConcept("373098007", "SCT", "Mean")
    attenuation: Any = codes.DCM.AttenuationCoefficient
    yield sr.Measurement(own["laa950_percent"], measures["laa950_percent"], units.Percent)
    yield sr.Measurement(own["perc15_hu"], measures["perc15_hu"], units.HounsfieldUnit)
    yield sr.Measurement(attenuation, measures["mean_hu"], units.HounsfieldUnit, derivation=mean)
    yield sr.Measurement(sr.CodedConcept("118565006", "SCT", "Volume"), measures["volume_ml"], units.CubicCentimeter)


def scheme() -> Dataset:
    """Return the identification of the bundle's own coding scheme (PS3.3, C.12.1.1.4)."""
    item = Dataset()
    item.CodingSchemeDesignator, item.CodingSchemeName = SCHEME, CODES
    item.CodingSchemeResponsibleOrganization = MANUFACTURER
    return item
