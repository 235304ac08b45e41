"""One image: its windows and parts, what is none, and slabs in their order. Cases at the borders of each rule."""

import numpy as np
import pytest

from bundle.images import ImageError, held
from bundle.images.image import Opened, in_order, millimetres, named, one_channel, upright

VOXELS = np.arange(60, dtype=np.int16).reshape(5, 4, 3)
AFFINE = np.array([[0, -2.0, 0, 10], [3, 0, 0, 20], [0, 0, 4, 30], [0, 0, 0, 1]])
MOST = float(np.finfo(np.float32).max)


def test_a_part_of_a_part_lies_at_its_place():
    image = held(VOXELS, AFFINE)
    assert image.spacing == (3, 2, 4)
    part = image.part((slice(1, 5), slice(0, 4), slice(1, 3)))
    inner = part.part((slice(2, 3), slice(1, 3), slice(0, 2)))
    assert (part.shape, inner.shape) == ((4, 4, 2), (1, 2, 2))
    np.testing.assert_array_equal(inner.whole(), VOXELS[3:4, 1:3, 1:3])
    np.testing.assert_array_equal(inner.affine[:, 3], AFFINE @ (3, 1, 1, 1))
    np.testing.assert_array_equal(image.affine, AFFINE)
    flat = held(VOXELS[..., 0], AFFINE).part((slice(1, 2), slice(3, 4)))
    np.testing.assert_array_equal(flat.affine[:, 3], AFFINE @ (1, 3, 0, 1))
    assert flat.spacing == (3, 2)


def test_a_window_is_cut_at_the_border_and_may_be_empty():
    image = held(VOXELS.astype(">i2"), AFFINE)
    found = image[2:99, 0:4, 0:1]
    np.testing.assert_array_equal(found, VOXELS[2:, :, :1])
    assert found.dtype == np.dtype("int16") and found.dtype.isnative
    empty = image[3:3, 0:4, 2:1]
    assert (empty.shape, empty.dtype.isnative) == ((0, 4, 0), True)


@pytest.mark.parametrize(
    ("values", "allowed"),
    [
        ((-MOST, MOST), True),
        ((-np.nextafter(MOST, np.inf), 0), False),
        ((0, np.nextafter(MOST, np.inf)), False),
        ((0, np.inf), False),
        ((-np.inf, 0), False),
        ((0, np.nan), False),
    ],
)
def test_numbers_are_those_of_32_bits(values, allowed):
    image = held(np.array([values], np.float64), np.eye(4), "scan.nii")
    if allowed:
        assert image.whole().tolist() == [list(values)]
        return
    with pytest.raises(ImageError, match=r"image 'scan\.nii' holds voxels that are not finite numbers"):
        image.whole()


def test_axes_of_one_voxel_are_left_out():
    image = held(VOXELS[..., :1], AFFINE, "scan.nii")
    assert image.of_dims(3) is image and image.of_dims(2).shape == (5, 4)
    np.testing.assert_array_equal(image.of_dims(2)[1:3, 2:4], VOXELS[1:3, 2:4, 0])
    for wrong, dims in ((VOXELS, 2), (VOXELS[..., 0], 3)):
        with pytest.raises(ImageError, match=rf"'scan\.nii' has the shape .*; {dims} axes of one channel"):
            held(wrong, AFFINE, "scan.nii").of_dims(dims)


@pytest.mark.parametrize(
    ("shape", "kept"),
    [((5, 4), (5, 4)), ((5, 4, 3), (5, 4, 3)), ((5, 4, 3, 1), (5, 4, 3)), ((5, 4, 3, 1, 1), (5, 4, 3))],
)
def test_the_first_three_axes_are_kept(shape, kept):
    assert one_channel("scan.nii", shape, np.dtype("u1")) == kept


@pytest.mark.parametrize("shape", [(), (5,), (5, 4, 3, 2), (5, 4, 3, 1, 2)])
def test_more_channels_or_fewer_axes_are_refused(shape):
    with pytest.raises(ImageError, match="one channel and one time point are needed"):
        one_channel("scan.nii", shape, np.dtype("u1"))


@pytest.mark.parametrize("kind", ["c8", "S3", "M8[s]", [("red", "u1"), ("green", "u1")]])
def test_voxels_that_are_no_single_numbers_are_refused(kind):
    with pytest.raises(ImageError, match="no single number each"):
        one_channel("scan.nii", (5, 4, 3), np.dtype(kind))


@pytest.mark.parametrize("shape", [(0, 4, 3), (5, 4, -1)])
def test_an_image_without_voxels_is_refused(shape):
    with pytest.raises(ImageError, match="has no voxels: its shape is"):
        upright(Opened("scan.nii", shape, AFFINE, VOXELS.dtype, VOXELS.__getitem__))


@pytest.mark.parametrize(("place", "value"), [((0, 3), np.nan), ((3, 3), np.inf), ((2, 2), 0.0)])
def test_a_place_has_to_be_one(place, value):
    affine = AFFINE.copy()
    affine[place] = value
    assert upright(held(VOXELS, AFFINE)).shape == (5, 4, 3)
    for wrong in (affine, AFFINE[:3]):
        with pytest.raises(ImageError, match="is invalid: it needs"):
            upright(held(VOXELS, wrong, "scan.nii"))


def test_slabs_come_one_behind_the_other(tmp_path):
    def slab(start, stop, **more):
        return (more.get("columns", slice(0, 5)), slice(0, 4), slice(start, stop))

    taken = []
    with in_order(tmp_path / "scan.nii", (5, 4, 3), taken.append) as write:
        write(slab(0, 2), "first")
        narrow = (slab(2, 3, columns=columns) for columns in (slice(0, 4), slice(1, 5)))
        for window in (slab(0, 2), slab(1, 3), slab(3, 4), *narrow):
            with pytest.raises(ValueError, match=r"scan\.nii: window .* does not follow slice 2 of"):
                write(window, "wrong")
        write(slab(2, 3), "second")
    assert taken == ["first", "second"]
    with (
        pytest.raises(ValueError, match=r"scan\.nii lacks 2 of 3 slices"),
        in_order(tmp_path / "scan.nii", (5, 4, 3), taken.append) as write,
    ):
        write(slab(0, 1), "first")


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (RuntimeError("noise\n the cause \n\n"), r"cut short, damaged, or of another format \(the cause\): fetch it"),
        (KeyError(), r"\(KeyError\): fetch it again"),
        (PermissionError("denied"), r"'scan\.nii' cannot be read \(denied\): check its permissions"),
    ],
)
def test_a_file_that_cannot_be_read_is_named_in_one_line(error, told):
    with pytest.raises(ImageError, match=told), named("scan.nii"):
        raise error
    for kept in (ImageError("a"), FileNotFoundError("a"), MemoryError()):
        with pytest.raises(type(kept)) as raised, named("scan.nii"):
            raise kept
        assert raised.value is kept


@pytest.mark.parametrize(
    ("unit", "length"),
    [
        *[("picometer", 1e-9), ("Angstrom", 1e-7), ("nm", 1e-6), ("micron", 1e-3), ("mm", 1), ("cm", 10), ("dm", 100)],
        *[("meter", 1e3), ("kilometer", 1e6), (" inch ", 25.4), ("foot", 304.8), ("yard", 914.4), ("", 1), ("?", 1)],
    ],
)
def test_lengths_are_told_in_millimetres(unit, length):
    assert millimetres("scan.nii", unit) == pytest.approx(length, rel=1e-12)
