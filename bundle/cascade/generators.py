"""The generators of the scales above 0: residual networks without stride, padding or statistics of the tile."""

from __future__ import annotations

from collections.abc import Sequence

from bundle.geometry import channels_last, crop, pool
from monai.networks.blocks import Convolution
from monai.utils import ensure_tuple_rep
from torch import Tensor, nn


def multiscale_noise(noise: Tensor, coarsest: int) -> Tensor:
    """Add to white noise its means over blocks, each as strong as the noise: they give images large-scale differences.

    The blocks have 1, 2, 4 and so on voxels a side, up to ``coarsest``, counted from the first voxel: tiles that begin
    at multiples of it have the noise of the whole image.

    Args:
        noise: `(batch, 1, *spatial)`, sides multiples of ``coarsest``.
        coarsest: a power of two.
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
    """Two convolutions without padding, added to the middle of their input."""

    def __init__(self, channels: int, kernel_size: Sequence[int], act: str | tuple) -> None:
        super().__init__()
        dims = len(kernel_size)
        last = Convolution(dims, channels, channels, kernel_size=kernel_size, padding=0, conv_only=True)
        self.layers = nn.Sequential(
            Convolution(dims, channels, channels, kernel_size=kernel_size, padding=0, norm=None, act=act), last
        )
        self.margin = [2 * (side // 2) for side in kernel_size]
        for parameter in last.parameters():  # a block starts as the identity: deep stacks need no normalisation
            nn.init.zeros_(parameter)

    def forward(self, x: Tensor) -> Tensor:
        """Map `(batch, channels, *spatial)` to the same, ``margin`` voxels less on every side."""
        out = self.layers(x)
        out += crop(x, self.margin)  # in place: the convolution needs its own result no more
        return out


class ResNetGenerator(nn.Module):
    """A generator of the scales above 0: residual blocks at full resolution, unpadded, without tile statistics.

    Nothing in it depends on a tile's size or position: no stride, no padding, no normalisation. So a tile read with its
    reach around it gives the numbers of the whole image. Uzunova et al. 2019, section 2.2: ResNet blocks
    "produce sharp results by keeping the input image resolution unchanged".

    Args:
        spatial_dims: 2 or 3.
        in_channels: channels of the conditions, including the previous scale.
        out_channels: 1, the image.
        channels: width.
        blocks: number of residual blocks.
        kernel_size: odd, one for all axes or one per axis; ``[3, 3, 1]`` works within the slice, as a CT kernel does,
            and takes slices for a batch of 2D images, with which libraries are much faster.
        act: activation as MONAI names it.

    Raises:
        ValueError: If a side of the kernel is even.
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
    ) -> None:
        super().__init__()
        kernel = ensure_tuple_rep(kernel_size, spatial_dims)
        if not all(side % 2 for side in kernel):
            raise ValueError(f"kernel_size {kernel} has an even side; an unpadded network needs odd ones, such as 3.")
        #: Whether it works within the slice.
        self.in_slice = spatial_dims == 3 and kernel[2] == 1
        if self.in_slice:
            kernel = kernel[:2]
        dims = len(kernel)
        self.layers = nn.Sequential(
            Convolution(dims, in_channels, channels, kernel_size=kernel, padding=0, norm=None, act=act),
            *(ResidualBlock(channels, kernel, act) for _ in range(blocks)),
            Convolution(dims, channels, out_channels, kernel_size=kernel, padding=0, conv_only=True),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map `(batch, in_channels, *spatial)` to `(batch, out_channels, *spatial - 2 * reach)`."""
        if not self.in_slice:
            return self.layers(channels_last(x))
        slices = self.layers(channels_last(x.movedim(4, 1).flatten(0, 1)))
        return slices.unflatten(0, (x.shape[0], x.shape[4])).movedim(1, 4)


def residual_generators(
    spatial_dims: int,
    in_channels: int,
    blocks: Sequence[int],
    channels: int = 16,
    kernel_sizes: Sequence[Sequence[int] | int] | None = None,
) -> list[ResNetGenerator]:
    """Return the generators of scales 1 to n, a `ResNetGenerator` each.

    Args:
        spatial_dims: 2 or 3.
        in_channels: channels of the conditions.
        blocks: number of residual blocks of each scale, coarsest first.
        channels: width of all scales.
        kernel_sizes: of each scale; null for 3 everywhere.

    Raises:
        ValueError: If the numbers of kernel sizes and blocks differ.
    """
    sizes = [3] * len(blocks) if kernel_sizes is None else kernel_sizes
    if len(sizes) != len(blocks):
        raise ValueError(f"kernel_sizes {list(sizes)} must be as many as blocks {list(blocks)}: one per scale.")
    return [
        ResNetGenerator(spatial_dims, in_channels, channels=channels, blocks=number, kernel_size=size)
        for number, size in zip(blocks, sizes, strict=True)
    ]


def split_along(images: list[Tensor], axis: int, voxels: int) -> list[list[Tensor]]:
    """Split images along a spatial axis into parts of at most so many voxels, or of one slice; -1 does not split."""
    if axis < 0:
        return [images]
    size = images[0].shape[axis]
    length = max(voxels * size // images[0].numel(), 1)
    return [[image.narrow(axis, i, min(length, size - i)) for image in images] for i in range(0, size, length)]


def zero_init_last(network: nn.Module) -> None:
    """Set the last layer to zero, so that an untrained generator adds nothing to its scale."""
    last = [layer for layer in network.modules() if list(layer.parameters(recurse=False))][-1:]
    for layer in last:
        for parameter in layer.parameters(recurse=False):
            nn.init.zeros_(parameter)
