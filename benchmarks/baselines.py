"""DCGAN, Pix2Pix and PGGAN in two and three dimensions: the baselines of Uzunova et al. 2019, section 3.1.

They were published for 2D (DCGAN also for 3D); here one function builds both, as the paper did: "replacing 2D
convolutions by 3D convolutions". The networks of the paper's authors follow, as wide as published. Training schedules
that need almost no memory are left out: PGGAN's fading in of a stage, and its equalized learning rate.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from monai.networks.blocks import Convolution, ResidualUnit
from monai.networks.layers import SkipConnection
from monai.networks.nets import PatchDiscriminator
from torch import Tensor, nn

RELU = ("RELU", {"inplace": True})
LEAKY = ("LEAKYRELU", {"negative_slope": 0.2, "inplace": True})


@dataclass(frozen=True)
class GAN:
    """A generator and its discriminator, with the shapes of the generator's input and output.

    Args:
        generator: maps an input to an image.
        discriminator: maps an image, with the input before it if conditional, to logits; MONAI's `PatchDiscriminator`
            returns them as the last of a list.
        input_shape: `(1, channels, *spatial)`.
        image_shape: `(1, 1, *spatial)`.
        conditional: whether the discriminator sees the generator's input.
    """

    generator: nn.Module
    discriminator: nn.Module
    input_shape: tuple[int, ...]
    image_shape: tuple[int, ...]
    conditional: bool


def halvings(side: int) -> int:
    """Return how often an image can be halved down to a single voxel.

    Raises:
        ValueError: If the side is not a power of two, or below 16.
    """
    count = max(side, 16).bit_length() - 1
    if side != 2**count:
        raise ValueError(f"side {side} is not a power of two from 16 on, as these networks need; take {2**count}.")
    return count


def widths(finest: int, count: int) -> list[int]:
    """Return the channels of each level, the finest first: doubled at each halving, at most 512."""
    return [min(finest * 2**i, 512) for i in range(count)]


def up(spatial_dims: int, inputs: int, outputs: int, **kwargs: Any) -> Convolution:
    """Double the sides by a transposed convolution with kernel size 4."""
    return Convolution(spatial_dims, inputs, outputs, 2, 4, is_transposed=True, padding=1, output_padding=0, **kwargs)


def down(spatial_dims: int, inputs: int, outputs: int, **kwargs: Any) -> Convolution:
    """Halve the sides by a convolution with kernel size 4."""
    return Convolution(spatial_dims, inputs, outputs, 2, 4, padding=1, **kwargs)


def dcgan(spatial_dims: int, side: int, channels: int = 64, latent: int = 200) -> GAN:
    """Build a DCGAN (Radford et al. 2016), like that of Wu et al. 2016 for 64^3 voxels: noise to image.

    Args:
        spatial_dims: 2 or 3.
        side: side of the image, a power of two from 16 on; each doubling adds a stage.
        channels: channels of the finest stage.
        latent: length of the noise vector.

    Raises:
        ValueError: If the side is not such a power of two.
    """
    fine = widths(channels, halvings(side) - 2)
    coarse = fine[::-1]
    batch: dict[str, Any] = {"norm": "BATCH", "act": RELU}
    generator = nn.Sequential(
        Convolution(spatial_dims, latent, coarse[0], 1, 4, is_transposed=True, padding=0, output_padding=0, **batch),
        *(up(spatial_dims, a, b, **batch) for a, b in pairwise(coarse)),
        up(spatial_dims, channels, 1, norm=None, act="TANH"),
    )
    discriminator = nn.Sequential(
        down(spatial_dims, 1, channels, norm=None, act=LEAKY),
        *(down(spatial_dims, a, b, norm="BATCH", act=LEAKY) for a, b in pairwise(fine)),
        Convolution(spatial_dims, fine[-1], 1, 1, 4, padding=0, conv_only=True),
    )
    return GAN(generator, discriminator, (1, latent, *[1] * spatial_dims), (1, 1, *[side] * spatial_dims), False)


def pix2pix(spatial_dims: int, side: int, channels: int = 64) -> GAN:
    """Build Pix2Pix (Isola et al. 2017): U-Net down to a single voxel, and PatchGAN of 70 voxels; image to image.

    Args:
        spatial_dims: 2 or 3.
        side: side of the image, a power of two from 16 on; each doubling adds a level. At 16 the PatchGAN has one layer
            less.
        channels: channels of the finest level.

    Raises:
        ValueError: If the side is not such a power of two.
    """
    count = halvings(side)
    generator = unet(spatial_dims, 1, widths(channels, count), "BATCH", dropout=3)
    discriminator = PatchDiscriminator(spatial_dims, channels, 2, num_layers_d=min(3, count - 2))
    shape = (1, 1, *[side] * spatial_dims)
    return GAN(generator, discriminator, shape, shape, True)


def unet(spatial_dims: int, in_channels: int, channels: Sequence[int], norm: str, dropout: int = 0) -> nn.Module:
    """Build the U-Net of Pix2Pix: strided convolutions down, transposed ones up, and skip connections at each level.

    Args:
        spatial_dims: 2 or 3.
        in_channels: channels of the input; the output has one.
        channels: channels of each level, the finest first.
        norm: MONAI's name of the normalization; none in the first, last and coarsest layer, which may be one voxel.
        dropout: number of levels, the coarsest first, that drop half of their decoded values.
    """
    coarsest = len(channels) - 1
    network = nn.Sequential()
    for i in range(coarsest, -1, -1):
        outer = channels[i - 1] if i else in_channels
        encoder = down(spatial_dims, outer, channels[i], norm=norm if 0 < i < coarsest else None, act=LEAKY)
        inner = channels[i] if i == coarsest else 2 * channels[i]
        if i:
            decoder = up(
                spatial_dims, inner, outer, norm=norm, act=RELU, dropout=0.5 if coarsest - i < dropout else None
            )
        else:
            decoder = up(spatial_dims, inner, 1, norm=None, act="TANH")
        network = nn.Sequential(encoder, *([SkipConnection(network)] if i < coarsest else []), decoder)
    return network


class PixelNorm(nn.Module):
    """Divide the channels of each voxel by their root mean square (Karras et al. 2018, section 4.2)."""

    def forward(self, x: Tensor) -> Tensor:
        """Map `(batch, channels, *spatial)` to the same shape."""
        return x / (torch.linalg.vector_norm(x, dim=1, keepdim=True) * x.shape[1] ** -0.5 + 1e-4)


class BatchDeviation(nn.Module):
    """Append a channel with the mean standard deviation over the batch (Karras et al. 2018, section 3)."""

    def forward(self, x: Tensor) -> Tensor:
        """Map `(batch, channels, *spatial)` to `(batch, channels + 1, *spatial)`."""
        deviation = (x.var(0, correction=0) + 1e-8).sqrt().mean()
        return torch.cat([x, deviation.expand(x.shape[0], 1, *x.shape[2:])], 1)


def pggan(spatial_dims: int, side: int, channels: int = 16) -> GAN:
    """Build a progressively grown GAN (Karras et al. 2018) at its last stage, fully grown: noise to image.

    Args:
        spatial_dims: 2 or 3.
        side: side of the image, a power of two from 16 on; each doubling adds a stage.
        channels: channels of the finest stage: 16 in the published network, for 1024^2 pixels. Those published for
            smaller images have as many channels at each resolution, `min(512, 16384 // side)`: more memory, but less
            growth.

    Raises:
        ValueError: If the side is not such a power of two.
    """
    fine = widths(channels, halvings(side) - 1)
    coarse = fine[::-1]

    def three(inputs: int, outputs: int, *norm: nn.Module) -> nn.Sequential:
        return nn.Sequential(Convolution(spatial_dims, inputs, outputs, norm=None, act=LEAKY), *norm)

    def four(inputs: int, outputs: int, padding: int) -> Convolution:
        return Convolution(spatial_dims, inputs, outputs, 1, 4, padding=padding, norm=None, act=LEAKY)

    pool = nn.AvgPool3d(2) if spatial_dims == 3 else nn.AvgPool2d(2)
    generator = nn.Sequential(
        PixelNorm(),
        nn.Sequential(four(512, coarse[0], 3), PixelNorm(), three(coarse[0], coarse[0], PixelNorm())),
        *(
            nn.Sequential(nn.Upsample(scale_factor=2), three(a, b, PixelNorm()), three(b, b, PixelNorm()))
            for a, b in pairwise(coarse)
        ),
        Convolution(spatial_dims, channels, 1, kernel_size=1, conv_only=True),
    )
    discriminator = nn.Sequential(
        Convolution(spatial_dims, 1, channels, kernel_size=1, norm=None, act=LEAKY),
        *(nn.Sequential(three(a, a), three(a, b), pool) for a, b in pairwise(fine)),
        nn.Sequential(BatchDeviation(), three(fine[-1] + 1, fine[-1]), four(fine[-1], fine[-1], 0)),
        Convolution(spatial_dims, fine[-1], 1, kernel_size=1, conv_only=True),
    )
    return GAN(generator, discriminator, (1, 512, *[1] * spatial_dims), (1, 1, *[side] * spatial_dims), False)


def uzunova_coarse(spatial_dims: int, side: int = 64) -> GAN:
    """Build scale 0 as wide as the paper's authors published it: a U-Net of four levels, edges to image.

    The discriminator is MONAI's with the same width; theirs has one more stride and no last layer.

    Args:
        spatial_dims: 2 or 3.
        side: side of the image, a multiple of 16.
    """
    generator = unet(spatial_dims, 1, widths(64, 4), "INSTANCE", dropout=2)
    shape = (1, 1, *[side] * spatial_dims)
    return GAN(generator, PatchDiscriminator(spatial_dims, 64, 2, num_layers_d=2), shape, shape, True)


def uzunova_fine(spatial_dims: int, side: int = 32) -> GAN:
    """Build a finer scale as wide as the authors published it: residual blocks; edges and previous scale to image.

    Args:
        spatial_dims: 2 or 3.
        side: side of the patch, a multiple of 4.
    """
    norm: dict[str, Any] = {"norm": ("INSTANCE", {"affine": True}), "act": RELU}
    generator = nn.Sequential(
        Convolution(spatial_dims, 2, 64, **norm),
        down(spatial_dims, 64, 128, **norm),
        down(spatial_dims, 128, 256, **norm),
        *(ResidualUnit(spatial_dims, 256, 256, **norm) for _ in range(6)),
        up(spatial_dims, 256, 128, **norm),
        up(spatial_dims, 128, 64, **norm),
        Convolution(spatial_dims, 64, 1, kernel_size=7, norm=None, act="TANH"),
    )
    channels = [3, 64, 128, 256]
    layers = [
        Convolution(spatial_dims, a, b, 1 if a == 3 else 2, 4, padding=0, norm=None if a == 3 else "BATCH", act=LEAKY)
        for a, b in pairwise(channels)
    ]
    discriminator = nn.Sequential(*layers, Convolution(spatial_dims, 256, 1, 2, 4, padding=0, conv_only=True))
    shape = [side] * spatial_dims
    return GAN(generator, discriminator, (1, 2, *shape), (1, 1, *shape), True)
