"""The walk: coarse to fine, tile by tile, every voxel written once.

Gives the numbers of `bundle.networks.Cascade.forward`, while the device holds one tile and one network's work on it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from monai.inferers import Inferer
from monai.utils import ensure_tuple_rep
from torch import Tensor
from tqdm import tqdm

from bundle.geometry import Tile, Window, count_tiles, finer, pyramid, region, shapes, support, tiles
from bundle.memory import on_meta, parse_bytes, peak_bytes
from bundle.networks import pool, upsample
from bundle.storage import read_window, spacing_of

#: Share of the budget that is planned with: what libraries need beside the tensors is not counted to the byte.
PLANNED = 0.9


class CascadeInferer(Inferer):
    """Translate an image of any size with a `Cascade`, in device memory that depends on the tile alone.

    A tile is read with the network's reach around it and written without, so that neighbours need no overlap, no
    averaging, and show no seam (Uzunova et al. 2019, section 3.2: "only the network's receptive field parts of the
    generated patches are considered").

    Args:
        tile_size: voxels a side of what is written at once, one number or one per axis; null: as large as
            ``memory_budget`` allows.
        memory_budget: most bytes of the device that the walk may hold beside the network's weights, a number or text
            such as ``"2GiB"``. Kept by the choice of the tile; not looked at where ``tile_size`` is given.
        progress: whether to show a bar over the tiles of all scales.
        half: whether the networks compute in bfloat16 (torch's autocast); everything else stays in float32, the sum of
            the image and what a network adds to it among it.
        scales: how many scales to walk, from the coarsest; null for all of the cascade. Fewer give the result of a
            coarser scale on its own grid.

    Raises:
        ValueError: where a size is below 1 or a budget no number of bytes.
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

    def __call__(self, inputs: Tensor, network: Callable[..., Tensor], *args: Any, **kwargs: Any) -> Tensor:  # noqa: ARG002 - MONAI's signature
        """Translate a whole image.

        Args:
            inputs: `(batch, 1, *spatial)`, windowed; a MetaTensor's affine tells the voxel size.
            network: a `Cascade`, scripted or not, or an object that holds one as ``predictor`` or ``module``.
            args: not used.
            kwargs: not used.

        Returns:
            `(batch, 1, *spatial)`, a plain tensor on the device of ``inputs``.

        Raises:
            ValueError: where the image is not `(batch, 1, *spatial)` of the network's dimensions, or the budget is too
                small for a tile of one voxel or for the whole of scale 0.
        """
        cascade = unwrap(network)
        dims = cascade.spatial_dims
        if inputs.ndim != dims + 2 or inputs.shape[1] != 1:
            raise ValueError(
                f"image of shape {tuple(inputs.shape)} must be (batch, 1, {dims} spatial axes): the cascade is {dims}D "
                "and takes one channel."
            )
        factors = pyramid(spacing_of(inputs, dims), cascade.num_scales - 1)
        image = torch.as_tensor(inputs).as_subclass(Tensor).float()
        grids = shapes(image.shape[2:], factors)
        walked = grids[: self.scales]
        cores = self.cores(cascade, walked, image.shape[0])
        total = 1 + sum(count_tiles(grid, core) for grid, core in zip(walked[1:], cores[1:], strict=True))
        device = next(cascade.parameters()).device
        half = torch.autocast(device.type, torch.bfloat16, enabled=self.half)
        with torch.no_grad(), half, tqdm(total=total, unit="tile", disable=not self.progress) as bar:
            images = [image]
            finest = [*cores, *(cores[-1:] * (len(grids) - len(cores)))]
            for factor, grid, core in zip(factors, grids[-2::-1], finest[-2::-1], strict=True):
                images.append(halve(images[-1], factor, grid, core, device))
            result = image
            for scale, (grid, core) in enumerate(zip(walked, cores, strict=True)):
                bar.set_description(f"scale {scale}, {' x '.join(map(str, grid))}")
                source, previous = images[-1 - scale], result
                result = torch.empty((image.shape[0], 1, *grid), device=image.device)
                for tile in tiles(grid, core, cascade.reach[scale]):
                    if scale:
                        conditions = refined_conditions(source, previous, factors[-scale], tile)
                    else:
                        conditions = source[region(tile.read)]
                    conditions = read_window(conditions, padded(tile))
                    made = cascade(conditions.to(device), scale)[region(tile.keep)]
                    result[region(tile.write)] = made.to(result)
                    bar.update()
        return result

    def cores(self, cascade: Any, grids: Sequence[Sequence[int]], batch: int) -> list[tuple[int, ...]]:
        """The tile of every scale, coarsest first; scale 0 is whole.

        Raises:
            ValueError: where the budget does not hold the smallest tile, or scale 0.
        """
        whole = tuple(grids[0])
        if self.tile_size is not None:
            tile = ensure_tuple_rep(self.tile_size, len(whole))
            return [whole, *(tile for _ in grids[1:])]
        probe = on_meta(cascade)

        def need(scale: int, core: Sequence[int]) -> int:
            grown = [side + 2 * far for side, far in zip(core, cascade.reach[scale], strict=True)]
            return int(peak_bytes(probe, (batch, 2 if scale else 1, *grown), scale=scale) / PLANNED)

        if (needed := need(0, whole)) > self.memory_budget:
            raise ValueError(
                f"memory_budget {self.memory_budget} bytes is less than the {needed} that scale 0 needs as a whole, "
                f"{' x '.join(map(str, whole))} voxels; give that much, or train a cascade of more scales."
            )
        return [whole, *(self.core(grid, scale, need) for scale, grid in enumerate(grids) if scale)]

    def core(self, grid: Sequence[int], scale: int, need: Callable[[int, Sequence[int]], int]) -> tuple[int, ...]:
        """The largest tile of one scale, a cube where the image allows, that keeps to the budget."""

        def tile(side: int) -> tuple[int, ...]:
            return tuple(min(side, size) for size in grid)

        fits, above = 0, max(grid) + 1
        while above - fits > 1:
            side = (fits + above) // 2
            fits, above = (side, above) if need(scale, tile(side)) <= self.memory_budget else (fits, side)
        if not fits:
            raise ValueError(
                f"memory_budget {self.memory_budget} bytes is less than the {need(scale, tile(1))} that one voxel of "
                f"scale {scale} needs; give more."
            )
        return tile(fits)


def unwrap(network: Any) -> Any:
    """The cascade itself, where a wrapper of parallel training or of MONAI Deploy holds it."""
    for name in ("predictor", "module"):
        network = getattr(network, name, network)
    if not hasattr(network, "reach"):
        raise ValueError(f"network of type {type(network).__name__} is no Cascade: it does not tell its reach.")
    return network


def padded(tile: Tile) -> list[tuple[int, int]]:
    """The tile's halo in coordinates of its read window, over the image's border where it sticks out."""
    return [(-before, w.stop - w.start + behind) for w, (before, behind) in zip(tile.read, tile.pad, strict=True)]


def halve(
    image: Tensor, factor: Sequence[int], grid: Sequence[int], core: Sequence[int], device: torch.device
) -> Tensor:
    """The image one scale coarser, pooled tile by tile."""
    out = image.new_empty((*image.shape[:2], *grid))
    for tile in tiles(grid, core, (0,) * len(grid)):
        block = image[region(finer(tile.write, factor, image.shape[2:]))]
        out[region(tile.write)] = pool(block.to(device), list(factor)).to(out)
    return out


def refined_conditions(source: Tensor, previous: Tensor, factor: Sequence[int], tile: Tile) -> Tensor:
    """What a scale above 0 is given of a tile: the image, and the previous scale upsampled in global coordinates."""
    around = support(tile.read, factor)
    fine = upsample(read_window(previous, around), list(factor))
    inside: Window = tuple(
        slice(w.start - start * step, w.stop - start * step)
        for w, (start, _), step in zip(tile.read, around, factor, strict=True)
    )
    return torch.cat([source[region(tile.read)], fine[region(inside)]], 1)
