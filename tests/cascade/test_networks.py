import io

import pytest
import torch
from monai.networks.nets import UNet
from torch import nn

from bundle.cascade import Cascade, ResNetGenerator, Sketch
from bundle.cascade.receptive_field import measure_reach, measure_strided_reach
from bundle.geometry import crop, pool, upsample
from tests.laws import image, tiny_cascade


@pytest.mark.parametrize("blocks, expected", [(1, 4), (4, 10)])
def test_reach_is_that_of_the_layers(spatial_dims, blocks, expected):
    assert (
        measure_reach(ResNetGenerator(spatial_dims, 2, channels=4, blocks=blocks), 2, spatial_dims)
        == (expected,) * spatial_dims
    )


def test_reach_is_found_axis_by_axis():
    assert measure_reach(ResNetGenerator(3, 2, channels=4, blocks=2, kernel_size=(3, 5, 1)), 2, 3) == (6, 12, 0)


@pytest.mark.parametrize("kernel_size, axes", [(3, 3), ((3, 3, 1), 2)])
@torch.no_grad()
def test_detail_is_what_differs_from_the_mean_around_a_voxel(kernel_size, axes):
    """So no mean is added, and the reach is greater by half the side."""
    torch.manual_seed(0)
    plain, detailed = (
        ResNetGenerator(3, 2, channels=4, blocks=1, kernel_size=kernel_size, detail=d) for d in (None, 5)
    )
    detailed.load_state_dict(plain.state_dict())
    grown = [2] * axes + [0] * (3 - axes)
    reach = measure_reach(plain, 2, 3)
    assert measure_reach(detailed, 2, 3) == tuple(a + b for a, b in zip(reach, grown, strict=True))
    volume = torch.randn(1, 2, 21, 20, 19)
    made, fine = plain(volume), detailed(volume)
    sides = [2 * side + 1 for side in grown]
    means = torch.nn.functional.avg_pool3d(made, sides, 1)
    torch.testing.assert_close(fine, crop(made, grown) - means, rtol=0, atol=1e-6)
    for generator in (plain, detailed):
        generator.layers[2].conv.bias += 7.0
    torch.testing.assert_close(detailed(volume), fine, rtol=0, atol=1e-5)
    assert (plain(volume) - made).mean() > 6.9


def test_detail_within_an_even_side_is_refused():
    with pytest.raises(ValueError, match="detail 8 is even; a mean around a voxel needs an odd side"):
        ResNetGenerator(2, 2, detail=8)


def test_reach_of_padded_networks_is_found_too():
    network = nn.Sequential(nn.Conv2d(2, 4, 5, padding=2), nn.ReLU(), nn.Conv2d(4, 1, 3, padding=1))
    assert measure_reach(network, 2, 2) == (3, 3)


@pytest.mark.parametrize("norm", [nn.InstanceNorm2d(4), nn.GroupNorm(2, 4)])
def test_statistics_of_the_tile_are_refused(norm):
    with pytest.raises(ValueError, match="must not normalise over the tile"):
        measure_reach(nn.Sequential(nn.Conv2d(2, 4, 3), norm, nn.Conv2d(4, 1, 3)), 2, 2)


def test_batch_norm_is_fine_in_eval_mode():
    assert measure_reach(nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 1, 3)), 2, 2) == (2, 2)


def test_strides_are_refused():
    with pytest.raises(ValueError, match=r"keep the grid|stride-free"):
        measure_reach(nn.Conv2d(2, 1, 2, stride=2), 2, 2)


class WindowMeans(nn.Module):
    """Add to each voxel the mean of its window of 8 voxels a side, as windowed attention looks."""

    def __init__(self, spatial_dims, whole_windows=False):
        super().__init__()
        self.pool = (nn.AvgPool2d, nn.AvgPool3d)[spatial_dims - 2](8, ceil_mode=not whole_windows)
        self.mix = (nn.Conv2d, nn.Conv3d)[spatial_dims - 2](2, 1, 1)

    def forward(self, x):
        means = self.pool(x)
        for axis in range(2, x.ndim):
            means = means.repeat_interleave(8, axis).narrow(axis, 0, x.shape[axis])
        return self.mix(x + means)


class Positions(nn.Module):
    """Add an embedding of the position; no voxel depends on another one."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))  # as an embedding may start

    def forward(self, x):
        return x[:, :1] + self.weight * torch.arange(x.shape[-1], dtype=x.dtype).sin()


def test_a_window_cut_elsewhere_would_differ(spatial_dims):
    """Of the probe itself: what it refuses below does break the law, and by much."""
    network = WindowMeans(spatial_dims)
    image = torch.randn(1, 2, *(40,) * spatial_dims)
    whole, cut = network(image), network(image[..., 10:])
    assert (cut[..., 7:] - whole[..., 17:]).abs().max() > 0.01


def test_networks_that_depend_on_where_a_window_begins_are_refused(spatial_dims):
    for network in (WindowMeans(spatial_dims), Positions()):
        with pytest.raises(ValueError, match="depend on where a window begins"):
            measure_reach(network, 2, spatial_dims)
    with pytest.raises(ValueError, match="fixed windows"):
        measure_reach(WindowMeans(spatial_dims, whole_windows=True), 2, spatial_dims)


def test_what_differs_is_compared_with_the_values():
    """A dependence of small values is one, and what rounding makes of large ones is none."""
    small, large = WindowMeans(2), nn.Conv2d(2, 1, 3, padding=1)
    for convolution, factor in ((small.mix, 1e-6), (large, 1e6)):
        for parameter in convolution.parameters():
            parameter.data *= factor
    with pytest.raises(ValueError, match="depend on where a window begins"):
        measure_reach(small, 2, 2)
    assert measure_reach(large, 2, 2) == (1, 1)


def test_a_strided_network_that_looks_in_other_windows_takes_the_whole_image(spatial_dims):
    network = UNet(spatial_dims, 2, 1, channels=(2, 4), strides=(2,), norm=None)
    assert measure_strided_reach(network, 2, spatial_dims, 2)
    windowed = nn.Sequential(WindowMeans(spatial_dims), UNet(spatial_dims, 1, 1, (2, 4), (2,), norm=None))
    assert measure_strided_reach(windowed, 2, spatial_dims, 2) == ()


def test_networks_that_return_nan_are_refused():
    class Roots(nn.Module):
        def forward(self, x):
            return x[:, :1].sqrt()

    with pytest.raises(ValueError, match="differ by up to nan"):
        measure_reach(Roots(), 2, 2)
    assert measure_reach(nn.Conv2d(2, 1, 3), 2, 2)


def test_networks_of_zeros_are_probed_all_the_same():
    network = nn.Sequential(WindowMeans(2), nn.Conv2d(1, 1, 1))
    nn.init.zeros_(network[1].weight)
    with pytest.raises(ValueError, match="depend on where a window begins"):
        measure_reach(network, 2, 2)


@pytest.mark.parametrize("conditioning", ["sketch", "anchored", "image"])
def test_any_shape_goes_in_and_comes_out(spatial_dims, conditioning):
    cascade = tiny_cascade(spatial_dims, conditioning)
    for shape in ((1, 1, 1), (5, 1, 31), (16, 17, 18)):
        x = image(shape[:spatial_dims])
        with torch.no_grad():
            assert cascade(x, spacing=[0.7, 0.7, 2.5][:spatial_dims]).shape == x.shape


def test_edges_are_all_that_a_sketch_tells():
    """Two images with the same edges give the same result, and with ``image`` they do not."""
    x = image((40, 36))
    for conditioning, same in (("sketch", True), ("anchored", False), ("image", False)):
        cascade = tiny_cascade(2, conditioning)
        with torch.no_grad():
            assert torch.allclose(cascade(x), cascade(x + 0.25), atol=1e-4) == same


@pytest.mark.parametrize("base", [None, "image", "previous"])
def test_scales_that_make_nothing_leave_their_base(spatial_dims, base):
    """The image as it is, or what the coarsest scale has made, which adds to nothing then."""
    cascade = tiny_cascade(spatial_dims, base=base)
    for weight in cascade.parameters():
        nn.init.zeros_(weight)
    *_, bias = cascade.coarse.parameters()
    nn.init.constant_(bias, 0.25)
    x = image([20] * spatial_dims)
    with torch.no_grad():
        torch.testing.assert_close(cascade(x), torch.full_like(x, 0.25) if base == "previous" else x)


@pytest.mark.parametrize(("conditioning", "base"), [("image", "edges"), ("sketch", "image"), ("none", "image")])
def test_a_base_that_is_not_seen_is_refused(conditioning, base):
    with pytest.raises(ValueError, match=f"base '{base}' must be null, previous, or"):
        tiny_cascade(2, conditioning, base=base)


def test_pool_and_upsample_keep_a_ramp(spatial_dims):
    ramp = torch.arange(32.0).reshape(1, 1, 32, *[1] * (spatial_dims - 1)).expand(1, 1, 32, *[8] * (spatial_dims - 1))
    factor = [2] * spatial_dims
    again = upsample(pool(ramp, factor), factor)
    assert torch.allclose(crop(again, [2] * spatial_dims), crop(ramp, [2] * spatial_dims))


def test_an_odd_voxel_makes_a_voxel_of_its_own():
    assert pool(torch.tensor([[[[1.0, 3, 5]]]]), [1, 2]).tolist() == [[[[2, 5]]]]


def test_scripted_saved_and_loaded_it_gives_the_same(spatial_dims):
    cascade = tiny_cascade(spatial_dims)
    buffer = io.BytesIO()
    torch.jit.save(torch.jit.script(cascade), buffer)
    buffer.seek(0)
    loaded = torch.jit.load(buffer)
    x = image((21, 18, 19)[:spatial_dims])
    spacing = [0.6, 0.6, 1.3][:spatial_dims]
    with torch.no_grad():
        assert torch.allclose(loaded(x, spacing=spacing), cascade(x, spacing=spacing), atol=1e-5)
    assert loaded.reach == cascade.reach and loaded.num_scales == 3


def test_working_in_the_slice_is_a_convolution_of_one_voxel_across():
    network = ResNetGenerator(3, 2, channels=4, blocks=1, kernel_size=(3, 3, 1))
    x, weights = torch.randn(2, 2, 9, 10, 5), [w[..., None] if w.ndim > 1 else w for w in network.parameters()]
    first, one, two, last = zip(weights[::2], weights[1::2], strict=True)
    inner = nn.functional.conv3d(x, *first).relu()
    inner = crop(inner, [2, 2, 0]) + nn.functional.conv3d(nn.functional.conv3d(inner, *one).relu(), *two)
    torch.testing.assert_close(network(x), nn.functional.conv3d(inner, *last))


@pytest.mark.parametrize("kernel_size", [3, (3, 3, 1)])
def test_slab_by_slab_it_gives_the_same(kernel_size):
    generators = [ResNetGenerator(3, 3, channels=4, blocks=1, kernel_size=kernel_size)]
    cascade = Cascade(3, UNet(3, 2, 1, (4, 8), (2,), norm=None), generators, Sketch(3)).eval()
    for parameter in cascade.parameters():
        nn.init.normal_(parameter, std=0.1)
    x = torch.cat([image((30, 28, 26)), image((30, 28, 26))])
    with torch.no_grad():
        whole = cascade(x)
        cascade.slab_voxels = 2000
        torch.testing.assert_close(cascade(x), whole)


def test_unknown_conditioning_is_refused():
    with pytest.raises(ValueError, match="'edges' is not known; take one of sketch, anchored, image"):
        Cascade(2, UNet(2, 1, 1, (4, 8), (2,)), [], Sketch(2), "edges")


def test_even_kernels_are_refused():
    with pytest.raises(ValueError, match="even side"):
        ResNetGenerator(2, 2, kernel_size=4)
