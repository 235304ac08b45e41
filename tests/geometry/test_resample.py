"""Pooling and upsampling, one can see; a window of an upsampled image is the same as its part of the whole."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bundle.geometry import extend, pool, read_window, upsample, upsampled_window


def image(*values):
    return torch.tensor(values, dtype=torch.float32)[None, None]


def test_a_border_is_repeated_on_the_sides_that_are_told():
    found = extend(image([1, 2], [3, 4]), [1, 0], [0, 2])
    assert found[0, 0].tolist() == [[1, 2, 2, 2], [1, 2, 2, 2], [3, 4, 4, 4]]


def test_an_odd_last_voxel_counts_twice():
    assert pool(image([1, 3, 5], [5, 7, 9], [2, 4, 6]), [2, 2])[0, 0].tolist() == [[4, 7], [3, 6]]
    assert pool(image([[1, 3, 5]], [[5, 7, 9]]), [2, 1, 2])[0, 0].tolist() == [[[4, 7]]]


def test_upsampling_is_linear_between_centres():
    assert upsample(image([0, 4]), [1, 2])[0, 0].tolist() == [[0, 1, 3, 4]]
    found = upsample(image([[0, 4]], [[8, 12]], [[16, 20]]), [1, 1, 2])
    assert found[0, 0].tolist() == [[[0, 1, 3, 4]], [[8, 9, 11, 12]], [[16, 17, 19, 20]]]


@settings(max_examples=30, deadline=None)
@given(data=st.data(), dims=st.sampled_from([2, 3]))
def test_a_window_of_the_upsampled_image_is_a_part_of_it(data, dims):
    shape, factor = ([data.draw(st.integers(1, most)) for _ in range(dims)] for most in (6, 2))
    coarse = torch.rand(1, 1, *shape, generator=torch.Generator().manual_seed(0))
    whole = upsample(coarse, factor)
    starts = [data.draw(st.integers(0, side - 1)) for side in whole.shape[2:]]
    window = tuple(
        slice(a, data.draw(st.integers(a + 1, side))) for a, side in zip(starts, whole.shape[2:], strict=True)
    )
    found = upsampled_window(lambda bounds: read_window(coarse, bounds), window, factor)
    torch.testing.assert_close(found, whole[(..., *window)], atol=1e-6, rtol=0)
