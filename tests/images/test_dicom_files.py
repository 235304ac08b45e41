"""DICOM files as they are met: old, cut, empty, padded, of wrong spacing; read rightly or refused by name."""

from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset, FileDataset
from pydicom.uid import RLELossless

from bundle.images import ImageError, find_images, open_image, series_files
from bundle.images.dicom_headers import is_dicom
from bundle.images.reader import load_image
from tests.dicom_series import CT, backwards, dataset, hounsfield, oblique, write_series
from tests.dicom_syntaxes import DEFLATED, encode
from tests.images.ways import both_ways, through
from tests.xray_files import levels, write_xray

SHAPE = (9, 8, 5)


def read(folder):
    """Voxels and affine of a derived series, by pydicom alone, in the order of its slices."""
    headers = sorted(map(pydicom.dcmread, folder.iterdir()), key=lambda ds: float(ds.ImagePositionPatient[2]))
    return np.stack([ds.pixel_array.T for ds in headers], -1), headers


# Place


@both_ways
@pytest.mark.parametrize("spacing", [-2.5, 2.5, 7.0, 0.0])
@pytest.mark.parametrize("affine", [None, oblique(), backwards()], ids=["straight", "oblique", "backwards"])
def test_positions_tell_the_place_and_nothing_else(tmp_path, streaming, spacing, affine):
    """Spacing Between Slices may be negative or wrong, and Slice Thickness is another thing."""

    def edit(header, **_):
        header.SpacingBetweenSlices, header.SliceThickness = spacing, 9

    volume = hounsfield(SHAPE)
    write_series(tmp_path / "plain", volume, affine)
    write_series(tmp_path / "ct", volume, affine, edit=edit)
    plain, image = load_image(tmp_path / "plain"), load_image(tmp_path / "ct")
    np.testing.assert_array_equal(image, plain)
    np.testing.assert_allclose(image.affine, plain.affine)
    made = load_image(through(tmp_path / "ct", tmp_path / "out", streaming, output_ext=".nii"))
    np.testing.assert_array_equal(made, plain)
    np.testing.assert_allclose(made.affine, plain.affine, atol=1e-4)
    derived = load_image(through(tmp_path / "ct", tmp_path / "out", streaming))
    np.testing.assert_array_equal(derived, plain)


# Whole


def stripped(file, implicit):
    """Write a file without preamble and meta header."""
    ds = pydicom.dcmread(file)
    if implicit:
        kept = {element.tag: element for element in ds}
        kind = {"file_meta": ds.file_meta, "preamble": bytes(128), "is_implicit_VR": True, "is_little_endian": True}
        ds.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2"
        FileDataset(file, kept, **kind).save_as(file)
    raw = Path(file).read_bytes()
    Path(file).write_bytes(raw[144 + int.from_bytes(raw[140:144], "little") :])


@both_ways
@pytest.mark.parametrize("implicit", [True, False])
def test_files_without_preamble_are_read(tmp_path, streaming, implicit):
    """All of a series, or some."""
    volume = hounsfield(SHAPE)
    files = write_series(tmp_path / "ct", volume)
    for file in files[1:]:
        stripped(file, implicit)
    assert series_files(tmp_path / "ct") == files
    assert find_images(tmp_path) == [str(tmp_path / "ct")]
    found, _ = read(through(tmp_path / "ct", tmp_path / "out", streaming))
    np.testing.assert_array_equal(found, volume)


def test_an_xray_without_preamble_is_read(tmp_path):
    path = write_xray(tmp_path / "IM1", levels(12))
    stripped(str(path), True)
    assert find_images(tmp_path) == [str(path)]
    np.testing.assert_array_equal(load_image(path), levels(12))


@both_ways
@pytest.mark.parametrize("size", [0, 1, 100, 131, 132, 150, 200, 385, 400, 700, -1, -30])
@pytest.mark.parametrize("place", [0, 2, -1])
@pytest.mark.parametrize("end", ["", ".dcm"])
def test_a_slice_that_is_cut_is_named(tmp_path, streaming, size, place, end):
    """Wherever it ends, also at the ends of the stack, where none would be missed; never a result of the others."""
    files = write_series(tmp_path / "ct", hounsfield(SHAPE))
    for file in files:
        (tmp_path / "ct" / file).rename(file + end)
    cut = tmp_path / "ct" / (files[place] + end)
    cut.write_bytes(cut.read_bytes()[:size])
    with pytest.raises((ImageError, RuntimeError)) as told:
        through(tmp_path / "ct", tmp_path / "out", streaming)
    cause = told.value
    while isinstance(cause, RuntimeError) and cause.__cause__:
        cause = cause.__cause__
    assert cut.name in str(cause) and ("cut short" in str(cause) or "is empty" in str(cause))
    assert not list((tmp_path / "out").glob("ct*"))


@pytest.mark.filterwarnings("ignore::UserWarning")  # pydicom's, of half a value
@pytest.mark.parametrize("place", [0, 2, -1])
@pytest.mark.parametrize("form", ["with preamble", "explicit", "implicit"])
def test_no_cut_is_overlooked(tmp_path, form, place):
    """Wherever it is, in steps so small that it meets every element, its length and its value."""
    files = write_series(tmp_path, hounsfield(SHAPE))
    for file in files if form != "with preamble" else ():
        stripped(file, form == "implicit")
    whole = Path(files[place]).read_bytes()
    for size in [*range(0, len(whole), 9), *range(132, 140), len(whole) - 1]:
        Path(files[place]).write_bytes(whole[:size])
        with pytest.raises(ImageError) as told:
            open_image(tmp_path).whole()
        assert files[place] in str(told.value)


@pytest.mark.parametrize("syntax", [RLELossless, DEFLATED])
def test_a_compressed_file_may_be_smaller_than_its_pixels(tmp_path, syntax):
    files = write_series(tmp_path, np.zeros((64, 64, 1), np.int16))
    encode(files[0], syntax)
    assert Path(files[0]).stat().st_size < 2 * 64 * 64
    assert not load_image(tmp_path).any()


def test_bytes_that_only_begin_like_dicom_are_none(tmp_path):
    (tmp_path / "data").write_bytes(b"\x08\0\x05\0SQ\0\0\xff\xff\xff\xff" + b"abcd" * 4)
    assert not is_dicom(tmp_path / "data")
    with pytest.raises(FileNotFoundError, match="holds no image"):
        find_images(tmp_path)


def test_a_file_of_other_bytes_is_named(tmp_path):
    """Such as zeros, of which a disk fills what it did not get to write."""
    files = write_series(tmp_path, hounsfield(SHAPE))
    Path(files[0]).write_bytes(bytes(1000))
    with pytest.raises(ImageError, match=rf"'{files[0]}' of 1000 bytes is cut short, or is not a DICOM file"):
        open_image(tmp_path)


@pytest.mark.parametrize("cut", [140, 385, 700])
@pytest.mark.parametrize("name", ["IM1", "a.dcm"])
def test_an_image_that_is_cut_is_no_other_file(tmp_path, cut, name):
    """It is an image that fails, and not one that is passed over."""
    whole = write_xray(tmp_path / name, levels(12))
    whole.write_bytes(whole.read_bytes()[:cut])
    write_xray(tmp_path / "IM2", levels(12))
    assert str(whole) in find_images(tmp_path)
    with pytest.raises(ImageError, match=name):
        load_image(whole)


def test_empty_files_in_a_folder_of_their_own_are_images_that_fail(tmp_path):
    write_series(tmp_path / "good", hounsfield(SHAPE))
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "a.dcm").touch()
    assert find_images(tmp_path) == [str(tmp_path / "empty" / "a.dcm"), str(tmp_path / "good")]
    with pytest.raises(ImageError, match=r"a\.dcm' is empty"):
        load_image(tmp_path / "empty" / "a.dcm")


def test_a_slice_that_was_not_fetched_is_named(tmp_path):
    file = write_series(tmp_path / "ct", hounsfield(SHAPE))[-1]
    (tmp_path / "ct" / file).unlink()
    (tmp_path / "ct" / file).symlink_to("/nowhere/annex")
    with pytest.raises(ImageError, match="is a link to a file that is not there; fetch it again"):
        open_image(tmp_path / "ct")


@pytest.mark.parametrize("name", ["README", "notes.txt", "preview.png", ".DS_Store", "._1_000"])
def test_other_files_beside_slices_are_none_of_them(tmp_path, name):
    files = write_series(tmp_path, hounsfield(SHAPE))
    (tmp_path / name).write_text("No slice." if name != ".DS_Store" else "")
    assert series_files(tmp_path) == files


@pytest.mark.parametrize("modality", ["CT", "MR"])
def test_several_frames_are_told_with_the_way_out(tmp_path, modality):
    """In any order and of any number of phases, in memory and streamed alike: the file is not opened."""
    ds = dataset(tmp_path / "enhanced.dcm", "1.2.3.5", kind=f"{CT}.1")
    ds.Modality, ds.NumberOfFrames, ds.Rows, ds.Columns = modality, 3, 8, 9
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 12, 11, 0
    ds.PixelData = bytes(9 * 8 * 3 * 2)
    ds.PerFrameFunctionalGroupsSequence = [Dataset()]
    ds.save_as(tmp_path / "enhanced.dcm")
    assert find_images(tmp_path) == [str(tmp_path / "enhanced.dcm")]
    with pytest.raises(
        ImageError, match=r"enhanced\.dcm' has 3 frames; a volume of several frames is not read: convert"
    ):
        open_image(tmp_path / "enhanced.dcm")


# Padding


@both_ways
@pytest.mark.parametrize("representation", ["US", "SS"])
def test_padding_below_zero_in_unsigned_pixels_stays_padding(tmp_path, streaming, representation):
    """63536 is -2000: -3024 HU, and not the brightest metal."""
    volume = hounsfield(SHAPE)

    def edit(header, **_):
        stored = np.frombuffer(header.PixelData, "<u2").copy()
        stored[:7] = 63536
        header.PixelData = stored.tobytes()
        header.BitsStored, header.HighBit = 16, 15
        header.add_new(0x00280120, representation, 63536 if representation == "US" else -2000)

    write_series(tmp_path / "ct", volume, edit=edit)
    expected = volume.copy()
    expected[:7, 0] = -3024
    np.testing.assert_array_equal(load_image(tmp_path / "ct"), expected)
    found, headers = read(through(tmp_path / "ct", tmp_path / "out", streaming))
    np.testing.assert_array_equal(found, expected)
    assert {int(ds.PixelPaddingValue) for ds in headers} == {-3024}


@pytest.mark.parametrize(("value", "signed", "hu"), [(0, False, -1024), (2, False, -1022), (-2000, True, -3024)])
def test_other_padding_is_what_it_says(tmp_path, value, signed, hu):
    def edit(header, **_):
        stored = np.frombuffer(header.PixelData, "<u2").copy().astype("<i2")
        stored[:7] = value
        header.PixelData, header.PixelRepresentation = stored.tobytes(), int(signed)
        header.BitsStored, header.HighBit = 16, 15
        header.add_new(0x00280120, "SS" if signed else "US", value)

    write_series(tmp_path, hounsfield(SHAPE), edit=edit)
    assert np.unique(load_image(tmp_path)[:7, 0]).tolist() == [hu]
