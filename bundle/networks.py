"""The cascade: a U-Net for the whole low-resolution image, then residual networks of growing resolution.

`Cascade.forward`, whole image in memory, is the specification; `bundle.inferer.CascadeInferer` gives the same numbers
tile by tile. See Uzunova et al. 2019, section 2.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from bundle.geometry import pyramid
from bundle.probing import reach, strided_reach
from monai.networks.blocks import Convolution
from monai.utils import ensure_tuple_rep
from torch import Tensor, nn
from torch.nn import functional as F

#: What a generator sees beside the previous scale: `docs/method.md` says which to take.
CONDITIONINGS = ("sketch", "anchored", "image", "none")


def crop(image: Tensor, margin: list[int]) -> Tensor:
    """Take the same margin off both ends of every spatial axis."""
    for i in range(len(margin)):
        image = image.narrow(i + 2, margin[i], image.shape[i + 2] - 2 * margin[i])
    return image


def extend(image: Tensor, before: list[int], behind: list[int]) -> Tensor:
    """Repeat an image's border: how every scale looks beyond the image."""
    pad: list[int] = []
    for i in range(len(before) - 1, -1, -1):
        pad.append(before[i])
        pad.append(behind[i])
    return F.pad(image, pad, mode="replicate")


def pool(image: Tensor, factor: list[int]) -> Tensor:
    """The image one scale coarser: means of blocks, a last odd voxel doubled."""
    odd = [image.shape[i + 2] % factor[i] for i in range(len(factor))]
    image = extend(image, [0] * len(odd), odd)
    return F.avg_pool3d(image, factor) if len(factor) == 3 else F.avg_pool2d(image, factor)


def upsample(image: Tensor, factor: list[int]) -> Tensor:
    """The image one scale finer, linear between voxel centres, its border repeated."""
    size = [image.shape[i + 2] * factor[i] for i in range(len(factor))]
    return F.interpolate(image, size, mode="trilinear" if len(factor) == 3 else "bilinear")


def channels_last(image: Tensor) -> Tensor:
    """The same image in the memory layout that convolutions are fastest on."""
    return image.contiguous(memory_format=torch.channels_last_3d if image.ndim == 5 else torch.channels_last)


def octaves(noise: Tensor, coarsest: int) -> Tensor:
    """White noise and its means over blocks, as strong as itself: what gives images their large differences.

    The blocks have 1, 2, 4 and so on voxels a side, up to ``coarsest``, counted from the first voxel: where tiles begin
    at multiples of it, they have the noise of the whole.

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
    """Two convolutions without padding beside the middle of their input."""

    def __init__(self, channels: int, kernel_size: Sequence[int], act: str | tuple) -> None:
        super().__init__()
        dims = len(kernel_size)
        last = Convolution(dims, channels, channels, kernel_size=kernel_size, padding=0, conv_only=True)
        self.layers = nn.Sequential(
            Convolution(dims, channels, channels, kernel_size=kernel_size, padding=0, norm=None, act=act), last
        )
        self.margin = [2 * (side // 2) for side in kernel_size]
        for parameter in last.parameters():  # a block starts as nothing: deep stacks need no normalisation
            nn.init.zeros_(parameter)

    def forward(self, x: Tensor) -> Tensor:
        """Map `(batch, channels, *spatial)` to the same, ``margin`` voxels less on every side."""
        return crop(x, self.margin) + self.layers(x)


class ResNetGenerator(nn.Module):
    """A generator of the scales above 0: residual blocks at full resolution, unpadded, without tile statistics.

    Nothing in it depends on a tile's size or place: no stride, no padding, no normalisation. So a tile read with
    ``reach`` voxels around it gives the numbers of the whole image. Uzunova et al. 2019, section 2.2: ResNet blocks
    "produce sharp results by keeping the input image resolution unchanged".

    Args:
        spatial_dims: 2 or 3.
        in_channels: number of conditions, the previous scale among them.
        out_channels: 1, the image.
        channels: width.
        blocks: number of residual blocks.
        kernel_size: odd, one for all axes or one each; ``[3, 3, 1]`` works in the slice, as a CT kernel does, and takes
            slices for a batch of 2D images: libraries are much faster with these.
        act: activation as MONAI names it.

    Raises:
        ValueError: where a kernel side is even.
    """

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        out_channels: int = 1,
        channels: int = 16,
        blocks: int = 4,
        kernel_size: Sequence[int] | int = 3,
        act: str | tuple = "RELU",
    ) -> None:
        super().__init__()
        kernel = ensure_tuple_rep(kernel_size, spatial_dims)
        if not all(side % 2 for side in kernel):
            raise ValueError(f"kernel_size {kernel} has an even side; an unpadded network needs odd ones, such as 3.")
        #: Whether it works in the slice.
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
        made = self.layers(channels_last(x.movedim(4, 1).flatten(0, 1)))
        return made.unflatten(0, (x.shape[0], x.shape[4])).movedim(1, 4)


def residual_generators(
    spatial_dims: int,
    in_channels: int,
    blocks: Sequence[int],
    channels: int = 16,
    kernel_sizes: Sequence[Sequence[int] | int] | None = None,
) -> list[ResNetGenerator]:
    """The generators of scales 1 to n, a `ResNetGenerator` each.

    Args:
        spatial_dims: 2 or 3.
        in_channels: number of conditions.
        blocks: number of residual blocks of each, coarsest first.
        channels: width of all.
        kernel_sizes: of each; null for 3 everywhere.

    Raises:
        ValueError: where there are not as many kernel sizes as generators.
    """
    sizes = [3] * len(blocks) if kernel_sizes is None else kernel_sizes
    if len(sizes) != len(blocks):
        raise ValueError(f"kernel_sizes {list(sizes)} must be as many as blocks {list(blocks)}: one for each scale.")
    return [
        ResNetGenerator(spatial_dims, in_channels, channels=channels, blocks=number, kernel_size=size)
        for number, size in zip(blocks, sizes, strict=True)
    ]


def slabs(images: list[Tensor], axis: int, voxels: int) -> list[list[Tensor]]:
    """Parts of images along an axis of space, of as many voxels as asked, or a single one of it; -1 for all in one."""
    if axis < 0:
        return [images]
    size = images[0].shape[axis]
    length = max(voxels * size // images[0].numel(), 1)
    return [[image.narrow(axis, i, min(length, size - i)) for image in images] for i in range(0, size, length)]


def silence(network: nn.Module) -> None:
    """Set the last layer to zero: what an untrained generator adds to its scale is nothing."""
    last = [layer for layer in network.modules() if list(layer.parameters(recurse=False))][-1:]
    for layer in last:
        for parameter in layer.parameters(recurse=False):
            nn.init.zeros_(parameter)


class Cascade(nn.Module):
    """Translate an image from coarse to fine.

    ::

        image -- pool -- pool --.            every scale sketches its own image;
          |        |            v            every one may be given it tile by tile
          |        |        coarse(0)
          |        v            v
          |     fine[0]  <- upsample
          v        v
        fine[1] <- upsample
          v
        result

    Args:
        spatial_dims: 2 or 3.
        coarse: generator of scale 0, such as MONAI's `UNet`: the conditions of scale 0 to one channel, same grid.
        fine: generators of scales 1 to n, each stride-free and without tile statistics.
        sketch: image to sketch, such as `bundle.sketch.Sketch`; tells its ``reach``.
        conditioning: ``sketch`` (edges alone), ``anchored`` (scale 0 sees the image as well), ``image`` (every scale
            sees it) or ``none`` (from scratch: every scale is given white noise in place of the image).
            Channels a generator is given, in this order: sketch; image or noise, where it sees it; the
            upsampled previous scale, from scale 1 on.
        base: what a generator's output is added to: the ``image``, where the target resembles it, or the ``previous``
            scale, and at scale 0 nothing, where the contrast changes. Null: the image where a scale sees it, else the
            previous scale, and nothing at scale 0.

    Raises:
        ValueError: on an unknown conditioning or base, a base that is not seen, or a generator that cannot be tiled
            (see `reach`).
    """

    def __init__(
        self,
        spatial_dims: int,
        coarse: nn.Module,
        fine: Sequence[nn.Module],
        sketch: nn.Module,
        conditioning: str = "image",
        base: str | None = None,
    ) -> None:
        super().__init__()
        if conditioning not in CONDITIONINGS:
            raise ValueError(f"conditioning {conditioning!r} is not known; take one of {', '.join(CONDITIONINGS)}.")
        if base not in (None, "previous", *(["image"] if conditioning == "image" else [])):
            raise ValueError(
                f"base {base!r} must be null, previous, or, where every scale sees the image, image; conditioning is "
                f"{conditioning}."
            )
        self.spatial_dims = spatial_dims
        self.conditioning = conditioning
        self.coarse, self.fine, self.sketch = coarse, nn.ModuleList(fine), sketch
        #: Whether scale 0 sees the image itself, and not noise.
        self.anchored = conditioning in ("anchored", "image")
        #: Whether the generator of each scale is given the image, or the noise that stands for it.
        self.sees = [conditioning != "sketch", *[conditioning in ("image", "none")] * len(fine)]
        seen = [self.anchored, *[conditioning == "image"] * len(fine)]
        #: Whether each scale adds to the image, and not to the previous scale, or to nothing at scale 0.
        self.added = [base != "previous" and image for image in seen]
        for network in (*fine, *([coarse] if self.added[0] else [])):
            silence(network)
        self.margin = [cast(int, sketch.reach)] * spatial_dims
        channels = 3 if conditioning == "image" else 2
        own = [reach(network, channels, spatial_dims) for network in self.fine]
        #: How far, in voxels per axis, scale i looks around what it makes: its sketch, then its network.
        self.reach = [self.margin, *([far + edge for far, edge in zip(row, self.margin, strict=True)] for row in own)]
        #: Along which axis of its input each generator does not look; -1 where it looks along all of space.
        self.free = [next((i + 2 for i, far in enumerate(row) if far == 0), -1) for row in own]
        #: How many voxels it is given at once along that axis: their features stay in a processor's cache.
        self.slab = 2**18
        #: What the sides of scale 0 are filled up to a multiple of.
        self.divisor = 1
        for stride in getattr(coarse, "strides", ()):
            self.divisor *= int(max(ensure_tuple_rep(stride, spatial_dims)))
        #: How far the generator of scale 0 looks around what it makes; -1 where only the whole will do.
        self.coarse_reach = list(
            strided_reach(coarse, 1 + int(self.anchored), spatial_dims, self.divisor) or [-1] * spatial_dims
        )
        #: Number of scales, n + 1 in the paper's counting.
        self.num_scales = len(self.fine) + 1

    def forward(self, image: Tensor, scale: int = -1, spacing: list[float] | None = None) -> Tensor:
        """Translate a whole image, or make one window of one scale.

        Args:
            image: `(batch, 1, *spatial)`, windowed. With ``scale`` 0: the image of that scale, or a tile of it by
                `bundle.geometry.strided_tiles`, grown by ``reach[0]``; with ``scale`` i > 0, `(batch, 2, *spatial)`:
                image and upsampled result of scale i - 1, side by side, both grown by ``reach[i]``.
            scale: -1 for all scales.
            spacing: voxel size per axis, for the pyramid; isotropic where not given.

        Returns:
            `(batch, 1, *spatial)`; with a scale, ``reach[scale]`` voxels less on every side.
        """
        if scale == 0:
            return self.first(image)
        if scale > 0:
            return self.refine(image, scale)
        factors = pyramid([1.0] * self.spatial_dims if spacing is None else spacing, self.num_scales - 1)
        images = [image]
        for factor in factors:
            images.append(self.coarser(images[-1], factor))
        result = self.first(extend(images[-1], self.reach[0], self.reach[0]))
        for i in range(1, self.num_scales):
            level = self.num_scales - 1 - i
            fine = images[level]
            coarse = upsample(result, factors[level])
            for axis in range(self.spatial_dims):
                coarse = coarse.narrow(axis + 2, 0, fine.shape[axis + 2])
            both = torch.cat([fine, coarse], 1)
            result = self.refine(extend(both, self.reach[i], self.reach[i]), i)
        return result

    def coarser(self, image: Tensor, factor: list[int]) -> Tensor:
        """The image one scale coarser; white noise stays as strong as it is."""
        gain = 1.0
        if self.conditioning == "none":
            for step in factor:
                gain *= float(step) ** 0.5
        return pool(image, factor) * gain

    def first(self, image: Tensor) -> Tensor:
        """Scale 0: conditions to image; where it adds to the image, the difference to it."""
        x = channels_last(torch.cat(self.conditions(image, self.sees[0]), 1))
        image = crop(image, self.margin)
        behind = [-size % self.divisor for size in x.shape[2:]]
        x = extend(x, [0] * len(behind), behind)
        result = self.coarse(octaves(x, self.divisor) if self.conditioning == "none" else x)
        for axis in range(self.spatial_dims):
            result = result.narrow(axis + 2, 0, image.shape[axis + 2])
        return result + image if self.added[0] else result

    def refine(self, both: Tensor, scale: int) -> Tensor:
        """Scale i > 0: the image, or the previous scale, plus what the generator makes."""
        given = self.conditions(both[:, :1], self.sees[scale])
        given.append(crop(both[:, 1:], self.margin))
        start = both[:, :1] if self.added[scale] else both[:, 1:]
        result = crop(start, self.reach[scale])
        for i, network in enumerate(self.fine):
            if i + 1 == scale:
                axis = self.free[i]
                made = torch.cat([network(torch.cat(part, 1)) for part in slabs(given, axis, self.slab)], axis)
                # A padded network makes more than can be used.
                spare = [(made.shape[k + 2] - result.shape[k + 2]) // 2 for k in range(self.spatial_dims)]
                result = result + crop(made, spare)
        return result

    def conditions(self, image: Tensor, seen: bool) -> list[Tensor]:
        """What is taken from an image, ``margin`` voxels less a side: its sketch, and itself where it is seen."""
        out: list[Tensor] = []
        if self.conditioning != "none":  # of noise nothing is sketched
            out.append(self.sketch(image))
        if seen:
            out.append(crop(image, self.margin))
        return out
