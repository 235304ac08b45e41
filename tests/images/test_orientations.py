"""Every voxel stays at its place in the patient: all 48 ways in which axes run along the patient's, in every format.

The reference is a volume in RAS, of which each voxel has a value of its own; libraries of the formats write it with its
axes exchanged and turned, and read what the bundle wrote.
"""

import itertools

import itk
import nibabel
import numpy as np
import pydicom
import pytest

from bundle.images import Volume, create_image, held, open_image, slabs
from tests.dicom_series import SPACING as OBLIQUE_SPACING
from tests.dicom_series import oblique, write_series

SHAPE, SPACING, ORIGIN = (3, 4, 5), (0.5, 1.25, 2.0), (-12.5, 30.25, 101.0)
#: In HU, all different.
REFERENCE = np.arange(60, dtype=np.int16).reshape(SHAPE) * 30 - 1000
RAS = np.diag([*SPACING, 1.0])
RAS[:3, 3] = ORIGIN
TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
ENDS = [".nii", ".nii.gz", ".mgz", ".mha", ".nrrd", ""]
#: Each axis of a file: along which of the patient's, and whether against it.
TURNS = [
    tuple(zip(axes, signs, strict=True))
    for axes in itertools.permutations(range(3))
    for signs in itertools.product((1, -1), repeat=3)
]


def turned(turn):
    """The reference with its axes exchanged and turned, and its affine to RAS."""
    axes, signs = zip(*turn, strict=True)
    steps = np.zeros((4, 4))
    steps[3, 3] = 1
    for own, (axis, sign) in enumerate(turn):
        steps[axis, own] = sign
        steps[axis, 3] = 0 if sign > 0 else SHAPE[axis] - 1
    voxels = REFERENCE.transpose(axes)[tuple(slice(None, None, sign) for sign in signs)]
    return np.ascontiguousarray(voxels), RAS @ steps


def is_proper(turn):
    """Whether the axes are right-handed: turned, and not mirrored."""
    return np.linalg.det(turned(turn)[1][:3, :3]) > 0


def write(path, voxels, affine):
    """Write a file, or a folder of a series, by a library of the format."""
    if path.name.endswith((".nii", ".nii.gz")):
        nibabel.Nifti1Image(voxels, affine).to_filename(path)
    elif path.suffix == ".mgz":
        nibabel.MGHImage(voxels, affine).to_filename(path)
    elif not path.suffix:
        write_series(path, voxels, affine)
    else:
        image, lps = itk.image_from_array(np.ascontiguousarray(voxels.T)), TO_LPS @ affine
        spacing = np.linalg.norm(lps[:3, :3], axis=0)
        image.SetSpacing(spacing.tolist())
        image.SetOrigin(lps[:3, 3].tolist())
        image.SetDirection(itk.matrix_from_array(np.ascontiguousarray(lps[:3, :3] / spacing)))
        itk.imwrite(image, str(path))


def read(path):
    """Each voxel and its place to the right, front and head, by a library of the format."""
    if path.name.endswith((".nii", ".nii.gz", ".mgz")):
        image = nibabel.load(path)
        return places(np.asanyarray(image.dataobj), image.affine)
    if path.suffix:
        image = itk.imread(str(path))
        lps = np.eye(4)
        lps[:3, :3] = np.asarray(itk.array_from_matrix(image.GetDirection())) * np.asarray(image.GetSpacing())
        lps[:3, 3] = image.GetOrigin()
        return places(itk.array_from_image(image).T, TO_LPS @ lps)
    found = {}
    for file in path.iterdir():
        header, lps = pydicom.dcmread(file), np.eye(4)
        row, column = np.reshape(np.asarray(header.ImageOrientationPatient, float), (2, 3))
        down, right = header.PixelSpacing
        lps[:3] = np.stack([row * right, column * down, np.zeros(3), header.ImagePositionPatient], 1)
        hu = header.pixel_array.T.astype(int) * int(header.RescaleSlope) + int(header.RescaleIntercept)
        found |= places(hu[..., None], TO_LPS @ lps)
    return found


def places(voxels, affine):
    """Where each value lies, in mm, to a thousandth."""
    found = {}
    for index, value in np.ndenumerate(voxels):
        found[int(value)] = tuple((np.round((affine @ [*index, 1])[:3], 3) + 0.0).tolist())
    assert len(found) == voxels.size
    return found


EXPECTED = places(REFERENCE, RAS)


@pytest.mark.parametrize("turn", TURNS, ids=str)
def test_an_image_is_read_at_its_place_and_written_there(tmp_path, turn):
    """From each format, and to itself and others: every value, at its place, in the axes of the source.

    No series is mirrored, as its slices have no order but that of their places: where they would make it so, they are
    read in the opposite one.
    """
    voxels, affine = turned(turn)
    for end in ENDS:
        path = tmp_path / f"source{end}"
        write(path, voxels, affine)
        assert read(path) == EXPECTED
        image = open_image(path)
        whole = image.whole()
        assert places(whole, image.affine) == EXPECTED
        if end or is_proper(turn):
            np.testing.assert_array_equal(whole, voxels)
        else:
            np.testing.assert_array_equal(whole, voxels[..., ::-1])
        upright = Volume(image)
        np.testing.assert_array_equal(upright.slab(0, SHAPE[2]), REFERENCE)
        np.testing.assert_allclose(upright.affine, RAS, atol=1e-4)
        for other in ENDS if not end else (end, ".nii"):
            result = tmp_path / f"result_of{end.replace('.', '_')}{other}"
            with create_image(result, image, np.int16) as put:
                for z in (slice(0, 2), slice(2, whole.shape[2])):
                    put((slice(0, whole.shape[0]), slice(0, whole.shape[1]), z), whole[..., z])
            assert read(result) == EXPECTED
            np.testing.assert_array_equal(open_image(result).whole(), whole)


@pytest.mark.parametrize("turn", [TURNS[0], TURNS[19], TURNS[47]], ids=str)
def test_a_window_is_cut_out_of_the_patient(turn):
    """Inside of the image, and beyond its border, where the edge is repeated."""
    image = Volume(held(*turned(turn)))
    np.testing.assert_array_equal(image.window([(1, 3), (2, 4), (2, 5)]), REFERENCE[1:3, 2:4, 2:5])
    padded = np.pad(REFERENCE, 2, mode="edge")
    np.testing.assert_array_equal(image.window([(-1, 2), (2, 6), (4, 7)]), padded[1:4, 4:8, 6:9])
    np.testing.assert_array_equal(image[..., 1:3], REFERENCE[..., 1:3])
    np.testing.assert_array_equal(image[..., 3], REFERENCE[..., 3])


def test_an_oblique_volume_has_the_voxel_size_of_its_axes():
    assert Volume(held(REFERENCE, oblique())).spacing == pytest.approx(OBLIQUE_SPACING)


def test_slabs_end_with_the_volume():
    assert list(slabs(5, 2)) == [(0, 2), (2, 4), (4, 5)] and list(slabs(2, 8)) == [(0, 2)]


def test_half_of_the_ways_are_mirrored():
    assert len(set(TURNS)) == 48 and sum(map(is_proper, TURNS)) == 24


def test_of_the_test():
    """A volume whose affine is another's is not at its place."""
    voxels, affine = turned(TURNS[0])
    assert places(voxels, affine) == EXPECTED
    assert places(voxels[::-1], affine) != EXPECTED
    assert places(voxels, affine @ np.diag([1, 1, -1, 1])) != EXPECTED
