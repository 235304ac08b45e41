import pytest
import torch
from monai.networks.nets import UNet

from bundle.cascade import Cascade, CascadeInferer, ResNetGenerator, Sketch, SliceWise
from bundle.cascade.receptive_field import measure_strided_reach
from tests.laws import image


def slice_wise(neighbours=1, channels=2):
    torch.manual_seed(0)
    width = channels * (2 * neighbours + 1)
    return SliceWise(UNet(2, width, 1, channels=(4, 8), strides=(2,), num_res_units=1, norm=None), neighbours).eval()


@pytest.mark.parametrize("neighbours", [0, 1, 2])
@torch.no_grad()
def test_a_slice_is_computed_from_itself_and_its_neighbours(neighbours):
    network, volume = slice_wise(neighbours), torch.randn(2, 2, 12, 8, 5)
    result = network(volume)
    assert result.shape == (2, 1, 12, 8, 5)
    for number in range(5):
        places = [min(max(number + step, 0), 4) for step in range(-neighbours, neighbours + 1)]
        alone = network.network(torch.cat([volume[..., place] for place in places], 1))
        torch.testing.assert_close(result[..., number], alone, rtol=0, atol=1e-6)


def test_the_reach_across_slices_is_their_number():
    *_, across = measure_strided_reach(slice_wise(2), 2, 3, stride=2)
    assert across == 2


@pytest.mark.parametrize("depth", [1, 2, 23])
@torch.no_grad()
def test_tiles_give_the_same_numbers_as_the_whole_volume(depth):
    cascade = Cascade(
        3, slice_wise(), [ResNetGenerator(3, 3, channels=4, blocks=1)], Sketch(3, 0.05, 0.15), "image"
    ).eval()
    for parameter in cascade.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    volume = image((37, 30, depth))
    whole = cascade(volume)
    tiled = CascadeInferer(tile_size=10, progress=False)(volume, cascade)
    assert whole.std() > 0.01
    torch.testing.assert_close(tiled, whole, rtol=0, atol=1e-5)
    assert torch.equal(torch.jit.script(cascade)(volume), whole)
