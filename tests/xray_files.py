"""Small synthetic X-rays for the tests, as radiography systems and scanners of film write them."""

import numpy as np
from PIL import Image
from pydicom.dataset import Dataset

from tests.dicom_series import dataset

CR, DX = "1.2.840.10008.5.1.4.1.1.1", "1.2.840.10008.5.1.4.1.1.1.1"
SIZE = (23, 18)


def levels(bits, size=SIZE):
    """Levels of a depth, the lowest and the highest among them, `(columns, rows)`."""
    drawn = np.random.default_rng(bits).integers(0, 2**bits, size, dtype=np.uint16)
    drawn[0, :2] = 0, 2**bits - 1
    return drawn.astype(np.uint8) if bits == 8 else drawn


def write_photo(path, image):
    """Write `(columns, rows)` as PNG, JPEG or TIFF."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.ascontiguousarray(image.T)).save(path)
    return path


def write_xray(path, image, bits=12, dark_is_high=False, signed=False, kind=CR, slope=None, intercept=None, edit=None):
    """Write `(columns, rows)`, from 0 as dark as air, as a CR or DX image, the header that of a poor one or edited."""
    path.parent.mkdir(parents=True, exist_ok=True)
    stored = image.T.astype(int)
    stored = 2**bits - 1 - stored if dark_is_high else stored
    stored = stored - 2 ** (bits - 1) * signed
    ds = dataset(path, "1.2.3.4", kind=kind, description="chest pa")
    del ds.FrameOfReferenceUID
    ds.Modality, ds.BodyPartExamined, ds.ImageType = "CR" if kind == CR else "DX", "CHEST", ["ORIGINAL", "PRIMARY"]
    ds.PixelSpacing, ds.SamplesPerPixel = ["0.15", "0.14"], 1
    ds.PhotometricInterpretation = f"MONOCHROME{1 if dark_is_high != ((slope or 1) < 0) else 2}"
    ds.Columns, ds.Rows = image.shape
    allocated = 8 if bits <= 8 else 16
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = allocated, bits, bits - 1, int(signed)
    if slope is not None:
        ds.RescaleSlope, ds.RescaleIntercept, ds.RescaleType = slope, intercept, "US"
    raw = stored.astype(f"<{'i' if signed else 'u'}{allocated // 8}").tobytes()
    ds.PixelData = raw + bytes(len(raw) % 2)
    if edit:
        edit(ds)
    ds.save_as(path)
    return path


def rich(ds):
    """What a system writes besides: some of it stays true of a derived image, some does not."""
    ds.Manufacturer, ds.StationName, ds.SoftwareVersions, ds.SeriesNumber = "ACME", "DX2", "A1", 3
    ds.StudyDate, ds.StudyTime, ds.StudyID, ds.AccessionNumber = "20240102", "101500", "7", "A7"
    ds.KVP, ds.ViewPosition, ds.PatientOrientation, ds.InstanceNumber = 120, "PA", ["L", "F"], 2
    ds.ContentDate, ds.ContentTime, ds.WindowCenter, ds.WindowWidth = "20240102", "101700", 2000, 3000
    lut = Dataset()
    lut.LUTDescriptor, lut.LUTExplanation, lut.LUTData = [2, 0, 16], "own", [0, 65535]
    lut["LUTDescriptor"].VR, lut["LUTData"].VR = "US", "US"
    ds.VOILUTSequence = [lut]
    ds.add_new(0x00280106, "US", 0)
    ds.add_new(0x00280107, "US", 4095)
    ds.add_new(0x00090010, "LO", "ACME")
    ds.add_new(0x00091001, "LO", "private")


def digital(ds):
    """What a DX image has to have besides."""
    rich(ds)
    ds.PresentationIntentType, ds.ImageLaterality, ds.DetectorType = "FOR PRESENTATION", "U", "DIRECT"
    ds.ImagerPixelSpacing = ["0.15", "0.14"]
    ds.PixelIntensityRelationship, ds.PixelIntensityRelationshipSign = "LOG", -1
    ds.RescaleSlope, ds.RescaleIntercept, ds.RescaleType = 1, 0, "US"
    ds.BurnedInAnnotation, ds.LossyImageCompression = "NO", "00"
    ds.PresentationLUTShape = "INVERSE" if ds.PhotometricInterpretation == "MONOCHROME1" else "IDENTITY"
    ds.ImageType = ["ORIGINAL", "PRIMARY", ""]
    region = Dataset()
    region.CodeValue, region.CodingSchemeDesignator, region.CodeMeaning = "51185008", "SCT", "Chest"
    ds.AnatomicRegionSequence, ds.AcquisitionContextSequence = [region], []
    ds.PatientOrientation = ["L", "F"]
