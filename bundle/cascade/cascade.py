"""The cascade: a U-Net for the whole low-resolution image, then residual networks of growing resolution.

`Cascade.forward`, with the whole image in memory, is the specification; `bundle.cascade.inferer.CascadeInferer`
computes the same numbers tile by tile. See Uzunova et al. 2019, section 2.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from bundle.cascade.generators import multiscale_noise, split_along, zero_init_last
from bundle.cascade.receptive_field import measure_reach, measure_strided_reach
from bundle.geometry import channels_last, crop, extend, pool, pyramid, upsample
from monai.utils import ensure_tuple_rep
from torch import Tensor, nn

#: What a generator sees in addition to the previous scale; `docs/method.md` explains which one to use.
CONDITIONINGS = ("sketch", "anchored", "image", "none")


class Cascade(nn.Module):
    """Translate an image from coarse to fine.

    ::

        image -- pool -- pool --.            each scale sketches its own image;
          |        |            v            each scale can run tile by tile
          |        |        coarse(0)
          |        v            v
          |     fine[0]  <- upsample
          v        v
        fine[1] <- upsample
          v
        result

    Args:
        spatial_dims: 2 or 3.
        coarse: generator of scale 0, such as MONAI's `UNet`; maps the conditions of scale 0 to one channel on the same
            grid.
        fine: generators of scales 1 to n, each without strides and without statistics over the tile.
        sketch: module that maps an image to its sketch, such as `bundle.cascade.sketch.Sketch`; has a ``reach``.
        conditioning: ``sketch`` (edges only), ``anchored`` (scale 0 also sees the image), ``image`` (every scale sees
            the image) or ``none`` (from scratch: every scale sees white noise instead of the image). The input channels
            of a generator are, in this order: the sketch; the image or noise, if the scale sees it; from scale 1 on,
            the upsampled previous scale.
        base: what a generator's output is added to: ``image``, if the target resembles it; or ``previous``, the
            previous scale (nothing at scale 0), if the contrast changes. Null: the image if a scale sees it, otherwise
            the previous scale (nothing at scale 0).

    Raises:
        ValueError: If conditioning or base is unknown, a scale does not see its base, or a generator cannot be tiled
            (see `measure_reach`).
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
                f"base {base!r} must be null, previous, or, if every scale sees the image, image; conditioning is "
                f"{conditioning}."
            )
        self.spatial_dims = spatial_dims
        self.conditioning = conditioning
        self.coarse, self.fine, self.sketch = coarse, nn.ModuleList(fine), sketch
        #: Whether scale 0 sees the image itself, not noise.
        self.anchored = conditioning in ("anchored", "image")
        # Plain lists, one entry per scale: TorchScript returns a list of named tuples without the names.
        #: Whether the generator of each scale sees the image, or the noise that replaces it.
        self.sees_image = [conditioning != "sketch", *[conditioning in ("image", "none")] * len(fine)]
        real = [self.anchored, *[conditioning == "image"] * len(fine)]
        #: Whether each scale adds its output to the image rather than to the previous scale (nothing at scale 0).
        self.adds_to_image = [base != "previous" and image for image in real]
        for network in (*fine, *([coarse] if self.adds_to_image[0] else [])):
            zero_init_last(network)
        self.margin = [cast(int, sketch.reach)] * spatial_dims
        channels = 3 if conditioning == "image" else 2
        reaches = [measure_reach(network, channels, spatial_dims) for network in self.fine]
        #: Voxels per axis that scale i needs around its output, for its sketch and, above scale 0, for its network.
        self.reach = [self.margin, *([a + b for a, b in zip(reach, self.margin, strict=True)] for reach in reaches)]
        #: The input axis along which each generator has a reach of 0; -1 if there is none.
        self.independent_axis = [next((i + 2 for i, side in enumerate(reach) if side == 0), -1) for reach in reaches]
        #: Voxels of its input at once, if split along that axis, so that the features stay in the processor's cache.
        self.slab_voxels = 2**18
        #: The sides of scale 0 are padded to a multiple of this number.
        self.divisor = 1
        for stride in getattr(coarse, "strides", ()):
            self.divisor *= int(max(ensure_tuple_rep(stride, spatial_dims)))
        coarse_channels = 1 + int(self.anchored)
        #: Voxels per axis that the generator of scale 0 needs around its output; -1 if it needs the whole image.
        self.coarse_reach = list(
            measure_strided_reach(coarse, coarse_channels, spatial_dims, self.divisor) or [-1] * spatial_dims
        )
        #: Number of scales, n + 1 in the paper's notation.
        self.num_scales = len(self.fine) + 1

    def forward(self, image: Tensor, scale: int = -1, spacing: list[float] | None = None) -> Tensor:
        """Translate a whole image, or compute one window of one scale.

        Args:
            image: `(batch, 1, *spatial)`, windowed. For ``scale`` 0: the image of that scale, or a tile of it from
                `bundle.geometry.strided_tiles`, grown by ``reach[0]``; for ``scale`` i > 0, `(batch, 2, *spatial)`:
                the image and the upsampled result of scale i - 1 as channels, both grown by ``reach[i]``.
            scale: the scale to compute; -1 for all scales.
            spacing: voxel spacing per axis, for the pyramid; isotropic by default.

        Returns:
            `(batch, 1, *spatial)`; for a single scale, smaller by ``reach[scale]`` voxels on every side.
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
        """Return the image one scale coarser; white noise keeps its standard deviation."""
        gain = 1.0
        if self.conditioning == "none":
            for step in factor:
                gain *= float(step) ** 0.5
        return pool(image, factor) * gain

    def first(self, image: Tensor) -> Tensor:
        """Compute scale 0: the generator's output, plus the image if the scale adds to it."""
        x = channels_last(torch.cat(self.conditions(image, self.sees_image[0]), 1))
        image = crop(image, self.margin)
        behind = [-size % self.divisor for size in x.shape[2:]]
        x = extend(x, [0] * len(behind), behind)
        result = self.coarse(multiscale_noise(x, self.divisor) if self.conditioning == "none" else x)
        for axis in range(self.spatial_dims):
            result = result.narrow(axis + 2, 0, image.shape[axis + 2])
        return result + image if self.adds_to_image[0] else result

    def refine(self, both: Tensor, scale: int) -> Tensor:
        """Compute scale i > 0: the image or the previous scale, plus the generator's output."""
        inputs = self.conditions(both[:, :1], self.sees_image[scale])
        inputs.append(crop(both[:, 1:], self.margin))
        base = both[:, :1] if self.adds_to_image[scale] else both[:, 1:]
        result = crop(base, self.reach[scale])
        for i, network in enumerate(self.fine):
            if i + 1 == scale:
                axis = self.independent_axis[i]
                if axis < 0:
                    output = network(torch.cat(inputs, 1))
                else:  # contiguous slices, as they are read and written one by one
                    inputs = [each.movedim(axis, 2).contiguous().movedim(2, axis) for each in inputs]
                    parts = split_along(inputs, axis, self.slab_voxels)
                    slices = [network(torch.cat(part, 1)).movedim(axis, 2) for part in parts]
                    output = torch.cat(slices, 2).movedim(2, axis)
                # A network with padding returns an invalid border.
                excess = [(output.shape[k + 2] - result.shape[k + 2]) // 2 for k in range(self.spatial_dims)]
                result = result + crop(output, excess)
        return result

    def conditions(self, image: Tensor, sees_image: bool) -> list[Tensor]:
        """Return the sketch of an image and, if the scale sees it, the image itself, both cropped by ``margin``."""
        out: list[Tensor] = []
        if self.conditioning != "none":  # there is no sketch of noise
            out.append(self.sketch(image))
        if sees_image:
            out.append(crop(image, self.margin))
        return out
