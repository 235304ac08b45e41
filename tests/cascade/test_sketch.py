import itertools

import itk
import numpy as np
import pytest
import torch
from scipy.ndimage import binary_dilation
from torch.nn import functional as F

from bundle.cascade import Sketch
from bundle.examples.phantom import ThoraxPhantom
from tests.laws import image


def whole(sketch, x):
    return sketch(F.pad(x, [sketch.reach] * 2 * (x.ndim - 2), mode="replicate"))


def test_any_window_gives_the_bits_of_the_whole(spatial_dims):
    sketch = Sketch(spatial_dims, low=0.02, high=0.1, steps=3)
    x = image((41, 38, 29)[:spatial_dims])
    full = sketch(x)
    assert 0.01 < (full > 0).float().mean() < 0.5
    for start, length in itertools.product((0, 3), (2 * sketch.reach + 1, 2 * sketch.reach + 6)):
        window = x[(..., *[slice(start, start + length)] * spatial_dims)]
        inner = (..., *[slice(start, start + length - 2 * sketch.reach)] * spatial_dims)
        assert torch.equal(sketch(window), full[inner])


@pytest.mark.parametrize("voxels", [1, 3000, 40000])
def test_slab_by_slab_it_gives_the_bits_of_the_whole(spatial_dims, voxels):
    sketch, x = Sketch(spatial_dims, low=0.02, high=0.05), image((61, 40, 30)[:spatial_dims])
    expected, sizes = sketch.edges(x), []
    sketch.slab_voxels, sketch.edges = (
        voxels,
        lambda part: sizes.append(part.shape[2]) or type(sketch).edges(sketch, part),
    )
    assert torch.equal(sketch(x), expected)
    assert sum(size - 2 * sketch.reach for size in sizes) == x.shape[2] - 2 * sketch.reach
    assert len(sizes) > 1 if voxels < x[0].numel() else len(sizes) == 1


def test_it_looks_no_further_than_its_reach(spatial_dims):
    sketch = Sketch(spatial_dims, low=0.02, high=0.1)
    x = image([2 * sketch.reach + 1] * spatial_dims)
    assert sketch(x).shape == (1, 1, *[1] * spatial_dims)


def test_a_step_becomes_one_line_of_its_height(spatial_dims):
    x = torch.zeros((1, 1, *[24] * spatial_dims))
    x[:, :, 12:] = 1
    line = whole(Sketch(spatial_dims, low=0.1, high=0.2), x)
    inner = line[(0, 0, slice(None), *[12] * (spatial_dims - 1))]
    assert (inner > 0).sum() == 1 and inner.argmax() in (11, 12)
    # the steepest slope of a unit step seen through a Gaussian of sigma 1
    assert inner.max() == pytest.approx(1 / np.sqrt(2 * np.pi), rel=0.15)


def test_strength_follows_contrast_and_thresholds_are_absolute(spatial_dims):
    x = torch.zeros((1, 1, *[24] * spatial_dims))
    x[:, :, 12:] = 1
    sketch = Sketch(spatial_dims, low=0.1, high=0.2)
    assert torch.allclose(whole(sketch, 2 * x), 2 * whole(sketch, x))
    assert not whole(sketch, 0.2 * x).any()


def test_weak_ridges_are_followed_as_far_as_the_steps_go():
    x = torch.zeros((1, 1, 16, 64))
    x[:, :, 8:] = torch.linspace(0.2, 1.0, 64)
    counts = [int((whole(Sketch(2, low=0.1, high=0.25, steps=steps), x) > 0).sum()) for steps in (0, 4, 8)]
    assert counts[0] < counts[1] < counts[2] and counts[1] - counts[0] == 4


def test_noise_is_added_in_training_alone(spatial_dims):
    sketch = Sketch(spatial_dims, noise=0.1)
    x = torch.zeros((1, 1, *[40] * spatial_dims))
    assert sketch.train()(x).std() == pytest.approx(0.1, rel=0.2)
    assert not sketch.eval()(x).any()


@pytest.mark.parametrize("wrong", [{"sigma": 0}, {"low": 0.2, "high": 0.1}, {"steps": -1}, {"noise": -1}])
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(ValueError, match="a sketch needs"):
        Sketch(2, **wrong)


def test_the_same_edges_as_itk(capsys):
    """Without hysteresis the two agree; with it, ours stops after its steps, Canny's does not."""
    hu = ThoraxPhantom((90, 72, 40), seed=1)[:, :, :].astype(np.float32)
    x = (torch.from_numpy(hu).clamp(-1000, 200)[None, None] + 400) / 600
    scan = itk.image_from_array(np.ascontiguousarray(x[0, 0].numpy()))
    near, inner = np.ones((3, 3, 3)), (slice(8, -8),) * 3
    canny = {
        low: itk.array_from_image(
            itk.canny_edge_detection_image_filter(
                scan, variance=1.0, upper_threshold=0.15, lower_threshold=low, maximum_error=0.001
            )
        )
        > 0
        for low in (0.15, 0.05)
    }
    shares = {}
    for low, steps in ((0.15, 0), (0.05, 2), (0.05, 6), (0.05, 20)):
        ours = whole(Sketch(3, low=low, high=0.15, steps=steps), x)[0, 0].numpy() > 0
        theirs = canny[low]
        found = (binary_dilation(ours, near)[inner] & theirs[inner]).sum() / theirs[inner].sum()
        shared = (binary_dilation(theirs, near)[inner] & ours[inner]).sum() / ours[inner].sum()
        shares[low, steps] = found, shared
        with capsys.disabled():
            print(
                f"\nlow {low}, {steps} steps: {found:.3f} of ITK's edges found, {shared:.3f} of ours are ITK's", end=""
            )
    assert min(shares[0.15, 0]) > 0.99
    assert all(shared > 0.97 for _, shared in shares.values())
    assert shares[0.05, 2][0] < shares[0.05, 6][0] < shares[0.05, 20][0] and shares[0.05, 20][0] > 0.85
