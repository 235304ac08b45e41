"""Tiled inference: coarse to fine, tile by tile, every voxel written once.

Computes the same numbers as `bundle.cascade.cascade.Cascade.forward`, while the device holds only one tile and the
features of one network.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from bundle.cascade.rows import make, pooled, seen, upsampled
from bundle.cascade.scratch import ScratchImage
from bundle.cascade.tile_plan import CPU_FEATURES, CPU_TENSOR, TilePlan, plan_tiles
from bundle.geometry import (
    Tile,
    finer,
    halves,
    pyramid,
    read_window,
    region,
    repeat_border,
    shapes,
    spacing_of,
    upsampled_window,
)
from bundle.runtime import first, in_bfloat16, note, parse_bytes, trim_malloc, warn
from monai.inferers import Inferer
from torch import Tensor
from tqdm import tqdm


class CascadeInferer(Inferer):
    """Translate an image of any size with a `Cascade`, in device memory that depends only on the tile.

    A tile is read with the network's reach around it and written without it. The written parts of neighbouring tiles
    do not overlap, are not averaged, and show no seam (Uzunova et al. 2019, section 3.2: "only the network's receptive
    field parts of the generated patches are considered").

    Args:
        tile_size: voxels a side of a written tile, one number or one per axis. Null: as large as ``memory_budget``
            allows, but on a CPU no larger than its allocator handles well.
        memory_budget: most bytes of device memory to use in addition to the network's weights, a number or text such
            as ``"2GiB"``. Determines the tile size; ignored if ``tile_size`` is given.
        progress: whether to show a progress bar over the tiles of all scales.
        half: whether the networks compute in bfloat16 (`bundle.runtime.in_bfloat16`; on a CPU, only those above scale
            0). Everything else stays in float32, including the sum of the image and a network's output.
        scales: number of scales to compute, from the coarsest; null for all. With fewer scales, the result is on the
            grid of the last one.

    Raises:
        ValueError: If a tile side is below 1, or the budget is not a number of bytes.
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
            inputs: `(batch, 1, *spatial)`, windowed; the affine of a MetaTensor gives the voxel spacing. A
                `ScratchImage` is read tile by tile. Its scales are stored next to it on disk for as long as they are
                needed, an interrupted run resumes from them, and processes started by torchrun share the tiles.
            network: a `Cascade`, scripted or not, or an object that holds one as ``predictor`` or ``module``.
            args: unused.
            kwargs: unused.

        Returns:
            `(batch, 1, *spatial)`, a plain tensor on the device of ``inputs``, or a `ScratchImage` in the same group.

        Raises:
            ValueError: If the image is not `(batch, 1, *spatial)` with the network's number of spatial axes, or the
                budget is too small for the smallest tile of a scale.
        """
        cascade = unwrap(network)
        dims = cascade.spatial_dims
        if inputs.ndim != dims + 2 or inputs.shape[1] != 1:
            raise ValueError(
                f"image of shape {tuple(inputs.shape)} must be (batch, 1, {dims} spatial axes): the cascade is {dims}D "
                "and takes one channel."
            )
        image = inputs if isinstance(inputs, ScratchImage) else torch.as_tensor(inputs).as_subclass(Tensor).float()
        scratch = image if isinstance(image, ScratchImage) else None
        device = next(cascade.parameters()).device
        spacing = spacing_of(inputs, dims)
        factors, plans = self.plan(cascade, image.shape[2:], spacing, scratch is not None, image.shape[0])
        total = sum(map(len, plans[: self.scales]))
        note(tiles=[{"grid": list(plan.grid), "tile": list(plan.core), "number": len(plan)} for plan in plans])
        silent = not self.progress or not first()
        with torch.no_grad(), tqdm(total=total, unit="tile", disable=silent) as bar:
            finest = len(plans) - 1
            done = scratch.resume([[*plan.grid, *plan.core, *plan.chunks] for plan in plans]) if scratch else 0
            bar.update(sum(map(len, plans[:done])))
            images = {finest: image}
            for scale in range(finest - 1, done - 1, -1):
                factor = factors[finest - 1 - scale]
                images[scale] = pool_tiles(cascade, images[scale + 1], scale, factor, plans[scale], device)
            result = scratch.result(done - 1, done > finest) if scratch and done else image
            for scale, plan in list(enumerate(plans))[done : self.scales]:
                bar.set_description(f"scale {scale}, {' x '.join(map(str, plan.grid))}")
                upsampling = factors[-scale] if scale else None
                generator = TileGenerator(cascade, scale, images[scale], result, upsampling, plan)
                result = empty_like(image, f"result_{scale}", plan)
                if scratch:
                    result = scratch.result(scale, scale == finest)
                threads = device.type != "cpu"
                tiles = make(result, plan, generator.read, generator, generator.begin, bar.update, threads)
                with in_bfloat16(device, self.half, strided=scale == 0):
                    for _ in trim_malloc(tiles) if scratch else tiles:
                        bar.update()
                if scratch:
                    scratch.finish_scale(scale, scale == finest)
        return result

    def plan(
        self, cascade: Any, shape: Sequence[int], spacing: Sequence[float], on_disk: bool, batch: int = 1
    ) -> tuple[list[list[int]], list[TilePlan]]:
        """Plan the pyramid and the tiles of an image from its shape alone.

        Args:
            cascade: a `Cascade`.
            shape: voxels per axis.
            spacing: voxel spacing per axis.
            on_disk: whether the scales of the image are stored on disk.
            batch: number of images in a batch.

        Returns:
            The pooling factors of the pyramid, finest first, and the tile plan of each scale, coarsest first.

        Raises:
            ValueError: If the budget is too small for the smallest tile of a scale.
        """
        factors = pyramid(list(spacing), cascade.num_scales - 1)
        on_cpu = next(cascade.parameters()).device.type == "cpu"
        most = (CPU_FEATURES * (1 + self.half), CPU_TENSOR) if on_cpu else (math.inf, math.inf)
        grids = shapes(shape, factors)
        return factors, plan_tiles(cascade, grids, batch, self.tile_size, self.memory_budget, on_disk, *most)


def is_out_of_memory(error: RuntimeError) -> bool:
    """Return whether a device ran out of memory; for Apple's (MPS), only the message of the error tells."""
    return isinstance(error, torch.OutOfMemoryError) or str(error).startswith("MPS backend out of memory")


def unwrap(network: Any) -> Any:
    """Return the cascade itself, also from inside a wrapper of parallel training or MONAI Deploy."""
    for name in ("predictor", "module"):
        network = getattr(network, name, network)
    if not hasattr(network, "reach"):
        raise ValueError(f"network of type {type(network).__name__} is not a Cascade: it has no reach.")
    return network


def empty_like(image: Tensor | ScratchImage, name: str, plan: TilePlan) -> Tensor | ScratchImage:
    """Return an empty image on a plan's grid, in memory or on disk like ``image``."""
    if isinstance(image, ScratchImage):
        return image.sibling(name, plan.grid, plan.chunks)
    return torch.empty((image.shape[0], 1, *plan.grid), device=image.device)


def pool_tiles(
    cascade: Any, image: Tensor | ScratchImage, scale: int, factor: Sequence[int], plan: TilePlan, device: torch.device
) -> Any:
    """Return the image of a scale, pooled tile by tile from that of the next finer scale."""
    out = empty_like(image, f"image_{scale}", plan)

    def begin(tiles: Sequence[Tile]) -> None:
        bring(image, *pooled(tiles, factor, image.shape[-1]))

    def read(tile: Tile) -> Tensor:
        return image[region(finer(tile.write, factor, image.shape[2:]))]

    def pool(_: Tile, block: Tensor) -> Tensor:
        return cascade.coarser(block.to(device), list(factor))

    for _ in make(out, plan, read, pool, begin, threads=device.type != "cpu"):
        pass
    if isinstance(image, ScratchImage):
        image.forget(image.shape[-1])
    return out


def bring(image: Tensor | ScratchImage, start: int, stop: int) -> None:
    """Make the slices from ``start`` to ``stop`` of an image on disk available, and remove the slices before them."""
    if isinstance(image, ScratchImage):
        image.forget(start)
        image.fill(start, stop)


class TileGenerator:
    """Compute the tiles of one scale, in parts if a whole tile does not fit into the device's memory.

    Args:
        cascade: the cascade.
        scale: the scale to compute.
        source: the image of that scale.
        previous: the result of the previous scale.
        factor: upsampling factors from the previous scale to this one; null at scale 0.
        plan: the tiles of the scale.
    """

    def __init__(
        self,
        cascade: Any,
        scale: int,
        source: Tensor | ScratchImage,
        previous: Tensor | ScratchImage,
        factor: Sequence[int] | None,
        plan: TilePlan,
    ) -> None:
        self.cascade, self.scale, self.plan = cascade, scale, plan
        self.source, self.previous, self.factor = source, previous, factor
        self.device = next(cascade.parameters()).device
        #: Most voxels to compute at once; reduced whenever the device runs out of memory.
        self.most = math.prod(plan.grid)

    def __call__(self, tile: Tile, inputs: Tensor) -> Tensor:
        """Compute a tile, `(batch, 1, *write)`, from the output of `read`.

        Raises:
            torch.OutOfMemoryError: If a single voxel, or a tile of scale 0, does not fit into the device's memory.
        """
        size = math.prod(w.stop - w.start for w in tile.write)
        if size <= self.most:
            try:
                inputs = inputs.to(self.device, non_blocking=self.device.type == "cuda")
                return self.cascade(inputs, self.scale)[region(tile.keep)]
            except RuntimeError as error:
                if not is_out_of_memory(error) or self.plan.strided or size < 2:
                    raise
                self.most = size // 2
                warn(
                    f"scale {self.scale}: the device's memory does not hold a tile of {size} voxels; continuing with "
                    f"halves. A memory_budget that leaves room for others avoids this."
                )
        out = torch.empty((*self.source.shape[:2], *(w.stop - w.start for w in tile.write)))
        for part in halves(tile, self.plan.halo, self.plan.grid):
            place = tuple(
                slice(a.start - b.start, a.stop - b.start) for a, b in zip(part.write, tile.write, strict=True)
            )
            out[region(place)] = self(part, self.read(part)).cpu()
        return out

    def begin(self, tiles: Sequence[Tile]) -> None:
        """Prepare what a row of tiles reads on disk; remove from image and previous scale what no later row reads."""
        bring(self.source, *seen(tiles, self.plan, 0 if self.scale else self.cascade.reach[0][-1]))
        if self.factor and isinstance(self.previous, ScratchImage):
            self.previous.drop(upsampled(tiles, self.factor))

    def read(self, tile: Tile) -> Tensor:
        """Read a tile's input: the image and, above scale 0, the upsampled previous scale as a second channel.

        The input is in pinned memory if it goes to a GPU.
        """
        if self.factor is None:
            axes = zip(tile.read, self.cascade.reach[0], strict=True)
            inputs = read_window(self.source, [(w.start - reach, w.stop + reach) for w, reach in axes])
        else:
            fine = upsampled_window(partial(read_window, self.previous), tile.read, self.factor)
            both = torch.cat([self.source[region(tile.read)], fine], 1)
            inputs = repeat_border(both, tile.pad)
        return inputs.pin_memory() if self.device.type == "cuda" and inputs.device.type == "cpu" else inputs
