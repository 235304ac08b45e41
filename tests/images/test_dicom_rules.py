"""A good series of which one value is made wrong: read rightly, or refused by file, value, rule and way out."""

import re

import numpy as np
import pydicom
import pytest
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import Tag
from pydicom.uid import CTImageStorage

from bundle.images import find_images, open_image
from bundle.images.derived import check_source
from bundle.images.dicom_headers import is_wrapped, name_of, padding_in_hu
from bundle.images.reader import load_image
from bundle.runtime.errors import cause_of, last_line
from tests.dicom_series import hounsfield, write_series
from tests.images.ways import through
from tests.processes import ran

#: pydicom's own words on such values
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

SHAPE = (9, 8, 5)
#: Which slices of five are made wrong: the first, one between, the last, all.
PLACES = [(0,), (2,), (4,), (0, 1, 2, 3, 4)]


def raw(keyword, value, vr=None):
    """What sets an attribute to bytes, or to text or whole numbers as bytes, whatever they mean."""
    tag, kind = Tag(tag_for_keyword(keyword)), vr or dictionary_VR(keyword).split()[0]
    if isinstance(value, (int, tuple)):
        value = np.array(value, "<u2").tobytes()
    value = value.encode() if isinstance(value, str) else value
    value += b" " * (len(value) % 2)

    def edit(header):
        header._dict[tag] = RawDataElement(tag, kind, len(value), value, 0, False, True)

    return edit


def without(*keywords):
    """What removes attributes."""

    def edit(header):
        for keyword in keywords:
            delattr(header, keyword)

    return edit


def pixels(change):
    """What changes the bytes of the pixels."""

    def edit(header):
        header.PixelData = change(header.PixelData)

    return edit


#: What makes a series wrong, and what is said of it; each line ends with a way out.
WRONG = {
    # place
    **{
        f"{keyword} {name}": (raw(keyword, "\\".join([text, *["1"] * (count - 1)])), rf"its {keyword} .*{count} finite")
        for keyword, count in (("ImagePositionPatient", 3), ("ImageOrientationPatient", 6), ("PixelSpacing", 2))
        for name, text in (("nan", "nan"), ("infinite", "inf"), ("words", "a b"), ("with a comma", "0,7"), ("part", ""))
    },
    **{
        f"{keyword} {name}": (raw(keyword, "\\".join(["1"] * many)), rf"its {keyword} 1.* is wrong.*{count} finite")
        for keyword, count in (("ImagePositionPatient", 3), ("ImageOrientationPatient", 6), ("PixelSpacing", 2))
        for name, many in (("short", count - 1), ("long", count + 1))
    },
    **{
        f"{keyword} {name}": (edit, rf"has no {keyword}")
        for keyword in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "Rows", "Columns")
        for name, edit in (("missing", without(keyword)), ("empty", raw(keyword, "")))
    },
    "orientation of zeros": (raw("ImageOrientationPatient", "0\\0\\0\\0\\0\\0"), "ImageOrientationPatient 0.*length 1"),
    "parallel rows": (raw("ImageOrientationPatient", "1\\0\\0\\1\\0\\0"), "ImageOrientationPatient 1.*right angle"),
    "skew rows": (raw("ImageOrientationPatient", "1\\0\\0\\0.6\\0.8\\0"), "ImageOrientationPatient 1.*right angle"),
    "long cosines": (raw("ImageOrientationPatient", "2\\0\\0\\0\\2\\0"), "ImageOrientationPatient 2.*length 1"),
    "pixels of no size": (raw("PixelSpacing", "0\\0"), r"PixelSpacing 0.*\\0.* is wrong.*two lengths above 0 mm"),
    "pixels turned over": (raw("PixelSpacing", "-0.8\\0.7"), r"PixelSpacing -0\.8.* is wrong.*above 0 mm"),
    "pixels without end": (raw("PixelSpacing", "1e300\\1e300"), "PixelSpacing 1e.*up to 1000000"),
    # size
    "no rows": (raw("Rows", 0), "has no Rows"),
    "no columns": (raw("Columns", 0), "has no Columns"),
    "rows without end": (raw("Rows", 65535), "cut short: it has .* bytes, and its pixels alone take 1179630"),
    "columns without end": (raw("Columns", 65535), "cut short"),
    "one row less": (raw("Rows", 7), r"differ in shape|holds 144 bytes of pixels; Rows 7, Columns 9 .* make 126"),
    "one column less": (raw("Columns", 8), r"differ in shape|holds 144 bytes of pixels; Rows 8, Columns 8"),
    "two numbers of rows": (raw("Rows", (8, 8)), r"its Rows 8.8 is wrong: it has to be a whole number from 1"),
    "rows in words": (raw("Rows", "x", "DS"), "its Rows x is wrong"),
    "rows of an unknown kind": (raw("Rows", 8, "ZZ"), "its Rows cannot be read"),
    "half a number of rows": (raw("Rows", b"\x08\x00\x08"), "its Rows cannot be read|its Rows 8"),
    "two frames": (raw("NumberOfFrames", "2"), "has 2 frames"),
    "frames below zero": (raw("NumberOfFrames", "-1"), "has -1 frames"),
    "frames in words": (raw("NumberOfFrames", "x"), "has x frames"),
    # stored values
    **{
        f"{bits} bits allocated": (raw("BitsAllocated", bits), rf"its BitsAllocated {bits} is wrong: .* 8 or 16 or 32")
        for bits in (0, 1, 7, 12, 64, 65535)
    },
    "8 bits allocated for 12": (raw("BitsAllocated", 8), "its BitsStored 12 is wrong: it has to be 2 to 8"),
    "32 bits allocated for 16": (raw("BitsAllocated", 32), "is cut short: it holds 144 of 288 bytes|has .* bytes, and"),
    **{f"{bits} bits stored": (raw("BitsStored", bits), f"its BitsStored {bits} is wrong") for bits in (0, 1, 17, 255)},
    "too few bits stored": (
        lambda ds: (raw("BitsStored", 9)(ds), raw("HighBit", 8)(ds)),
        r"stores values up to \d+; BitsStored 9 has to be enough",
    ),
    "another high bit": (raw("HighBit", 15), "its HighBit 15 is wrong: it has to be 11"),
    "signs of a third kind": (raw("PixelRepresentation", 2), "its PixelRepresentation 2 is wrong"),
    "three samples": (raw("SamplesPerPixel", 3), "its SamplesPerPixel 3 is wrong: it has to be 1"),
    "colour": (raw("PhotometricInterpretation", "RGB"), "its PhotometricInterpretation RGB is wrong"),
    "a palette": (raw("PhotometricInterpretation", "PALETTE COLOR"), "PALETTE COLOR is wrong"),
    **{
        f"{keyword} missing": (without(keyword), rf"its {keyword} is missing: it has to be")
        for keyword in (
            *("BitsAllocated", "BitsStored", "PixelRepresentation", "SamplesPerPixel", "PhotometricInterpretation"),
            *("RescaleSlope", "RescaleIntercept"),
        )
    },
    # pixels
    "no pixels": (without("PixelData"), "holds no pixels, or is cut short before their end"),
    "pixels of no bytes": (pixels(lambda data: data[:0]), "holds no pixels"),
    "two bytes less": (pixels(lambda data: data[:-2]), "is cut short: it holds 142 of 144 bytes of its pixels"),
    "half the pixels": (pixels(lambda data: data[:72]), "is cut short: it holds 72 of 144 bytes"),
    "two bytes more": (pixels(lambda data: data + b"ab"), "holds 146 bytes of pixels; Rows 8, Columns 9"),
    "twice the pixels": (pixels(lambda data: data * 2), "holds 288 bytes of pixels"),
    # units
    "a slope of zero": (raw("RescaleSlope", "0"), "its RescaleSlope 0.* is wrong: it has to be another number than 0"),
    **{
        f"{keyword} {text}": (raw(keyword, text), rf"its {keyword} .*is wrong: it has to be a finite number")
        for keyword in ("RescaleSlope", "RescaleIntercept")
        for text in ("nan", "inf", "x", "1,5", "1\\1", "1e300")
    },
    "an empty slope": (raw("RescaleSlope", ""), "its RescaleSlope is missing"),
    "an empty intercept": (raw("RescaleIntercept", ""), "its RescaleIntercept is missing"),
    "unsigned without rescaling": (without("RescaleSlope", "RescaleIntercept"), "unsigned pixels cannot be told in HU"),
    "a table": (lambda ds: setattr(ds, "ModalityLUTSequence", [Dataset()]), "its ModalityLUTSequence"),
    "two paddings": (raw("PixelPaddingValue", (1, 2)), "its PixelPaddingValue 1.2 is wrong: it has to be one whole"),
    "padding in words": (raw("PixelPaddingValue", "ab", "LO"), "its PixelPaddingValue ab is wrong"),
    "half a padding": (raw("PixelPaddingValue", b"\x01\0\1", "US"), "its PixelPaddingValue"),
    # names
    "no name": (without("SOPInstanceUID"), "is cut short within its header"),
    "no study": (without("StudyInstanceUID"), "has no StudyInstanceUID; no derived series can be made of it"),
    "a number in words": (raw("SeriesNumber", "x"), "has a header that cannot be written again"),
    "a tag of an unknown kind": (raw("StationName", "ab", "ZZ"), "has a header that cannot be written again"),
}

#: What may be met and does not matter: the result is right.
RIGHT = {
    "two kernels": raw("ConvolutionKernel", "I31f\\3"),
    "a long kernel": raw("ConvolutionKernel", "x" * 40),
    "no kernel": raw("ConvolutionKernel", ""),
    "no frames": raw("NumberOfFrames", ""),
    "no modality": without("Modality"),
    "no high bit": without("HighBit"),
    "dark is high": raw("PhotometricInterpretation", "MONOCHROME1"),
    "no padding": raw("PixelPaddingValue", ""),
    "thickness in words": raw("SliceThickness", "x"),
    "an unknown character set": raw("SpecificCharacterSet", "ISO_IR 999"),
    "a name in another": raw("PatientName", b"M\xfcller"),
    "a day that is none": raw("StudyDate", "20241399"),
    "an instance in words": raw("InstanceNumber", "x"),
}


def write(folder, edit, places=PLACES[-1]):
    """Write a series, and some of its slices anew; what was read from a file is not looked at again by pydicom."""
    files = write_series(folder, hounsfield(SHAPE))
    for place in places:
        header = pydicom.dcmread(files[place])
        edit(header)
        header.save_as(files[place])
    return files


def told(path, out, streaming):
    """The last line of a run that fails, without its folder."""
    with pytest.raises((ValueError, RuntimeError)) as caught:
        through(path, out, streaming)
    assert isinstance(cause_of(caught.value), ValueError)
    assert not list(out.glob("ct*"))
    return last_line(caught.value).replace(str(out), "")


def opened(path):
    """The same of reading alone, to where work would begin."""
    with pytest.raises(ValueError) as caught:
        image = open_image(path)
        image.whole()
        check_source(image.files)
    return last_line(caught.value)


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_value_is_told(tmp_path, name):
    """In any slice; never a result of the others. In memory and streamed alike, in one of these places."""
    edit, message = WRONG[name]
    for index, places in enumerate(PLACES):
        folder = tmp_path / str(index) / "ct"
        files = write(folder, edit, places)
        line = opened(folder)
        assert re.search(message, line) and "\n" not in line and re.search(r"[;:.] ?[^;:]*\.$", line)
        assert "differ in shape" in line or any(files[place] in line for place in places)
        if index == [*WRONG].index(name) % len(PLACES):
            assert [told(folder, tmp_path / way, way == "streamed") for way in ("memory", "streamed")] == [line] * 2


@pytest.mark.parametrize("name", RIGHT)
def test_what_does_not_matter_is_read(tmp_path, name):
    for places, streaming in ((PLACES[0], True), (PLACES[1], False), (PLACES[2], True), (PLACES[3], False)):
        folder = tmp_path / str(len(places)) / str(places[0]) / "ct"
        write(folder, RIGHT[name], places)
        made = load_image(through(folder, tmp_path / "out", streaming))
        np.testing.assert_array_equal(made, hounsfield(SHAPE))


def test_padding_is_in_the_units_of_the_source():
    """Slope and intercept are 1 and 0 where they are missing."""
    header = Dataset()
    header.PixelRepresentation, header.PixelPaddingValue, header.PixelPaddingRangeLimit = 1, -2000, -1900
    assert padding_in_hu(header) == [-2000, -1900]
    header.RescaleIntercept = -24
    assert padding_in_hu(header) == [-2024, -1924]
    header.RescaleSlope = 2
    assert padding_in_hu(header) == [-4024, -3824]
    del header.RescaleIntercept
    assert padding_in_hu(header) == [-4000, -3800]


def test_padding_that_no_16_bits_hold_once_rescaled_is_a_negative_number():
    header = Dataset()
    header.PixelRepresentation, header.PixelPaddingValue = 0, 40000
    assert is_wrapped(header) and padding_in_hu(header) == [40000 - 65536]
    header.RescaleIntercept = -10000
    assert not is_wrapped(header) and padding_in_hu(header) == [30000]
    header.PixelPaddingValue = 32767
    header.RescaleIntercept = 1
    assert not is_wrapped(header)


def test_a_file_is_called_by_its_modality_or_class():
    header = Dataset()
    assert name_of(header) == "unknown"
    header.SOPClassUID = CTImageStorage
    assert name_of(header) == "CT Image Storage"
    header.Modality = "CT"
    assert name_of(header) == "CT"


@pytest.mark.parametrize("name", ["ImagePositionPatient missing", "PixelSpacing missing", "no rows"])
def test_a_folder_of_broken_slices_is_an_image_that_fails(tmp_path, name):
    """And not one that is passed over."""
    write(tmp_path / "ct", WRONG[name][0])
    write_series(tmp_path / "good", hounsfield(SHAPE))
    found = find_images(tmp_path)
    assert str(tmp_path / "good") in found and len(found) > 1
    for path in found:
        if "good" not in path:
            with pytest.raises(ValueError, match="ct"):
                load_image(path)


@pytest.mark.slow
@pytest.mark.parametrize("streaming", [True, False])
def test_a_run_ends_in_one_line_and_status_1(tmp_path, streaming):
    """A slice that is empty is not one of twenty, but the end; of a value that is wrong nothing is said besides."""
    for name, edit in (("empty", None), ("nan", raw("ImagePositionPatient", "nan\\1\\1"))):
        files = write(tmp_path / name, edit or without(), (0,))
        (tmp_path / name / files[0]).write_bytes((tmp_path / name / files[0]).read_bytes() if edit else b"")
        command = ["-m", "monai.bundle", "run", "inference", "--config_file", "configs/inference.json"]
        command += ["--dataset_dir", str(tmp_path / name), "--output_dir", str(tmp_path / "out")]
        done = ran(*command, "--streaming", str(streaming))
        last = done.stderr.splitlines()[-1]
        assert done.returncode == 1 and not list((tmp_path / "out").glob("*"))
        assert last.startswith("error: DICOM f") and files[0] in last and last.endswith(".")
        assert ("is empty" if name == "empty" else "its ImagePositionPatient nan") in last


# Names


@pytest.mark.parametrize("edit", [without("SeriesInstanceUID"), raw("SeriesInstanceUID", "")])
@pytest.mark.parametrize("series_uid", ["", "1.2.3.4"])
def test_a_slice_without_a_series_is_told(tmp_path, edit, series_uid):
    """Also if the others' series is asked for: it may be one of them. If none has one, they are a series."""
    (file, *_) = write(tmp_path / "one", edit, (0,))
    with pytest.raises(ValueError, match=rf"'{file}' has no SeriesInstanceUID, and others have one.*fetch"):
        open_image(tmp_path / "one", series_uid)
    write(tmp_path / "all", edit)
    np.testing.assert_array_equal(load_image(tmp_path / "all"), hounsfield(SHAPE))


@pytest.mark.parametrize("keyword", ["SOPInstanceUID", "StudyInstanceUID"])
def test_no_derived_series_of_slices_with_wrong_names(tmp_path, keyword):
    """Two of one name would take each other's place in an archive. Other formats do not mind."""
    write(tmp_path / "ct", raw(keyword, "1.2.3.4.5.6"), (1, 3))
    assert f"has the {keyword} 1.2.3.4.5.6" in told(tmp_path / "ct", tmp_path / "out", False)
    made = load_image(through(tmp_path / "ct", tmp_path / "out", False, output_ext=".nii"))
    np.testing.assert_array_equal(made, hounsfield(SHAPE))


# One slice


@pytest.mark.parametrize("keyword", ["SliceThickness", "SpacingBetweenSlices"])
@pytest.mark.parametrize("text", ["nan", "x", "inf"])
def test_a_single_slice_needs_a_thickness_that_is_a_number(tmp_path, keyword, text):
    def edit(header, **_):
        header.SliceThickness = ""
        raw(keyword, text)(header)

    write_series(tmp_path, hounsfield((9, 8, 1)), edit=edit)
    with pytest.raises(ValueError, match=f"its {keyword} {text} is wrong: it has to be a finite number"):
        open_image(tmp_path)
