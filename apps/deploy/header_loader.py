"""Loader: the headers of a folder's DICOM files as the SDK's studies; the pixels stay on disk."""

from __future__ import annotations

import pydicom
from monai.deploy.core.domain.dicom_series import DICOMSeries
from monai.deploy.core.domain.dicom_study import DICOMStudy
from monai.deploy.operators import DICOMDataLoaderOperator

#: What a file has to name to be of a series.
UIDS = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID")


class HeaderLoaderOperator(DICOMDataLoaderOperator):
    """Load all DICOM files below a folder as studies of series, but neither their pixels nor a choice among them.

    The SDK's own holds every pixel of every series in memory. And of images at the same position it keeps one, so that
    two time points of one series would pass for a single one, and be mixed.

    Named output:
        dicom_study_list: `DICOMStudy` objects.
    """

    def _load_data(self, files: list[str]) -> list[DICOMStudy]:
        """The studies of the files that are DICOM objects of a series; others are left aside."""
        studies: dict[str, DICOMStudy] = {}
        series: dict[str, DICOMSeries] = {}
        for file in sorted(files):
            if not pydicom.misc.is_dicom(file):
                continue
            header = pydicom.dcmread(file, stop_before_pixels=True)
            if not all(header.get(uid) for uid in UIDS):
                continue
            header.filename = file  # older pydicom names a deflated file after its buffer
            study, one = str(header.StudyInstanceUID), str(header.SeriesInstanceUID)
            if study not in studies:
                studies[study] = DICOMStudy(study)
                self.populate_study_attributes(studies[study], header)
            if one not in series:
                series[one] = DICOMSeries(one)
                self.populate_series_attributes(series[one], header)
                studies[study].add_series(series[one])
            series[one].add_sop_instance(header)
        return list(studies.values())
