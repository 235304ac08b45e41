"""Small synthetic DICOM series for the tests, written as a CT scanner writes them: HU + 1024, one file a slice."""

import numpy as np
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

CT, SEGMENTATION = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.66.4"
INTERCEPT = -1024


def dataset(path, series, kind=CT, description="synthetic"):
    """An object without voxels, to be filled and saved; works with pydicom 2.4 and 3."""
    meta = FileMetaDataset()
    meta.FileMetaInformationGroupLength, meta.FileMetaInformationVersion = 0, b"\x00\x01"
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = kind, generate_uid()
    meta.TransferSyntaxUID, meta.ImplementationClassUID = ExplicitVRLittleEndian, generate_uid()
    ds = FileDataset(str(path), {}, file_meta=meta, preamble=bytes(128), is_implicit_VR=False, is_little_endian=True)
    ds.SOPClassUID, ds.SOPInstanceUID = kind, meta.MediaStorageSOPInstanceUID
    ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.FrameOfReferenceUID = "1.2.3", series, "1.2.3.1"
    ds.Modality, ds.SeriesDescription, ds.PatientName, ds.PatientID = "CT", description, "Phantom^Small", "1"
    return ds


def write_series(folder, volume, affine=None, series="1.2.3.4", description="synthetic", seed=0, skip=()):
    """Write a volume `(x, y, z)` in HU as one file a slice; instance numbers and file names are shuffled.

    The affine is NIfTI's (right, front, head), its axes orthogonal. Returns the files in the order of their position.
    """
    folder.mkdir(parents=True, exist_ok=True)
    to_dicom = np.diag([-1.0, -1.0, 1.0, 1.0]) @ (np.eye(4) if affine is None else affine)  # DICOM: left, back, head
    spacing = np.linalg.norm(to_dicom[:3, :3], axis=0)
    x, y, _ = (to_dicom[:3, :3] / spacing).T
    names = np.random.default_rng(seed).permutation(volume.shape[2])
    files = []
    for z, name in enumerate(names):
        if z in skip:
            continue
        path = folder / f"{series[-1]}_{name:03d}"
        ds = dataset(path, series, description=description)
        ds.InstanceNumber = int(names[-1 - z]) + 1
        ds.ImagePositionPatient = [f"{p:.6f}" for p in to_dicom[:3] @ [0, 0, z, 1]]
        ds.ImageOrientationPatient = [f"{c:.9f}" for c in (*x, *y)]
        ds.PixelSpacing, ds.SliceThickness = [f"{spacing[1]:.6f}", f"{spacing[0]:.6f}"], f"{spacing[2]:.6f}"
        ds.RescaleIntercept, ds.RescaleSlope, ds.RescaleType = INTERCEPT, 1, "HU"
        ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
        ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 12, 11, 0
        ds.Columns, ds.Rows = volume.shape[:2]
        ds.PixelData = (volume[..., z].T - INTERCEPT).astype("<u2").tobytes()
        ds.save_as(path)
        files.append(str(path))
    return files


def write_segmentation(path, series="1.2.3.9"):
    """Write an object of the same folder that is no slice: it has no position."""
    ds = dataset(path, series, kind=SEGMENTATION, description="segmentation")
    ds.Modality = "SEG"
    ds.save_as(path)
