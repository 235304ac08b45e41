"""NIfTI of every kind gives its voxels in mm, and a result with the source's own header; in memory and streamed."""

import importlib
import struct

import itk
import nibabel
import numpy as np
import pytest

from bundle.images import ImageError, Volume, create_image, held, open_image, packed
from bundle.images.reader import load_image
from tests.images.ways import both_ways, through

SHAPE = (9, 8, 7)
AFFINE = np.array([[-0.8, 0, 0, 25], [0, 0.9, 0, -20], [0, 0, 2.5, -300], [0, 0, 0, 1]])


def voxels(shape=SHAPE):
    return np.random.default_rng(0).integers(-1000, 1000, shape, dtype=np.int16)


def written(path, data=None, affine=AFFINE, order="<", edit=None):
    header = nibabel.Nifti1Header(endianness=order)
    header.set_xyzt_units("mm", "sec")
    data = voxels() if data is None else data
    header.set_data_dtype(data.dtype.newbyteorder(order))
    image = nibabel.Nifti1Image(data, affine, header)
    if edit:
        edit(image)
    image.to_filename(path)
    return path


@pytest.mark.parametrize("end", [".nii.gz", ".mgz"])
@pytest.mark.parametrize("library", ["isal.igzip", "gzip"])
def test_a_packed_result_is_the_same_with_and_without_isal(tmp_path, monkeypatch, library, end):
    monkeypatch.setattr(packed, "GzipFile", importlib.import_module(library).GzipFile)
    path, source, made = tmp_path / f"result{end}", held(voxels(), AFFINE, tmp_path / "a.nii"), []
    for _ in range(2):
        with create_image(path, source, np.int16) as write:
            for z in range(SHAPE[2]):
                write((slice(0, 9), slice(0, 8), slice(z, z + 1)), source[:, :, z : z + 1])
        assert np.array_equal(open_image(path).whole(), voxels())
        made.append(path.read_bytes())
        path.unlink()
    assert made[0] == made[1] and b"result" not in made[0]


@both_ways
def test_the_display_window_of_the_source_is_not_kept(tmp_path, streaming):
    """A result has other values; 0 and 0 stand for none."""

    def edit(image):
        image.header["cal_min"], image.header["cal_max"] = -200, 300

    made = nibabel.load(through(written(tmp_path / "a.nii", edit=edit), tmp_path / "out", streaming))
    assert (made.header["cal_min"], made.header["cal_max"]) == (0, 0)


def test_a_bad_qform_does_not_hide_a_good_sform(tmp_path):
    path = written(tmp_path / "a.nii")
    header = bytearray(path.read_bytes())
    header[252:254] = struct.pack("<h", 1)  # qform_code
    header[256:268] = struct.pack("<3f", 1, 1, 1)  # the quaternion: no rotation
    path.write_bytes(header)
    np.testing.assert_allclose(open_image(path).affine, AFFINE, atol=1e-5)
    for streaming in (False, True):  # a result keeps the header
        made = open_image(through(path, tmp_path / "out", streaming))
        np.testing.assert_allclose(made.affine, AFFINE, atol=1e-5)


def test_a_file_that_is_cut_short_is_told_by_its_bytes(tmp_path):
    path = written(tmp_path / "a.nii")
    whole = path.read_bytes()
    open_image(path)
    for missing in (1, 100, 2 * 9 * 8 * 7):
        path.write_bytes(whole[:-missing])
        with pytest.raises(ImageError, match=rf"a\.nii' is cut short: it has {len(whole) - missing} of {len(whole)} b"):
            open_image(path)


def test_an_axis_longer_than_the_first_version_can_tell_takes_the_second(tmp_path):
    for side, kind in ((32767, nibabel.Nifti1Image), (32768, nibabel.Nifti2Image)):
        long = held(np.zeros((side, 1, 1), np.int16), np.eye(4))
        with create_image(tmp_path / f"{side}.nii", long, np.int16) as write:
            write((slice(0, side), slice(0, 1), slice(0, 1)), long.whole())
        assert type(nibabel.load(tmp_path / f"{side}.nii")) is kind


@both_ways
@pytest.mark.parametrize("end", [".nii", ".nii.gz"])
def test_big_endian(tmp_path, streaming, end):
    made = nibabel.load(through(written(tmp_path / f"a{end}", order=">"), tmp_path / "out", streaming))
    np.testing.assert_array_equal(made.dataobj, voxels())
    np.testing.assert_allclose(made.affine, AFFINE, atol=1e-5)


@both_ways
@pytest.mark.parametrize("order", ["<", ">"])
def test_extensions_are_kept(tmp_path, streaming, order):
    def extended(image):
        image.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", b"history " * 8))
        image.header.extensions.append(nibabel.nifti1.Nifti1Extension("afni", b"<AFNI/>"))

    made = nibabel.load(
        through(written(tmp_path / "a.nii.gz", order=order, edit=extended), tmp_path / "out", streaming)
    )
    assert [one.get_code() for one in made.header.extensions] == [6, 4]
    assert made.header.extensions[0].get_content().rstrip(b"\0") == b"history " * 8
    np.testing.assert_array_equal(made.dataobj, voxels())


@both_ways
@pytest.mark.parametrize(("unit", "factor"), [("micron", 1e-3), ("meter", 1e3), ("mm", 1), ("unknown", 1)])
def test_units_of_space(tmp_path, streaming, unit, factor):
    """The network sees mm; the result has the source's unit, and lies where ITK, which knows units, sees the source."""
    scaled = np.diag([1 / factor] * 3 + [1]) @ AFFINE
    path = written(tmp_path / "a.nii", affine=scaled, edit=lambda image: image.header.set_xyzt_units(unit, "sec"))
    assert open_image(path).units == unit
    assert open_image(path).spacing == pytest.approx((0.8, 0.9, 2.5), rel=1e-5)
    np.testing.assert_allclose(load_image(path).affine, AFFINE, atol=1e-3)
    made = through(path, tmp_path / "out", streaming)
    assert nibabel.load(made).header.get_xyzt_units() == (unit, "sec")
    images = [itk.imread(str(one)) for one in (path, made)]
    np.testing.assert_array_equal(*([*image.GetSpacing(), *image.GetOrigin()] for image in images))


def zeros(image, sform, qform):
    """Codes as they are given, and matrices of zeros where they are negative, with a code above zero all the same."""
    header = image.header
    header["sform_code"], header["qform_code"] = abs(sform), abs(qform)
    if sform <= 0:
        for row in ("srow_x", "srow_y", "srow_z"):
            header[row] = 0
    if qform <= 0:
        header["quatern_b"] = header["quatern_c"] = header["quatern_d"] = header["qoffset_x"] = 0


@both_ways
@pytest.mark.parametrize(("sform", "qform"), [(0, 0), (0, 2), (2, 0), (-1, 2), (-1, 0)])
def test_transforms_of_zeros(tmp_path, streaming, sform, qform):
    """The first transform that is one counts, and the result has the codes and matrices of the source."""
    path = tmp_path / "a.nii"
    written(path)
    image = nibabel.load(path)
    header = image.header.copy()
    header.set_qform(AFFINE, 1)
    holder = nibabel.Nifti1Image(voxels(), None, header)
    zeros(holder, sform, qform)
    raw = holder.header.binaryblock + b"\0" * 4 + voxels().tobytes(order="F")
    path.write_bytes(raw)
    found = open_image(path)
    assert found.spacing == pytest.approx((0.8, 0.9, 2.5), rel=1e-5)
    if sform > 0 or qform > 0:
        np.testing.assert_allclose(found.affine, AFFINE, atol=1e-4)
    made = nibabel.load(through(path, tmp_path / "out", streaming)).header
    for name in ("sform_code", "qform_code", "srow_x", "srow_z", "quatern_b", "qoffset_x", "pixdim"):
        np.testing.assert_array_equal(made[name], holder.header[name])


def test_no_voxel_size_is_told(tmp_path):
    path = written(tmp_path / "a.nii")
    header = nibabel.load(path).header.copy()
    header["sform_code"] = header["qform_code"] = 0
    header["pixdim"][1:4] = np.nan
    path.write_bytes(header.binaryblock + b"\0" * 4 + voxels().tobytes(order="F"))
    with pytest.raises(ImageError, match=r"a\.nii' names no voxel size"):
        open_image(path)


@both_ways
@pytest.mark.parametrize("shape", [(9, 8, 1), (1, 8, 7), (9, 1, 1)])
def test_axes_of_one_voxel_stay(tmp_path, streaming, shape):
    """And the place along them."""
    path = written(tmp_path / "a.nii.gz", voxels(shape))
    made = nibabel.load(through(path, tmp_path / "out", streaming))
    assert made.shape == shape
    np.testing.assert_allclose(made.affine, AFFINE, atol=1e-5)
    np.testing.assert_array_equal(made.dataobj, voxels(shape))


@both_ways
def test_an_axis_of_one_voxel_stays_in_2d(tmp_path, streaming):
    path = written(tmp_path / "a.nii.gz", voxels((9, 8, 1)))
    made = nibabel.load(through(path, tmp_path / "out", streaming, dims=2))
    assert made.shape == (9, 8, 1)
    np.testing.assert_array_equal(made.dataobj, voxels((9, 8, 1)))


@both_ways
def test_one_time_point_of_four_axes(tmp_path, streaming):
    path = written(tmp_path / "a.nii", voxels((*SHAPE, 1)))
    made = nibabel.load(through(path, tmp_path / "out", streaming))
    assert made.shape == SHAPE
    np.testing.assert_array_equal(made.dataobj, voxels((*SHAPE, 1))[..., 0])
    assert Volume(path).shape == SHAPE


@pytest.mark.parametrize(
    ("data", "rule"),
    [
        (voxels((*SHAPE, 2)), r"has the shape \(9, 8, 7, 2\); one channel and one time point are needed"),
        (np.zeros(SHAPE, np.complex64), "no single number each"),
        (np.zeros(SHAPE, [("R", "u1"), ("G", "u1"), ("B", "u1")]), "no single number each"),
    ],
    ids=["time", "complex", "colour"],
)
def test_what_is_not_one_channel_is_told(tmp_path, data, rule):
    nibabel.Nifti1Image(data, AFFINE).to_filename(tmp_path / "a.nii")
    with pytest.raises(ImageError, match=rf"a\.nii' .*{rule}"):
        open_image(tmp_path / "a.nii")


@both_ways
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e300])
def test_what_is_no_number_is_told_before_the_work(tmp_path, streaming, value):
    data = voxels().astype(np.float64)
    data[-1, -1, -1] = value
    path = written(tmp_path / "a.nii.gz", data)
    with pytest.raises((ImageError, RuntimeError)) as told:
        through(path, tmp_path / "out", streaming)
    cause = told.value
    while cause.__cause__:
        cause = cause.__cause__
    assert "a.nii.gz' holds voxels that are not finite numbers" in str(cause)
    assert not list((tmp_path / "out").glob("a*"))


@pytest.mark.parametrize("end", [".nii", ".nii.gz"])
@pytest.mark.parametrize("share", [0, 0.01, 0.5, 0.97])
def test_a_file_that_is_cut_is_named(tmp_path, end, share):
    path = written(tmp_path / f"a{end}")
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(ImageError, match=rf"image '.*a{end}' (is empty|is cut short|cannot be read; it is cut short)"):
        load_image(path)
