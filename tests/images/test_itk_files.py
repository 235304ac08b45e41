"""MetaImage and NRRD: written in parts as ITK writes them, and what ITK cannot read told in one line."""

import bz2

import itk
import numpy as np
import pytest

from bundle.images import ImageError, create_image, held, open_image
from tests.dicom_series import backwards, hounsfield, oblique
from tests.images.ways import both_ways, through

SHAPE = (9, 8, 7)
TYPES = ["uint8", "uint16", "int16", "uint32", "int32", "float32", "float64"]
NRRD = "NRRD0004\ntype: int16\nendian: little\nspace: left-posterior-superior\n"


@pytest.mark.parametrize("end", [".mha", ".nrrd"])
@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("affine", [oblique(), backwards()], ids=["oblique", "backwards"])
def test_itk_reads_what_is_written(tmp_path, end, dtype, affine):
    """Voxels, type and place."""
    voxels = np.random.default_rng(0).integers(0, 100, SHAPE).astype(dtype)
    with create_image(tmp_path / f"a{end}", held(voxels, affine), dtype) as write:
        for part in (slice(0, 3), slice(3, 7)):
            write((slice(0, 9), slice(0, 8), part), voxels[..., part])
    found = itk.imread(str(tmp_path / f"a{end}"))
    array = itk.array_from_image(found)
    assert array.dtype == dtype
    np.testing.assert_array_equal(array.T, voxels)
    direction = np.asarray(itk.array_from_matrix(found.GetDirection())) * np.asarray(found.GetSpacing())
    np.testing.assert_allclose(np.diag([-1, -1, 1]) @ direction, affine[:3, :3], atol=1e-12)
    np.testing.assert_allclose(np.diag([-1, -1, 1]) @ np.asarray(found.GetOrigin()), affine[:3, 3], atol=1e-12)
    np.testing.assert_allclose(open_image(tmp_path / f"a{end}").affine, affine, atol=1e-9)


@pytest.mark.parametrize("end", [".mha", ".nrrd"])
def test_a_part_is_read_from_its_place(tmp_path, end):
    voxels = hounsfield(SHAPE)
    itk.imwrite(itk.image_from_array(np.ascontiguousarray(voxels.T)), str(tmp_path / f"a{end}"))
    image = open_image(tmp_path / f"a{end}")
    np.testing.assert_array_equal(image[5:8, 2:4, 6:7], voxels[5:8, 2:4, 6:7])
    np.testing.assert_array_equal(image[0:2, 3:8, 1:4], voxels[0:2, 3:8, 1:4])


@pytest.mark.parametrize("end", [".mha", ".nrrd"])
def test_images_of_two_axes_are_written_for_itk(tmp_path, end):
    voxels = hounsfield(SHAPE)[..., 0]
    with create_image(tmp_path / f"a{end}", held(voxels, np.diag([0.5, 2.0, 1.0, 1.0])), np.int16) as write:
        write((slice(0, 9), slice(0, 8)), voxels)
    found = itk.imread(str(tmp_path / f"a{end}"))
    np.testing.assert_array_equal(itk.array_from_image(found).T, voxels)
    np.testing.assert_allclose(np.asarray(found.GetSpacing()), [0.5, 2.0])


@both_ways
@pytest.mark.parametrize("end", [".mha", ".nrrd"])
@pytest.mark.parametrize("shape", [(9, 8, 1), (1, 8, 7)])
def test_axes_of_one_voxel_stay(tmp_path, streaming, end, shape):
    voxels = hounsfield(shape)
    with create_image(tmp_path / f"a{end}", held(voxels, oblique()), np.int16) as write:
        write(tuple(slice(0, side) for side in shape), voxels)
    made = open_image(through(tmp_path / f"a{end}", tmp_path / "out", streaming))
    assert made.shape == shape
    np.testing.assert_array_equal(made.whole(), voxels)
    np.testing.assert_allclose(made.affine, oblique(), atol=1e-6)


def test_bzip2_is_told_in_one_line(tmp_path):
    text = f"{NRRD}dimension: 3\nsizes: 9 8 7\nencoding: bzip2\n\n"
    (tmp_path / "a.nrrd").write_bytes(text.encode() + bz2.compress(hounsfield(SHAPE).tobytes("F")))
    with pytest.raises(ImageError, match=r"^image '.*a\.nrrd' has the encoding 'bzip2'; .*: save it so\.$"):
        open_image(tmp_path / "a.nrrd")


@pytest.mark.parametrize("kind", ["list", "vector", "RGB-color", "time"])
@pytest.mark.parametrize("first", [True, False])
def test_an_axis_that_is_none_of_space_is_told_in_one_line(tmp_path, kind, first):
    sizes, kinds = (f"1 9 8 7\nkinds: {kind}", "domain") if first else ("9 8 7 1\nkinds: domain", kind)
    text = f"{NRRD}dimension: 4\nsizes: {sizes} domain domain {kinds}\nencoding: raw\n\n"
    (tmp_path / "a.nrrd").write_bytes(text.encode() + hounsfield(SHAPE).tobytes("F"))
    with pytest.raises(ImageError, match=rf"^image '.*a\.nrrd' has an axis of the kind '{kind.lower()}'.*axis\.$"):
        open_image(tmp_path / "a.nrrd")


@pytest.mark.parametrize("end", [".mha", ".nrrd"])
@pytest.mark.parametrize("share", [0, 0.02, 0.5, 0.98])
def test_a_file_that_is_cut_is_named(tmp_path, end, share):
    with create_image(tmp_path / f"a{end}", held(hounsfield(SHAPE), oblique()), np.int16) as write:
        write(tuple(slice(0, side) for side in SHAPE), hounsfield(SHAPE))
    whole = (tmp_path / f"a{end}").read_bytes()
    (tmp_path / f"a{end}").write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(ImageError, match=rf"a{end}' (is empty|.*cut short)"):
        open_image(tmp_path / f"a{end}").whole()
