"""The walk: coarse to fine, tile by tile, every voxel written once.

Gives the numbers of `bundle.cascade.cascade.Cascade.forward`, while the device holds one tile and one network's work on
it.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from bundle.cascade.scratch import ScratchImage, own, put, settle
from bundle.cascade.tile_plan import CPU_TENSOR, Walk, plan
from bundle.geometry import (
    Tile,
    Window,
    finer,
    halves,
    pyramid,
    read_window,
    region,
    shapes,
    spacing_of,
    support,
    upsample,
)
from bundle.runtime import first, giving_back, overlapped, parse_bytes
from monai.inferers import Inferer
from torch import Tensor
from tqdm import tqdm


class CascadeInferer(Inferer):
    """Translate an image of any size with a `Cascade`, in device memory that depends on the tile alone.

    A tile is read with the network's reach around it and written without, so that neighbours need no overlap, no
    averaging, and show no seam (Uzunova et al. 2019, section 3.2: "only the network's receptive field parts of the
    generated patches are considered").

    Args:
        tile_size: voxels a side of what is written at once, one number or one per axis; null: as large as
            ``memory_budget`` allows, but on a CPU no larger than its allocator likes.
        memory_budget: most bytes of the device that the walk may hold beside the network's weights, a number or text
            such as ``"2GiB"``. Kept by the choice of the tile; not looked at where ``tile_size`` is given.
        progress: whether to show a bar over the tiles of all scales.
        half: whether the networks compute in bfloat16 (torch's autocast); everything else stays in float32, the sum of
            the image and what a network adds to it among it.
        scales: how many scales to walk, from the coarsest; null for all of the cascade. Fewer give the result of a
            coarser scale on its own grid.

    Raises:
        ValueError: If a size is below 1 or a budget no number of bytes.
    """

    def __init__(
        self,
        tile_size: int | Sequence[int] | None = None,
        memory_budget: int | str = "2GiB",
        progress: bool = True,
        half: bool = False,
        scales: int | None = None,
    ) -> None:
        super().__init__()
        sides = () if tile_size is None else (tile_size,) if isinstance(tile_size, int) else tuple(tile_size)
        if any(side < 1 for side in sides):
            raise ValueError(
                f"tile_size {tile_size} must be at least 1 voxel a side; null takes it from memory_budget."
            )
        self.tile_size = tile_size
        self.memory_budget = parse_bytes(memory_budget)
        self.progress, self.half = progress, half
        self.scales = scales

    def __call__(  # MONAI's signature
        self, inputs: Tensor | ScratchImage, network: Callable[..., Tensor], *args: Any, **kwargs: Any
    ) -> Any:
        """Translate a whole image.

        Args:
            inputs: `(batch, 1, *spatial)`, windowed; a MetaTensor's affine tells the voxel size. A `ScratchImage` is
                read tile by tile, and so are all scales of it: they lie beside it on disk, where a run that was
                interrupted goes on, and processes that torchrun has started share the tiles.
            network: a `Cascade`, scripted or not, or an object that holds one as ``predictor`` or ``module``.
            args: not used.
            kwargs: not used.

        Returns:
            `(batch, 1, *spatial)`, a plain tensor on the device of ``inputs``, or a `ScratchImage` beside it.

        Raises:
            ValueError: If the image is not `(batch, 1, *spatial)` of the network's dimensions, or the budget is too
                small for the smallest tile of a scale.
        """
        cascade = unwrap(network)
        dims = cascade.spatial_dims
        if inputs.ndim != dims + 2 or inputs.shape[1] != 1:
            raise ValueError(
                f"image of shape {tuple(inputs.shape)} must be (batch, 1, {dims} spatial axes): the cascade is {dims}D "
                "and takes one channel."
            )
        factors = pyramid(spacing_of(inputs, dims), cascade.num_scales - 1)
        image = inputs if isinstance(inputs, ScratchImage) else torch.as_tensor(inputs).as_subclass(Tensor).float()
        grids = shapes(image.shape[2:], factors)
        on_disk = isinstance(image, ScratchImage)
        device = next(cascade.parameters()).device
        largest = CPU_TENSOR * (1 + self.half) if device.type == "cpu" else math.inf
        walks = plan(cascade, grids, image.shape[0], self.tile_size, self.memory_budget, on_disk, largest)
        half = torch.autocast(device.type, torch.bfloat16, enabled=self.half)
        walked = walks[: self.scales]
        total = sum(map(len, walked))
        with torch.no_grad(), half, tqdm(total=total, unit="tile", disable=not (self.progress and first())) as bar:
            images = [image]
            for factor, walk in zip(factors, walks[-2::-1], strict=True):
                images.append(halved(cascade, images[-1], factor, walk, device))
            result = image
            for scale, walk in enumerate(walked):
                bar.set_description(f"scale {scale}, {' x '.join(map(str, walk.grid))}")
                refined = factors[-scale] if scale else None
                generator = TileGenerator(cascade, scale, images[-1 - scale], result, refined, walk)
                result = empty(image, f"result_{scale}", walk)
                mine = own(result, walk, bar.update)
                at_once = on_disk or device.type != "cpu"
                made = overlapped(mine, generator.conditions, generator, partial(put, result), at_once)
                for _ in giving_back(made) if on_disk else made:
                    bar.update()
                settle(result)
        return result


def unwrap(network: Any) -> Any:
    """The cascade itself, where a wrapper of parallel training or of MONAI Deploy holds it."""
    for name in ("predictor", "module"):
        network = getattr(network, name, network)
    if not hasattr(network, "reach"):
        raise ValueError(f"network of type {type(network).__name__} is no Cascade: it does not tell its reach.")
    return network


def empty(image: Tensor | ScratchImage, name: str, walk: Walk) -> Tensor | ScratchImage:
    """An image of a walk's grid, where another one is: in memory or beside it on disk."""
    if isinstance(image, ScratchImage):
        return image.sibling(name, walk.grid, walk.chunks)
    return torch.empty((image.shape[0], 1, *walk.grid), device=image.device)


def halved(cascade: Any, image: Tensor | ScratchImage, factor: Sequence[int], walk: Walk, device: torch.device) -> Any:
    """The image one scale coarser, pooled tile by tile."""
    out = empty(image, f"image_{'x'.join(map(str, walk.grid))}", walk)

    def read(tile: Tile) -> Tensor:
        return image[region(finer(tile.write, factor, image.shape[2:]))]

    def pooled(_: Tile, block: Tensor) -> Tensor:
        return cascade.coarser(block.to(device), list(factor))

    mine = own(out, replace(walk, halo=(0,) * len(walk.halo)))
    for _ in overlapped(mine, read, pooled, partial(put, out), isinstance(out, ScratchImage)):
        pass
    settle(out)
    return out


class TileGenerator:
    """What makes the tiles of one scale, and makes them in parts where the device's memory does not hold one.

    Args:
        cascade: the cascade.
        scale: the scale.
        source: the image of that scale.
        previous: the result of the scale before.
        factor: from there to here; null at scale 0.
        walk: of the scale.
    """

    def __init__(
        self,
        cascade: Any,
        scale: int,
        source: Tensor | ScratchImage,
        previous: Tensor | ScratchImage,
        factor: Sequence[int] | None,
        walk: Walk,
    ) -> None:
        self.cascade, self.scale, self.walk = cascade, scale, walk
        self.source, self.previous, self.factor = source, previous, factor
        self.device = next(cascade.parameters()).device
        #: Most voxels that have been found to fit at once.
        self.most = math.prod(walk.grid)

    def __call__(self, tile: Tile, given: Tensor) -> Tensor:
        """Make a tile, `(batch, 1, *write)`, from its conditions.

        Raises:
            torch.OutOfMemoryError: If not even one voxel fits, or the tile of scale 0.
        """
        size = math.prod(w.stop - w.start for w in tile.write)
        if size <= self.most:
            try:
                return self.cascade(given.to(self.device, non_blocking=True), self.scale)[region(tile.keep)]
            except torch.OutOfMemoryError:
                if self.walk.strided or size < 2:
                    raise
                self.most = size // 2
                warnings.warn(
                    f"scale {self.scale}: the device's memory does not hold a tile of {size} voxels; going on with "
                    f"halves. A memory_budget that leaves room for others avoids this.",
                    stacklevel=2,
                )
        out = torch.empty((*self.source.shape[:2], *(w.stop - w.start for w in tile.write)))
        for part in halves(tile, self.walk.halo, self.walk.grid):
            place = tuple(
                slice(a.start - b.start, a.stop - b.start) for a, b in zip(part.write, tile.write, strict=True)
            )
            out[region(place)] = self(part, self.conditions(part)).cpu()
        return out

    def conditions(self, tile: Tile) -> Tensor:
        """What the scale is given of a tile: the image; above scale 0 with the previous scale upsampled beside it.

        Upsampled in global coordinates, so that every tile sees the same. On the way to a GPU it lies in pinned memory.
        """
        if self.factor is None:
            edges = zip(tile.read, self.cascade.reach[0], strict=True)
            given = read_window(self.source, [(w.start - far, w.stop + far) for w, far in edges])
        else:
            around = support(tile.read, self.factor)
            fine = upsample(read_window(self.previous, around), list(self.factor))
            inside: Window = tuple(
                slice(w.start - start * step, w.stop - start * step)
                for w, (start, _), step in zip(tile.read, around, self.factor, strict=True)
            )
            # The halo over the image's border, in coordinates of what was read.
            bounds = [
                (-before, w.stop - w.start + behind) for w, (before, behind) in zip(tile.read, tile.pad, strict=True)
            ]
            both = (self.source[region(tile.read)], fine[region(inside)])
            given = torch.cat([read_window(image, bounds) for image in both], 1)
        return given.pin_memory() if self.device.type == "cuda" and given.device.type == "cpu" else given
