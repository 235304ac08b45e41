"""A scan is loaded, a result is pasted into it and saved as the scan came: values and grid stay."""

import errno
import hashlib

import nibabel
import numpy as np
import pydicom
import pytest
import torch
from monai.data import MetaTensor
from PIL import Image
from pydicom.uid import MRImageStorage

from bundle.images import nifti
from bundle.scanner import SHARP, SOFT, acquire
from bundle.transforms import (
    LoadImageOrSeriesd,
    MarkInsided,
    MatchKerneld,
    PasteIntoSourced,
    RoundAndCastd,
    SaveImageAsSourced,
)
from tests.dicom_series import hounsfield, write_series

SHAPE = (7, 6, 5)
#: Oblique: rotated, of different spacings, `(4, 4)`.
AFFINE = np.array([[0.56, -0.48, 0, -10], [0.42, 0.64, 0, 20.5], [0, 0, 2.5, -300], [0, 0, 0, 1]])


def extremes():
    """All that int16 can hold, `SHAPE`."""
    volume = np.random.default_rng(2).integers(-32768, 32767, SHAPE, dtype=np.int16, endpoint=True)
    volume[0, 0, :2] = -32768, 32767
    return volume


def load(path):
    """The image as `(1, *spatial)`, float32 as in inference."""
    image = LoadImageOrSeriesd("image", ensure_channel_first=True)({"image": str(path)})["image"]
    assert isinstance(image, MetaTensor)
    return image


def save(image, folder, **kwargs):
    """The one path that saving an image gives."""
    SaveImageAsSourced("pred", folder, **kwargs)({"pred": image})
    (path,) = folder.iterdir()
    return path


# Load and save


@pytest.mark.parametrize("end", [".nii", ".nii.gz", ".mha", ".nrrd"])
def test_round_trip_keeps_values_and_geometry(tmp_path, end):
    """Every format comes back in its own, with every int16 and the affine, which another library reads the same."""
    nibabel.Nifti1Image(extremes(), AFFINE).to_filename(tmp_path / "scan.nii")
    scan = load(tmp_path / "scan.nii")
    there = save(scan, tmp_path / "there", output_ext=end)
    image = load(there)
    back = save(image, tmp_path / "back")
    assert (there.name, back.name) == (f"scan_translated{end}", f"scan_translated_translated{end}")
    for path in (there, back):
        again = load(path)
        np.testing.assert_array_equal(again[0], extremes())
        np.testing.assert_allclose(again.affine, AFFINE, atol=1e-4)


def test_files_are_small_integers(tmp_path):
    """Voxels are written as int16, not as the float32 that they were computed in."""
    nibabel.Nifti1Image(extremes(), AFFINE).to_filename(tmp_path / "scan.nii")
    path = save(load(tmp_path / "scan.nii"), tmp_path / "out")
    assert nibabel.Nifti1Image.from_filename(path).get_data_dtype() == np.int16


@pytest.mark.parametrize(("name", "result"), [("a.png", "a_new.png"), ("a.jpg", "a_new.png"), ("a.jpeg", "a_new.png")])
def test_photos_come_back_without_loss(tmp_path, name, result):
    photo = np.random.default_rng(3).integers(0, 256, (6, 4), dtype=np.uint8)
    Image.fromarray(photo.T).save(tmp_path / name)
    image = load(tmp_path / name)
    path = save(image, tmp_path / "out", output_postfix="new", output_dtype=np.uint8)
    assert path.name == result
    np.testing.assert_array_equal(load(path), image)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, torch.int16, torch.uint16])
@pytest.mark.parametrize("highest", [255, 300, 32767])
def test_photos_never_wrap(tmp_path, dtype, highest):
    """A PNG holds 8 or 16 bits, as many as the values need, whatever type was asked for."""
    photo = np.random.default_rng(4).integers(0, highest, (6, 4), dtype=np.uint16, endpoint=True)
    photo[0, 0] = highest
    Image.fromarray(photo.T).save(tmp_path / "photo.png")
    path = save(load(tmp_path / "photo.png"), tmp_path / "out", output_dtype=dtype)
    np.testing.assert_array_equal(load(path)[0], photo)


@pytest.mark.parametrize("value", [-1.0, 65536.0])
def test_photos_refuse_what_they_cannot_hold(tmp_path, value):
    Image.new("L", (6, 4), 77).save(tmp_path / "photo.png")
    with pytest.raises(ValueError, match=r"\.png holds 0 to 65535.*output_ext"):
        save(load(tmp_path / "photo.png") * 0 + value, tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())


def test_a_ct_series_comes_back_as_one(tmp_path):
    """With the weights' hash, and described as was said."""
    volume = hounsfield(SHAPE)
    write_series(tmp_path / "series", volume, AFFINE)
    (tmp_path / "model.pt").write_bytes(b"weights")
    path = save(
        load(tmp_path / "series") - 10,
        tmp_path / "out",
        weights=tmp_path / "model.pt",
        series_description="Drawn by hand",
    )
    assert path.name == "series_translated"
    result = load(path)
    np.testing.assert_array_equal(result[0], volume - 10)
    np.testing.assert_allclose(result.affine, AFFINE, atol=1e-4)
    header = pydicom.dcmread(next(path.iterdir()))
    assert header.SoftwareVersions[0] == hashlib.sha256(b"weights").hexdigest()
    assert header.SeriesDescription == "Drawn by hand: synthetic"


@pytest.mark.parametrize("text", ["soft\\B30f", "two\nlines", "x" * 65])
def test_a_description_that_no_header_holds_is_refused(tmp_path, text):
    with pytest.raises(ValueError, match=r"series_description '.*' of \d+ characters is not printable text of at most"):
        SaveImageAsSourced("pred", tmp_path, series_description=text)


def test_texts_are_taken_as_typed(tmp_path):
    saving = SaveImageAsSourced("pred", tmp_path, series_description=2024, output_postfix=7)
    assert (saving.series_description, saving.output_postfix) == ("2024", "7")


def test_a_result_off_the_series_grid_is_refused(tmp_path):
    write_series(tmp_path / "series", hounsfield(), AFFINE)
    image = load(tmp_path / "series")
    image.affine = torch.eye(4)
    with pytest.raises(ValueError, match="off its source's"):
        save(image, tmp_path / "out")
    assert not list((tmp_path / "out").glob("*"))


def test_one_series_of_a_folder_is_loaded_and_comes_back(tmp_path):
    volume = hounsfield(SHAPE)
    write_series(tmp_path / "study", volume, AFFINE, series="1.2.3.4")
    write_series(tmp_path / "study", volume // 2, AFFINE, series="1.2.3.5", description="B80f")
    data = LoadImageOrSeriesd("image", "1.2.3.5", ensure_channel_first=True)({"image": str(tmp_path / "study")})
    path = save(data["image"], tmp_path / "out")
    np.testing.assert_array_equal(load(path)[0], volume // 2)
    assert pydicom.dcmread(next(path.iterdir())).SeriesDescription == "Synthetic soft kernel: B80f"


@pytest.mark.parametrize(
    ("kwargs", "edit"),
    [({"output_ext": ".nii.gz"}, None), ({}, lambda header, **_: setattr(header, "SOPClassUID", MRImageStorage))],
    ids=["asked for", "no CT"],
)
def test_a_dicom_folder_becomes_nifti(tmp_path, kwargs, edit):
    """Where that is asked for, and where it is not a CT."""
    volume = hounsfield(SHAPE)
    write_series(tmp_path / "series", volume, AFFINE, edit=edit)
    path = save(load(tmp_path / "series"), tmp_path / "out", **kwargs)
    assert path.name == "series_translated.nii.gz"
    result = nibabel.Nifti1Image.from_filename(path)
    np.testing.assert_array_equal(np.asanyarray(result.dataobj), volume)
    np.testing.assert_allclose(result.affine, AFFINE, atol=1e-4)


@pytest.mark.parametrize("end", ["", ".nii.gz"])
def test_folders_named_by_a_number_stay_apart(tmp_path, end):
    """Archives name folders by their UID: its last number is not a suffix."""
    for series in ("1.2.840.1", "1.2.840.2"):
        write_series(tmp_path / series, np.zeros((3, 3, 2), np.int16), series=series)
        SaveImageAsSourced("pred", tmp_path / "out", output_ext=end)({"pred": load(tmp_path / series)})
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {f"1.2.840.1_translated{end}", f"1.2.840.2_translated{end}"}


def test_upper_case_suffixes_are_taken_off(tmp_path):
    nibabel.Nifti1Image(extremes(), AFFINE).to_filename(tmp_path / "scan.nii.gz")
    image = load((tmp_path / "scan.nii.gz").rename(tmp_path / "SCAN.NII.GZ"))
    assert save(image, tmp_path / "out").name == "SCAN_translated.nii.gz"


def test_tiff_keeps_negative_values(tmp_path):
    image = MetaTensor(torch.tensor([[[-1000.0, 300, 2000], [1, 2, 3]]]), meta={"filename_or_obj": "slice.tif"})
    np.testing.assert_array_equal(load(save(image, tmp_path / "out")), image)


@pytest.mark.parametrize("end", [".mha", ".nii"])
def test_output_ext_overrides_the_source_s_format(tmp_path, end):
    nibabel.Nifti1Image(extremes(), AFFINE).to_filename(tmp_path / "scan.v1.nii.gz")
    path = save(load(tmp_path / "scan.v1.nii.gz"), tmp_path / "out", output_ext=end)
    assert path.name == f"scan.v1_translated{end}"
    np.testing.assert_array_equal(load(path)[0], extremes())


def test_a_failing_writer_leaves_nothing(tmp_path, monkeypatch):
    """Neither half a file under the result's name nor a temporary folder, and an older result stays."""

    def full_disk(_, shape, append):
        append(np.zeros((*shape[:-1], 1)))
        raise OSError(errno.ENOSPC, "No space left on device")

    nibabel.Nifti1Image(extremes(), AFFINE).to_filename(tmp_path / "scan.nii")
    image = load(tmp_path / "scan.nii")
    path = save(image, tmp_path / "out")
    before = path.read_bytes()
    monkeypatch.setattr(nifti, "in_order", full_disk)
    with pytest.raises(OSError, match=r"disk full: .*scan_translated\.nii' needs at least 420 bytes, and \d+"):
        save(image, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == [path]
    assert path.read_bytes() == before


# Paste


def paste(result, source, **more):
    """With a window of -10 to 10."""
    data: dict = {"pred": MetaTensor(result), "source": MetaTensor(source), **more}
    return PasteIntoSourced("pred", "source", low=-10, high=10)(data)["pred"]


def test_what_lies_beyond_the_window_comes_back():
    """Padding and metal, which the network saw clipped, keep their values."""
    source = torch.tensor([[[-30.0, -10, 0, 10, 50]]])
    result = torch.tensor([[[-9.0, -10, 1, 8, 10]]])
    assert paste(result, source).tolist() == [[[-30, -10, 1, 8, 50]]]
    assert paste(source.clamp(-10, 10), source).tolist() == source.tolist()


def test_outside_the_mask_the_source_stays():
    source = torch.tensor([[[-30.0, 1, 2, 3, 50]]])
    inside = torch.tensor([[[0.0, 0, 1, 1, 1]]])
    assert paste(source * 0, source, inside=inside).tolist() == [[[-30, 1, 0, 0, 50]]]


def test_paste_gives_the_source_s_metadata_and_leaves_the_source(spatial_dims):
    values = torch.full((1, *[4] * spatial_dims), 20.0)
    source = MetaTensor(values, affine=torch.diag(torch.tensor([2.0, 3, 4, 1])), meta={"filename_or_obj": "a.nii"})
    result = values * 0
    pasted = paste(result, source)
    assert pasted.meta["filename_or_obj"] == "a.nii"
    assert torch.equal(pasted.affine, source.affine)
    assert (source == 20).all()
    assert (result == 0).all()


def test_paste_refuses_another_grid(spatial_dims):
    source = torch.zeros(1, *[4] * spatial_dims)
    with pytest.raises(ValueError, match=r"pred of shape .*3.* is not on the grid of source, .*4"):
        paste(source[..., :3], source)


def test_mark_is_one_on_the_result_s_grid(spatial_dims):
    result = MetaTensor(torch.randn(1, *[4] * spatial_dims), affine=torch.diag(torch.tensor([2.0, 3, 4, 1])))
    out = MarkInsided("pred", "here")({"pred": result})
    assert out["pred"] is result
    assert out["here"].shape == result.shape
    assert torch.equal(out["here"].affine, result.affine)
    assert (out["here"] == 1).all()


# Round


def test_values_are_rounded_and_clipped_never_wrapped():
    image = MetaTensor(torch.tensor([[40000.0, -40000, -1.9, 1.4, 32767.4, -32768.4]]))
    cast = RoundAndCastd("pred", "int16")({"pred": image})["pred"]
    assert cast.dtype == torch.int16 and cast.tolist() == [[32767, -32768, -2, 1, 32767, -32768]]
    assert RoundAndCastd("pred", "uint8")({"pred": image})["pred"].tolist() == [[255, 0, 0, 1, 255, 0]]
    assert torch.equal(RoundAndCastd("pred", "float32")({"pred": image})["pred"], image)


def test_unknown_voxel_types_are_refused():
    with pytest.raises(ValueError, match="output_dtype 'short_int' is not a voxel type"):
        RoundAndCastd("pred", "short_int")


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_what_is_no_number_is_refused(value):
    with pytest.raises(ValueError, match="pred holds voxels that are not finite numbers"):
        RoundAndCastd("pred")({"pred": torch.tensor([[0.0, value]])})


def test_a_sharp_scan_is_matched_and_keeps_its_place():
    """Its noise becomes the soft one's; affine, metadata and what can be inverted stay."""
    image = torch.full((220, 220, 4), 40.0)
    soft, sharp = acquire(image, (0.7, 0.7, 2.0), (SOFT, SHARP))
    affine = torch.diag(torch.tensor([0.7, 0.7, 2.0, 1.0], dtype=torch.float64))
    scan = MetaTensor(
        sharp[None], affine=affine, meta={"filename_or_obj": "scan.nii.gz"}, applied_operations=[{"x": 1}]
    )
    out = MatchKerneld("image")({"image": scan})["image"]
    assert torch.equal(out.affine, affine) and out.meta["filename_or_obj"] == "scan.nii.gz"
    assert out.applied_operations == [{"x": 1}]
    assert out.std() == pytest.approx(float(soft.std()), rel=0.1) and scan.std() > 3 * soft.std()


def test_a_scan_whose_kernel_is_not_found_is_left_alone():
    lung = MetaTensor(torch.randn(1, 100, 100, 4) * 50 - 850)
    assert MatchKerneld("image")({"image": lung})["image"] is lung
