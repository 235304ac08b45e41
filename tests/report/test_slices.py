"""Pictures show what is there: the right slices, the right way round, in the window that is told."""

from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from bundle.report.slices import (
    LARGEST,
    LUNG_WINDOW,
    chosen_slices,
    colours,
    detail_of,
    grey,
    percentile_span,
    picture_size,
    pooled,
    shown_rows,
)
from tests.report.images import chest, volume


def test_slices_are_spread_over_the_lungs():
    """Which fill slices 2 to 21."""
    numbers = chosen_slices(volume(chest()), hu=True)
    assert numbers == [18, 12, 5]
    upper = np.full((40, 40, 24), -1000, np.int16)
    upper[10:30, 10:30, 20:] = -800
    assert min(chosen_slices(volume(upper), hu=True)) >= 20
    assert chosen_slices(volume(upper[..., :1]), hu=True) == [0]


def test_the_patient_s_right_is_on_the_left_and_the_front_above():
    image = chest()
    image[10:12, 10:50] = 2000  # the patient's left: the axis runs to the right
    image[10:70, 48:50] = 1000  # in front
    row = next(shown_rows(volume(image), volume(image), hu=True))
    source = row.pictures[0].pixels
    assert source.shape == (60, 80) and row.place == 3.0 * (row.number - 1)
    assert source[30, 69] == 255 and source[30, 79] == grey(np.array([-1000.0]), LUNG_WINDOW)[0]
    assert (source[10:12, 20:60] == 255).all()  # the front


def test_grey_and_colours_are_those_of_the_window():
    values = np.array([[-2000.0, -1350.0, -600.0, 150.0, 3000.0]])
    assert grey(values, LUNG_WINDOW).tolist() == [[0, 0, 128, 255, 255]]
    below, none, above = colours(np.array([[-150.0, 0.0, 150.0]]), 150.0)[0].tolist()
    assert below[2] > below[0] + 50 and above[0] > above[2] + 50 and min(none) > 240


def test_a_difference_is_result_less_source():
    source, result = chest(), chest()
    result[30:34, 20:40] += 100
    (row, *_) = shown_rows(volume(source), volume(result), hu=True)
    difference = row.pictures[2]
    assert [picture.title for picture in row.pictures] == ["source", "result", "difference"]
    assert difference.span == (-150.0, 150.0)
    brighter = difference.pixels[..., 0].astype(int) - difference.pixels[..., 2]
    assert (np.argwhere(brighter > 50)[:, 1] >= 46).all() and (brighter > 50).sum() == 4 * 20


def test_the_detail_of_a_ct_is_of_its_lung():
    rows = list(shown_rows(volume(chest()), volume(chest()), hu=True))
    assert [row.enlarged for row in rows] == [1, 1, 4, 1]
    plane = chest()[::-1, ::-1, 11].T
    part = detail_of(plane)
    assert plane[part].shape == (15, 20) and (plane[part] < -500).mean() > 0.95


def test_images_without_a_unit_have_a_window_of_their_own():
    source, result = volume(chest() + 1000), volume(chest() * 3 + 5000)
    rows = list(shown_rows(source, result, hu=False, comparable=False))
    assert [picture.title for picture in rows[0].pictures] == ["source", "result"] and len(rows) == 3
    spans = [picture.span for picture in rows[0].pictures]
    assert spans[0] == percentile_span([chest()[..., row.number - 1].astype(float) + 1000 for row in rows])
    assert spans[1][0] > spans[0][1]
    together = next(shown_rows(source, result, hu=False)).pictures
    assert together[0].span == together[1].span and len(together) == 3


def test_an_image_out_of_noise_is_shown_alone():
    (row,) = shown_rows(None, volume(chest()[..., 5]), hu=False)
    assert [picture.title for picture in row.pictures] == ["result"] and row.place is None
    assert row.pictures[0].pixels.shape == (60, 80)


@pytest.mark.parametrize("shape", [(2048, 1024), (1300, 700), (5, 3)])
def test_large_slices_are_averaged(shape):
    plane = np.add.outer(np.zeros(shape[0]), np.arange(shape[1], dtype=float))
    small = pooled(plane)
    assert max(small.shape) <= LARGEST and small.mean() == pytest.approx(plane.mean(), rel=0.01)
    columns, rows = picture_size(volume(np.broadcast_to(np.int16(0), (*shape, 1)), (1.0, 2.0, 1.0)))
    assert columns / rows == pytest.approx(shape[0] / shape[1] / 2, rel=0.25 if min(shape) < 9 else 0.01)


def test_a_picture_is_a_png():
    (row, *_) = shown_rows(volume(chest()), volume(chest()), hu=True)
    for picture in row.pictures:
        assert np.array_equal(np.asarray(Image.open(BytesIO(picture.png()))), picture.pixels)
