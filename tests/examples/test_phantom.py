"""The phantom is exact in every window, the same for the same seed, and has what a thorax has where it should be."""

from __future__ import annotations

from functools import lru_cache

import nibabel
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bundle.examples.phantom import ThoraxPhantom, sharp_noise, texture
from bundle.examples.phantom.__main__ import write

SHAPES = [(97, 75), (61, 47, 40)]
by_dimension = pytest.mark.parametrize("shape", SHAPES, ids=["2D", "3D"])


@lru_cache
def phantom(shape: tuple[int, ...]) -> ThoraxPhantom:
    return ThoraxPhantom(shape, seed=3, noise=40)


@lru_cache
def whole(shape: tuple[int, ...]) -> np.ndarray:
    return phantom(shape)[...]


@by_dimension
@given(data=st.data())
@settings(max_examples=25, deadline=None)
def test_window_equals_the_same_part_of_the_whole(shape: tuple[int, ...], data: st.DataObject) -> None:
    corners = [sorted(data.draw(st.tuples(st.integers(0, n), st.integers(0, n)))) for n in shape]
    window = tuple(slice(*corner) for corner in corners)
    np.testing.assert_array_equal(phantom(shape)[window], whole(shape)[window])


@by_dimension
def test_windows_are_indexed_as_numpy_arrays_are(shape: tuple[int, ...]) -> None:
    for window in (5, -1, np.int64(7), slice(-9, None), (..., 3), (2, ...), (slice(4, 9), 6), (slice(None, -50), ...)):
        np.testing.assert_array_equal(phantom(shape)[window], whole(shape)[window])


@by_dimension
def test_seed_decides_everything(shape: tuple[int, ...]) -> None:
    np.testing.assert_array_equal(ThoraxPhantom(shape, seed=3, noise=40)[...], whole(shape))
    assert (ThoraxPhantom(shape, seed=4, noise=40)[...] != whole(shape)).mean() > 0.5


@by_dimension
def test_landmarks(shape: tuple[int, ...]) -> None:
    image = ThoraxPhantom(tuple(4 * n for n in shape))
    assert image.dtype == image[...].dtype == np.int16

    def at(*mm: float) -> float:
        """Median HU in a box of 5 voxels a side around a point given in mm."""
        centre = [round(p / s + (n - 1) / 2) for p, s, n in zip(mm, image.spacing, image.shape, strict=False)]
        return float(np.median(image[tuple(slice(c - 2, c + 3) for c in centre)]))

    assert at(-185, -140, 0) == at(185, 140, 0) == -1000  # air beside the patient
    assert -110 <= at(0, 132, 0) <= -90  # fat of the back
    assert at(162, 2, 0) == 55  # muscle between ribs and skin
    assert -900 < at(-90, -40, 0) < -800  # right lung
    assert -900 < at(100, 50, 0) < -800  # left lung
    assert at(28, -34, 0) == 45  # heart
    assert at(24, 52, 0) == 45  # descending aorta
    assert 200 <= at(0, 76, 0) <= 240  # marrow of a vertebra
    assert at(0, 100, 0) == 20  # spinal canal
    assert 100 < at(0, -96, 0) < 250  # breastbone
    if image.ndim == 3:
        assert at(0, 13, 70) == -990  # trachea
        assert at(-76, 5, -140) == 55  # liver


def test_lungs_are_denser_towards_the_back() -> None:
    lung = ThoraxPhantom((256, 196, 200))[45:60, :, 90:110]
    front, back = (float(np.median(lung[:, a:b])) for a, b in ((60, 80), (120, 140)))
    assert 20 < back - front < 45


def test_2d_is_the_middle_slice_of_3d() -> None:
    flat = ThoraxPhantom((80, 64), spacing=4.0)[...]
    slab = ThoraxPhantom((80, 64, 3), spacing=4.0)[..., 1]
    np.testing.assert_array_equal(flat, slab)


def test_one_voxel_and_huge() -> None:
    assert ThoraxPhantom((1, 1, 1))[...].shape == (1, 1, 1)
    window = ThoraxPhantom((2048, 2048, 2048), noise=20)[500:516, 1000:1016, 1100:1108]
    assert window.shape == (16, 16, 8)
    assert window.std() > 5


def test_finer_spacing_shows_the_same_chest_closer() -> None:
    far, near = ThoraxPhantom((64, 64, 8), spacing=4.0)[...], ThoraxPhantom((128, 128, 16), spacing=2.0)[...]
    pooled = near.reshape(64, 2, 64, 2, 8, 2).mean((1, 3, 5), dtype=float)
    assert ThoraxPhantom((64, 64, 8), spacing=4.0).affine[:3, :3].diagonal().tolist() == [-4, -4, 4]
    assert np.median(np.abs(far - pooled)) < 10


def test_noise_has_its_deviation_and_is_sharp() -> None:
    noise = sharp_noise([np.arange(128)] * 2 + [np.arange(4)], seed=1)
    assert abs(noise.std() - 1) < 0.02
    assert abs(noise.mean()) < 0.01
    power = (np.abs(np.fft.fft2(noise, axes=(0, 1))) ** 2).mean(-1)
    assert power[60:68, 60:68].mean() > 20 * power[1:5, 1:5].mean()


def test_texture_is_smooth_and_bounded() -> None:
    field = texture([np.arange(-40.0, 40.0, 0.5)] * 2, cell=8.0, seed=2)
    assert np.abs(field).max() <= 1
    assert np.abs(np.diff(field, axis=0)).max() < 0.5 * 2 * 1.5 / 8 + 1e-6


@pytest.mark.parametrize(
    ("arguments", "rule"),
    [
        ({"shape": (8,)}, "2 or 3"),
        ({"shape": (8, 0, 8)}, "at least one voxel"),
        *(({"shape": shape}, "^shape .* is no list of whole numbers") for shape in (32, ("a", "b", "c"), (32.7, 8, 8))),
        ({"shape": (8, 8, 8), "spacing": (1, 1)}, "3 lengths in mm"),
        ({"shape": (8, 8), "spacing": 0.0}, "above 0"),
        ({"shape": (8, 8), "noise": -1}, "standard deviation"),
    ],
)
def test_impossible_phantoms_are_refused(arguments: dict, rule: str) -> None:
    with pytest.raises(ValueError, match=rule):
        ThoraxPhantom(**arguments)


@pytest.mark.parametrize(
    ("window", "rule"), [(slice(0, 9, 2), "take step 1"), ((0, 0, 0, 0), "no more"), (99, "-61 to 60")]
)
def test_impossible_windows_are_refused(window: object, rule: str) -> None:
    with pytest.raises(IndexError, match=rule):
        phantom((61, 47, 40))[window]


def test_file(tmp_path) -> None:
    path = write(str(tmp_path / "new" / "chest.nii.gz"), (40, 32, 20), (2.0, 2.0, 5.0), seed=1, noise=10)
    image = nibabel.Nifti1Image.from_filename(path)
    assert image.get_data_dtype() == np.int16
    assert image.header.get_zooms() == (2, 2, 5)
    assert nibabel.aff2axcodes(image.affine) == ("L", "P", "S")
    np.testing.assert_allclose(image.affine @ [19.5, 15.5, 9.5, 1], [0, 0, 0, 1])
    np.testing.assert_array_equal(image.dataobj, ThoraxPhantom((40, 32, 20), (2, 2, 5), seed=1, noise=10)[...])
    voxels = np.asarray(image.dataobj)
    assert write(path, (16, 16, 16)) == path  # an earlier phantom is replaced, another file is not
    scan = tmp_path / "scan.nii.gz"
    nibabel.Nifti1Image(voxels, image.affine).to_filename(scan)
    before = scan.read_bytes()
    with pytest.raises(FileExistsError, match=r"scan.nii.gz' exists already, and is not a phantom of this bundle"):
        write(str(scan), (16, 16, 16))
    assert scan.read_bytes() == before
    with pytest.raises(ValueError, match=r"\.nii or \.nii\.gz"):
        write(str(tmp_path / "chest.mha"))
