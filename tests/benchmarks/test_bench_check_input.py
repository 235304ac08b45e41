"""Crops lie around the body, and every answer has a kind."""

import numpy as np
import pytest

from benchmarks.check_input import SIZES, answer, crops, middle, stacked
from bundle.examples.phantom import ThoraxPhantom
from bundle.images import create_image, held

PHANTOM = ThoraxPhantom((160, 128, 40), noise=40)


@pytest.fixture(scope="module")
def scan():
    return held(PHANTOM[...], PHANTOM.affine, "phantom.nii")


def test_crops_are_of_the_sizes_and_show_the_body(scan):
    for size, crop in crops([scan], 12, np.random.default_rng(0)):
        most = tuple(int(side) for side in size.split(" x "))
        assert most in SIZES and crop.shape == tuple(min(pair) for pair in zip(most, scan.shape, strict=True))
        assert crop.whole().max() > -500


def test_answers_are_kinds(scan):
    assert answer(scan) == ("", [])
    assert answer(held(np.maximum(PHANTOM[...], 0), PHANTOM.affine, "x"))[0] == "not negative"
    assert "spacing" in answer(held(PHANTOM[...], np.diag([9.0, 9, 9, 1]), "x"))[1]


def test_the_middle_of_a_volume(scan):
    found = middle(scan)
    assert found.shape == (160, 128, 16) and np.array_equal(found, PHANTOM[..., 12:28])


def test_pictures_are_stacked_by_eight(tmp_path):
    paths = [tmp_path / f"{number}.png" for number in range(17)]
    for number, path in enumerate(paths):
        voxels = np.full((9, 7), number, np.uint8)
        with create_image(path, held(voxels, np.eye(4)), np.uint8) as write:
            write((slice(0, 9), slice(0, 7)), voxels)
    volumes = stacked(paths)
    assert [volume.shape for volume in volumes] == [(9, 7, 8)] * 2 and volumes[1].whole()[0, 0, 0] == 8
