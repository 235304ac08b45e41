"""The cascade: a U-Net for the whole low-resolution image, then residual networks of growing resolution.

`Cascade.forward`, whole image in memory, is the specification; `bundle.cascade.inferer.CascadeInferer` gives the same
numbers tile by tile. See Uzunova et al. 2019, section 2.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from bundle.cascade.generators import octaves, silence, slabs
from bundle.cascade.receptive_field import reach, strided_reach
from bundle.geometry import channels_last, crop, extend, pool, pyramid, upsample
from monai.utils import ensure_tuple_rep
from torch import Tensor, nn

#: What a generator sees beside the previous scale: `docs/method.md` says which to take.
CONDITIONINGS = ("sketch", "anchored", "image", "none")


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
        sketch: image to sketch, such as `bundle.cascade.sketch.Sketch`; tells its ``reach``.
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
