"""The baselines are the published networks, in 2D and 3D."""

import pytest
import torch
from torch import nn

from benchmarks.baselines import (
    LEAKY,
    BatchDeviation,
    PixelNorm,
    dcgan,
    pggan,
    pix2pix,
    unet,
    uzunova_coarse,
    uzunova_fine,
)

ALL = (dcgan, pix2pix, pggan)


def millions(network: nn.Module) -> float:
    """Weights of convolutions: MONAI's have a bias also where the published ones do without."""
    return sum(p.numel() for p in network.parameters() if p.ndim > 1) / 1e6


def judge(gan, image, inputs):
    logits = gan.discriminator(torch.cat([inputs, image], 1) if gan.conditional else image)
    return logits[-1] if isinstance(logits, list) else logits


@pytest.mark.parametrize("make", ALL)
@pytest.mark.parametrize("side", [16, 32, 128])
def test_an_image_of_the_side_is_made_and_judged(make, side, spatial_dims):
    with torch.device("meta"):
        gan = make(spatial_dims, side)
        inputs = torch.empty(gan.input_shape)
    image = gan.generator(inputs)
    assert image.shape == gan.image_shape == (1, 1, *[side] * spatial_dims)
    logits = judge(gan, image, inputs)
    assert logits.shape[:2] == (1, 1)
    assert logits.numel() == 1 or make is pix2pix


@pytest.mark.parametrize("make", ALL)
def test_every_parameter_is_trained(make, spatial_dims):
    gan = make(spatial_dims, 16, channels=4)
    inputs = torch.randn(gan.input_shape)
    judge(gan, gan.generator(inputs), inputs).square().mean().backward()
    for network in (gan.generator, gan.discriminator):
        for name, parameter in network.named_parameters():
            assert parameter.grad is not None and torch.isfinite(parameter.grad).all(), name


@pytest.mark.parametrize("make", (uzunova_coarse, uzunova_fine))
def test_the_authors_networks_keep_the_grid(make, spatial_dims):
    with torch.device("meta"):
        gan = make(spatial_dims)
        inputs = torch.empty(gan.input_shape)
    image = gan.generator(inputs)
    assert image.shape == gan.image_shape
    assert judge(gan, image, inputs).numel() == (1 if make is uzunova_fine else 14**spatial_dims)


def test_sizes_are_the_published_ones():
    """Weights in millions.

    DCGAN: 3.57 and 2.76 in PyTorch's example for 64 x 64 x 3. Pix2Pix: 54.41 and 2.77 for 256 x 256 x 3, as its code
    prints. PGGAN: 23.1 each, Table 2 of Karras et al. 2018. The authors' code: 24.66, and 26.51 with 2.65.
    """
    with torch.device("meta"):
        of_noise, of_image, grown = dcgan(2, 64, latent=100), pix2pix(2, 256), pggan(2, 1024)
        coarse, fine = uzunova_coarse(3), uzunova_fine(3)
    colours = 2 * 64 * 16 / 1e6  # of two colours more, in DCGAN's last layer and in a discriminator's first
    assert millions(of_noise.generator) + colours == pytest.approx(3.57, abs=0.01)
    assert millions(of_noise.discriminator) + colours == pytest.approx(2.76, abs=0.01)
    assert millions(of_image.generator) + 3 * colours == pytest.approx(54.41, abs=0.01)
    assert millions(of_image.discriminator) + 2 * colours == pytest.approx(2.77, abs=0.01)
    assert millions(grown.generator) == pytest.approx(23.1, abs=0.05)
    assert millions(grown.discriminator) == pytest.approx(23.1, abs=0.05)
    assert millions(coarse.generator) == pytest.approx(24.66, abs=0.01)
    assert millions(fine.generator) == pytest.approx(26.51, abs=0.01)
    assert millions(fine.discriminator) == pytest.approx(2.65, abs=0.01)


def test_the_unet_drops_and_normalises_where_pix2pix_does(spatial_dims):
    network = unet(spatial_dims, 1, [4] * 6, "BATCH", dropout=3)
    names = [type(layer).__name__ for layer in network.modules()]
    assert names.count("Dropout") == 3
    assert names.count(f"BatchNorm{spatial_dims}d") == 4 + 5  # not the first, the coarsest and the last
    assert names.count("LeakyReLU") == 6 and LEAKY[1]["negative_slope"] == 0.2


def test_pixel_norm_makes_a_mean_square_of_one(spatial_dims):
    x = torch.randn(2, 8, *[5] * spatial_dims)
    assert torch.allclose(PixelNorm()(x).square().mean(1), torch.ones(2, *[5] * spatial_dims), atol=1e-2)


def test_batch_deviation_one_can_see():
    x = torch.tensor([[[[1.0, 2.0]]], [[[3.0, 6.0]]]])  # deviations 1 and 2
    assert torch.allclose(BatchDeviation()(x)[:, 1], torch.full((2, 1, 2), 1.5))


@pytest.mark.parametrize("make", ALL)
@pytest.mark.parametrize("side, other", [(8, 16), (48, 32), (-1, 16)])
def test_other_sides_are_refused(make, side, other):
    with pytest.raises(ValueError, match=rf"side {side} is not a power of two from 16 on.*take {other}\."):
        make(3, side)
