"""A good X-ray of which one value is made wrong: refused by file, value, rule and way out, and never read otherwise."""

import re

import numpy as np
import pydicom
import pytest

from bundle.images import ImageError, open_image
from tests.images.test_dicom_rules import pixels, raw, without
from tests.xray_files import levels, write_xray

#: pydicom's own words on such values
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

WRONG = {
    **{
        f"{keyword} {text}": (
            raw(keyword, f"{text}\\1"),
            rf"its {keyword} .* is wrong: it has to be .*2 finite|two lengths",
        )
        for keyword in ("PixelSpacing", "ImagerPixelSpacing")
        for text in ("nan", "x", "0", "-1", "0,7")
    },
    "one side": (raw("PixelSpacing", "0.7"), "its PixelSpacing 0.7 is wrong"),
    "no rows": (raw("Rows", 0), "holds no pixels"),
    "no columns": (raw("Columns", 0), "its Columns 0 is wrong"),
    "rows without end": (raw("Rows", 65535), "is cut short: it holds 828 of"),
    "one row less": (raw("Rows", 17), "holds 828 bytes of pixels; Rows 17"),
    "two numbers of rows": (raw("Rows", (18, 18)), "its Rows 18.18 is wrong"),
    "frames in words": (raw("NumberOfFrames", "x"), "has x frames; one is needed"),
    "no samples": (without("SamplesPerPixel"), "is stored as MONOCHROME2, None samples"),
    "two numbers of bits": (raw("BitsStored", (12, 12)), "2 to 16 of 8 or 16"),
    "no signs": (without("PixelRepresentation"), "its PixelRepresentation is missing"),
    "too few bits": (
        lambda ds: (raw("BitsStored", 9)(ds), raw("HighBit", 8)(ds)),
        "stores values up to 4095; BitsStored 9 has to be enough",
    ),
    "a slope in words": (raw("RescaleSlope", "x"), "its RescaleSlope x is wrong"),
    "a table of values": (
        lambda ds: setattr(ds, "ModalityLUTSequence", [pydicom.Dataset()]),
        "has a ModalityLUTSequence, a table of values, which is not applied",
    ),
    "no pixels": (without("PixelData"), "holds no pixels"),
    "two bytes more": (pixels(lambda data: data + b"ab"), "holds 830 bytes of pixels"),
    "two bytes less": (pixels(lambda data: data[:-2]), "is cut short: it holds 826 of 828"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_value_is_told(tmp_path, name):
    edit, message = WRONG[name]
    path = write_xray(tmp_path / "a.dcm", levels(12))
    header = pydicom.dcmread(path)
    if "Imager" in name:
        del header.PixelSpacing
    edit(header)
    header.save_as(path)
    with pytest.raises(ImageError, match=message) as told:
        open_image(path).whole()
    assert "a.dcm" in str(told.value) and re.search(r"[;:.] ?[^;:]*\.$", str(told.value))


def test_it_is_good_itself(tmp_path):
    found = open_image(write_xray(tmp_path / "a.dcm", levels(12)))
    np.testing.assert_array_equal(found.whole(), levels(12))


@pytest.mark.parametrize("modality", ["CR", "DX", "MG", "OT", "RF", ""])
def test_a_single_image_of_another_modality_is_read(tmp_path, modality):
    path = write_xray(tmp_path / "a.dcm", levels(12), edit=lambda ds: setattr(ds, "Modality", modality))
    np.testing.assert_array_equal(open_image(path).whole(), levels(12))


@pytest.mark.parametrize(
    ("modality", "told"), [("DX", "has 2 frames; one is needed: save the frame"), ("XA", "a volume of several frames")]
)
def test_two_frames_are_told(tmp_path, modality, told):
    def edit(ds):
        ds.Modality, ds.NumberOfFrames = modality, 2

    with pytest.raises(ImageError, match=told):
        open_image(write_xray(tmp_path / "a.dcm", levels(12), edit=edit))
