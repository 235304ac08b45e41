"""The generators of the scales above 0: residual networks without strides, padding or statistics over the tile."""

from __future__ import annotations

from collections.abc import Sequence

from bundle.geometry import channels_last, crop, pool
from monai.networks.blocks import Convolution
from monai.networks.layers import Pool
from monai.utils import ensure_tuple_rep
from torch import Tensor, nn


def multiscale_noise(noise: Tensor, coarsest: int) -> Tensor:
    """Add to white noise its block means, each as strong as the noise, so that images also differ at large scales.

    The blocks have 1, 2, 4, ... voxels a side, up to ``coarsest``, counted from the first voxel. A tile that starts at
    a multiple of ``coarsest`` therefore has the same noise as the whole image.

    Args:
        noise: `(batch, 1, *spatial)`, with sides that are multiples of ``coarsest``.
        coarsest: largest side of a block, a power of two.
    """
    dims = noise.dim() - 2
    out, coarse, side, number = noise, noise, 1, 1
    while side < coarsest:
        side, number = 2 * side, number + 1
        coarse = pool(coarse, [2] * dims) * 2.0 ** (0.5 * dims)
        block = coarse
        for axis in range(dims):
            block = block.repeat_interleave(side, axis + 2)
        out = out + block
    return out / number**0.5


class ResidualBlock(nn.Module):
    """Two convolutions without padding, whose output is added to the centre of their input."""

    def __init__(self, channels: int, kernel_size: Sequence[int], act: str | tuple) -> None:
        super().__init__()
        dims = len(kernel_size)
        last = Convolution(dims, channels, channels, kernel_size=kernel_size, padding=0, conv_only=True)
        self.layers = nn.Sequential(
            Convolution(dims, channels, channels, kernel_size=kernel_size, padding=0, norm=None, act=act), last
        )
        self.margin = [2 * (side // 2) for side in kernel_size]
        for parameter in last.parameters():  # a block starts as the identity, so deep stacks need no normalisation
            nn.init.zeros_(parameter)

    def forward(self, x: Tensor) -> Tensor:
        """Map `(batch, channels, *spatial)` to the same shape less ``margin`` voxels on every side."""
        out = self.layers(x)
        out += crop(x, self.margin)  # in place: a convolution does not need its output for the backward pass
        return out


class ResNetGenerator(nn.Module):
    """A generator of the scales above 0: residual blocks at full resolution, unpadded, without tile statistics.

    It has no strides, padding or normalisation, so its output does not depend on a tile's size or position: a tile read
    with the network's reach around it gives the same numbers as the whole image. Uzunova et al. 2019, section 2.2:
    ResNet blocks "produce sharp results by keeping the input image resolution unchanged".

    Args:
        spatial_dims: 2 or 3.
        in_channels: channels of the conditions, including the previous scale.
        out_channels: 1 for an image.
        channels: number of feature channels.
        blocks: number of residual blocks.
        kernel_size: odd size of the convolution kernel, one for all axes or one per axis. ``[3, 3, 1]`` works within
            the slice, as a reconstruction kernel does, and runs on the slices as a batch of 2D images, which is much
            faster.
        act: activation, by its MONAI name.
        detail: odd side, in voxels, of the square or cube whose mean is taken off the output around each voxel, so that
            the network adds detail and leaves larger structures to the previous scale; null takes nothing off.

    Raises:
        ValueError: If a kernel size or ``detail`` is even.
    """

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        out_channels: int = 1,
        channels: int = 16,
        blocks: int = 4,
        kernel_size: Sequence[int] | int = 3,
        act: str | tuple = ("RELU", {"inplace": True}),
        detail: int | None = None,
    ) -> None:
        super().__init__()
        if detail is not None and not detail % 2:
            raise ValueError(f"detail {detail} is even; a mean around a voxel needs an odd side, such as 9.")
        kernel = ensure_tuple_rep(kernel_size, spatial_dims)
        if not all(side % 2 for side in kernel):
            raise ValueError(f"kernel_size {kernel} has an even side; an unpadded network needs odd ones, such as 3.")
        #: Whether the network works within the slice.
        self.in_slice = spatial_dims == 3 and kernel[2] == 1
        if self.in_slice:
            kernel = kernel[:2]
        dims = len(kernel)
        self.layers = nn.Sequential(
            Convolution(dims, in_channels, channels, kernel_size=kernel, padding=0, norm=None, act=act),
            *(ResidualBlock(channels, kernel, act) for _ in range(blocks)),
            Convolution(dims, channels, out_channels, kernel_size=kernel, padding=0, conv_only=True),
            *([Detail(dims, detail)] if detail else []),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map `(batch, in_channels, *spatial)` to `(batch, out_channels, *spatial - 2 * reach)`."""
        if not self.in_slice:
            return self.layers(channels_last(x))
        slices = self.layers(channels_last(x.movedim(4, 1).flatten(0, 1)))
        return slices.unflatten(0, (x.shape[0], x.shape[4])).movedim(1, 4)


class Detail(nn.Module):
    """Take the mean around each voxel off an image.

    Args:
        spatial_dims: 2 or 3.
        side: odd side of the square or cube of the mean, in voxels.
    """

    def __init__(self, spatial_dims: int, side: int) -> None:
        super().__init__()
        self.mean = Pool["AVG", spatial_dims](side, stride=1)
        self.margin = [side // 2] * spatial_dims

    def forward(self, x: Tensor) -> Tensor:
        """Map `(batch, channels, *spatial)` to the same shape less ``margin`` voxels on every side."""
        return crop(x, self.margin) - self.mean(x)


def residual_generators(
    spatial_dims: int,
    in_channels: int,
    blocks: Sequence[int],
    channels: int = 16,
    kernel_sizes: Sequence[Sequence[int] | int] | None = None,
    detail: int | None = None,
) -> list[ResNetGenerator]:
    """Return one `ResNetGenerator` for each of the scales 1 to n.

    Args:
        spatial_dims: 2 or 3.
        in_channels: channels of the conditions.
        blocks: number of residual blocks of each scale, coarsest first.
        channels: number of feature channels at every scale.
        kernel_sizes: kernel size of each scale; null for 3 everywhere.
        detail: see `ResNetGenerator`.

    Raises:
        ValueError: If ``kernel_sizes`` and ``blocks`` differ in length.
    """
    sizes = [3] * len(blocks) if kernel_sizes is None else kernel_sizes
    if len(sizes) != len(blocks):
        raise ValueError(f"kernel_sizes {list(sizes)} must be as many as blocks {list(blocks)}: one per scale.")
    return [
        ResNetGenerator(spatial_dims, in_channels, channels=channels, blocks=number, kernel_size=size, detail=detail)
        for number, size in zip(blocks, sizes, strict=True)
    ]


def split_along(images: list[Tensor], axis: int, voxels: int) -> list[list[Tensor]]:
    """Split images along an axis into parts of at most ``voxels`` voxels, but at least one slice; -1 does not split."""
    if axis < 0:
        return [images]
    size = images[0].shape[axis]
    length = max(voxels * size // images[0].numel(), 1)
    return [[image.narrow(axis, i, min(length, size - i)) for image in images] for i in range(0, size, length)]


def zero_init_last(network: nn.Module) -> None:
    """Set the last layer to zero, so that an untrained generator adds nothing to its base."""
    last = [layer for layer in network.modules() if list(layer.parameters(recurse=False))][-1:]
    for layer in last:
        for parameter in layer.parameters(recurse=False):
            nn.init.zeros_(parameter)
