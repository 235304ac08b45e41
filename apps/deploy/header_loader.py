"""Load only the headers of a folder's DICOM files, as the SDK's studies; the pixels stay on disk."""

from __future__ import annotations

import pydicom
from monai.deploy.core.domain.dicom_series import DICOMSeries
from monai.deploy.core.domain.dicom_study import DICOMStudy
from monai.deploy.operators import DICOMDataLoaderOperator

#: Attributes that a file must have to belong to a series.
UIDS = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID")


class HeaderLoaderOperator(DICOMDataLoaderOperator):
    """Load all DICOM files below a folder as studies of series, without pixels and without dropping any file.

    The SDK's loader keeps all pixels of all series in memory. It also keeps only one of several images at the same
    position, so that two time points of a series would be mixed and pass for one.

    Named output:
        dicom_study_list: `DICOMStudy` objects.
    """

    def _load_data(self, files: list[str]) -> list[DICOMStudy]:
        """Return the studies of the files that are DICOM objects of a series; other files are skipped."""
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
