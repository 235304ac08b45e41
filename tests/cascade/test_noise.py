"""Images from scratch: of noise that is a function of seed and position."""

import pytest
import torch

from bundle.cascade import CascadeInferer, WhiteNoised, sides_of, steps_of
from bundle.cascade.generators import multiscale_noise
from tests.laws import tiny_cascade


@pytest.mark.parametrize(
    ("size", "steps"), [(64, 0), (90, 0), (91, 1), (1024, 4), (2048, 5), ((2048, 1500), 5), (9000, 5)]
)
def test_as_many_scales_as_the_image_needs(size, steps):
    assert steps_of(size, 5) == steps


@pytest.mark.parametrize("size", [0, -64, 64.5, "64", True, [64, 0], [], None])
def test_a_size_that_is_no_whole_number_from_one_on_is_told(size):
    with pytest.raises(ValueError, match=r"image_size .* is neither a whole number of voxels from 1 on nor a list"):
        steps_of(size, 5)


def test_as_many_sides_as_axes():
    assert sides_of(64, 2) == (64, 64) and sides_of([64, 32], 2) == (64, 32) and sides_of([64], 3) == (64, 64, 64)
    with pytest.raises(ValueError, match=r"image_size \[64, 32\] is neither .* nor a list of 3 of them"):
        sides_of([64, 32], 3)


def test_noise_is_a_function_of_seed_and_position(spatial_dims):
    small, large = (WhiteNoised("image", side, spatial_dims)({"image": 3})["image"] for side in (10, 14))
    assert torch.equal(large[(slice(None), *[slice(10)] * spatial_dims)], small)
    other = WhiteNoised("image", 10, spatial_dims)({"image": 4})["image"]
    assert abs(float((small * other).mean())) < 0.3 and abs(float(small.std()) - 1) < 0.2
    assert small.meta["filename_or_obj"] == "sample_0003.png"


def test_coarser_noise_is_as_strong(spatial_dims):
    noise = torch.randn(1, 1, *[64 if spatial_dims == 2 else 24] * spatial_dims)
    cascade = tiny_cascade(spatial_dims, "none")
    assert float(cascade.coarser(noise, [2] * spatial_dims).std()) == pytest.approx(1, abs=0.1)
    assert float(tiny_cascade(spatial_dims, "sketch").coarser(noise, [2] * spatial_dims).std()) < 0.75


def test_octaves_hold_as_much_coarse_noise_as_fine(spatial_dims):
    noise = multiscale_noise(torch.randn(1, 1, *[64 if spatial_dims == 2 else 32] * spatial_dims), 8)
    blocks = noise
    for _ in range(3):
        blocks = torch.nn.functional.interpolate(blocks, scale_factor=0.5, mode="area")
    # The octaves are of one noise and add up: in white noise the blocks' means have 1 / 64 or less of the variance.
    assert float(blocks.var()) / float(noise.var()) > 0.25


def test_tiles_do_not_change_a_sample(spatial_dims):
    side = 75 if spatial_dims == 2 else 27
    torch.manual_seed(0)
    cascade = tiny_cascade(spatial_dims, "none").eval()
    for parameter in cascade.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    noise = WhiteNoised("image", side, spatial_dims)({"image": 7})["image"][None]
    cascade.requires_grad_(False)
    whole = cascade(noise.as_tensor())
    for tile in (side // 2, side // 3):
        tiled = CascadeInferer(tile_size=tile, progress=False)(noise, cascade)
        assert torch.allclose(tiled, whole, atol=1e-5)
    other = WhiteNoised("image", side, spatial_dims)({"image": 8})["image"][None]
    assert float((cascade(other.as_tensor()) - whole).abs().mean()) > 0.01
