"""Small synthetic DICOM series for the tests, written as a CT scanner writes them: HU + 1024, one file a slice."""

import numpy as np
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

CT, SEGMENTATION = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.66.4"
INTERCEPT = -1024
SHAPE = (7, 6, 5)
SPACING = (0.7, 0.8, 2.5)


def oblique():
    """An affine whose axes are orthogonal, of different lengths, and along none of the patient's."""
    a, b = np.deg2rad((20, -35))
    about_x = [[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]]
    about_z = [[np.cos(b), -np.sin(b), 0], [np.sin(b), np.cos(b), 0], [0, 0, 1]]
    affine = np.eye(4)
    affine[:3, :3] = np.array(about_x) @ about_z @ np.diag(SPACING)
    affine[:3, 3] = -12.5, 30.25, 101
    return affine


def backwards():
    """The oblique affine with the slices in the opposite order: left-handed."""
    return oblique() @ np.diag([1, 1, -1, 1])


def hounsfield(shape=SHAPE):
    """Values of a CT, all different along every axis, `shape`."""
    return np.random.default_rng(1).integers(-1024, 3071, shape, dtype=np.int16)


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


def write_series(folder, volume, affine=None, series="1.2.3.4", description="synthetic", seed=0, skip=(), edit=None):
    """Write a volume `(x, y, z)` in HU as one file a slice; instance numbers and file names are shuffled.

    The affine is NIfTI's (right, front, head), its axes orthogonal. What `edit(header, z=z)` changes is written too.
    Returns the files in the order of their position along the affine's last axis.
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
        if edit:
            edit(ds, z=z)
        ds.save_as(path)
        files.append(str(path))
    return files


def write_segmentation(path, series="1.2.3.9"):
    """Write an object of the same folder that is not a slice: it has no position."""
    ds = dataset(path, series, kind=SEGMENTATION, description="segmentation")
    ds.Modality = "SEG"
    ds.save_as(path)
