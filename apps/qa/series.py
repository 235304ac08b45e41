"""Write the slices of a simulated CT as DICOM files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

INTERCEPT = -1024


def write_slice(
    path: Path, values: np.ndarray, number: int, z: float, pixel: float, thickness: float, name: str
) -> None:
    """Write one axial slice, centred on the axis of the scanner; the same arguments give the same identifiers.

    Args:
        path: file to write.
        values: `(rows, columns)` in HU, from -1024 to 3071.
        number: number of the slice, from 0.
        z: position in mm.
        pixel: pixel size in mm.
        thickness: slice thickness in mm.
        name: name of the series, common to all of its slices.
    """
    uid = generate_uid(entropy_srcs=[name, str(number)])
    meta = FileMetaDataset()
    meta.FileMetaInformationGroupLength, meta.FileMetaInformationVersion = 0, b"\x00\x01"
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = CTImageStorage, uid
    meta.TransferSyntaxUID, meta.ImplementationClassUID = ExplicitVRLittleEndian, generate_uid(entropy_srcs=["apps.qa"])
    ds = FileDataset(str(path), {}, file_meta=meta, preamble=bytes(128), is_implicit_VR=False, is_little_endian=True)
    ds.SOPClassUID, ds.SOPInstanceUID = CTImageStorage, uid
    ds.ImageType, ds.Modality, ds.Manufacturer = ["ORIGINAL", "PRIMARY", "AXIAL"], "CT", "simulated"
    ds.StudyDate, ds.StudyTime, ds.AccessionNumber, ds.StudyID = "20260101", "000000", "", "1"
    ds.PatientName, ds.PatientID, ds.PatientBirthDate, ds.PatientSex = "Phantom^Simulated", "phantom", "", ""
    ds.ReferringPhysicianName, ds.SeriesNumber, ds.SeriesDescription = "", 1, name
    ds.StudyInstanceUID, ds.FrameOfReferenceUID = (generate_uid(entropy_srcs=[kind]) for kind in ("study", "frame"))
    ds.SeriesInstanceUID, ds.PositionReferenceIndicator = generate_uid(entropy_srcs=[name]), ""
    ds.KVP, ds.AcquisitionNumber, ds.InstanceNumber = "120", 1, number + 1
    rows, columns = values.shape
    ds.ImagePositionPatient = [f"{p:.4f}" for p in (-(columns - 1) / 2 * pixel, -(rows - 1) / 2 * pixel, z)]
    ds.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    ds.PixelSpacing, ds.SliceThickness = [f"{pixel:.6f}"] * 2, f"{thickness:.4f}"
    ds.RescaleIntercept, ds.RescaleSlope, ds.RescaleType = INTERCEPT, 1, "HU"
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 12, 11, 0
    ds.Rows, ds.Columns = rows, columns
    ds.PixelData = (values - INTERCEPT).astype("<u2").tobytes()
    ds.save_as(path)
