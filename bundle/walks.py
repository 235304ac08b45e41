"""How each scale of a cascade is cut into tiles, from a size or from a memory budget."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from bundle.geometry import Tile, count_tiles, even, strided_tiles, tiles
from bundle.memory import on_meta, peak_bytes
from bundle.scratch import parts
from monai.utils import ensure_tuple_rep

#: Most voxels of a tile that is chosen for a CPU: of larger ones, features fall out of its caches. 256^3 took 5.1 s in
#: tiles of 64 or 86 voxels a side, 10 s in tiles of 128 or 165 (two cores, bfloat16).
CPU_VOXELS = 96**3
#: Share of the budget that is planned with: what libraries need beside the tensors is not counted to the byte.
PLANNED = 0.75


@dataclass(frozen=True)
class Walk:
    """The tiles of one scale.

    Args:
        grid: voxels of the scale.
        core: voxels that a tile writes.
        halo: how far it reads around them.
        step: what the sides of ``core`` are multiples of, where it cuts an axis.
        strided: whether the scale's network strides, so that tiles are those of `bundle.geometry.strided_tiles`.
    """

    grid: tuple[int, ...]
    core: tuple[int, ...]
    halo: tuple[int, ...]
    step: tuple[int, ...]
    strided: bool = False

    def __iter__(self) -> Iterator[Tile]:
        cut = strided_tiles if self.strided else tiles
        return cut(self.grid, self.core, self.halo, self.step)

    def __len__(self) -> int:
        return count_tiles(self.grid, self.core, self.step)

    @property
    def chunks(self) -> tuple[int, ...]:
        """The chunks on disk, of which every tile writes whole ones."""
        sides = (even(*axis) for axis in zip(self.grid, self.core, self.step, strict=True))
        return tuple(-(-side // (1 if self.strided else parts(side))) for side in sides)


def plan(
    cascade: Any,
    grids: Sequence[Sequence[int]],
    batch: int,
    tile_size: int | Sequence[int] | None,
    budget: int,
    on_disk: bool,
    longest: int | None = None,
) -> list[Walk]:
    """The walk of every scale, coarsest first.

    Args:
        cascade: a `bundle.networks.Cascade`.
        grids: the shape of each scale that is walked.
        batch: images at once.
        tile_size: voxels a side of what is written at once, for all scales; null for what the budget allows.
        budget: bytes of the device for the work on one tile.
        on_disk: whether tiles are to be written as whole chunks.
        longest: side of a tile beyond which the budget is not used; null for none.

    Raises:
        ValueError: where the budget does not hold the smallest tile of a scale.
    """
    probe = on_meta(cascade) if tile_size is None else None
    walks = []
    for scale, grid in enumerate(tuple(grid) for grid in grids):
        bounded = scale > 0 or min(cascade.coarse_reach) >= 0
        # Scale 0 is cut by its network's stride; not at all where that looks at everything.
        grain = 1 if scale else cascade.divisor if bounded else max(grid)
        far = cascade.reach[scale] if scale else cascade.coarse_reach if bounded else [0] * len(grid)
        halo = tuple(-(-side // grain) * grain for side in far)
        if tile_size is not None:
            core = tuple(max(side // grain, 1) * grain for side in ensure_tuple_rep(tile_size, len(grid)))
        else:
            need = partial(_need, probe, cascade, scale, grid, halo, batch)
            core = _largest(grid, grain, min(longest or max(grid), max(grid)), scale, budget, need)
        step = tuple(parts(side) if on_disk and scale else grain for side in core)
        core = tuple(
            size if side >= size else side // part * part for side, part, size in zip(core, step, grid, strict=True)
        )
        walks.append(Walk(grid, core, halo, step, strided=not scale))
    return walks


def _need(
    probe: Any, cascade: Any, scale: int, grid: Sequence[int], halo: Sequence[int], batch: int, core: Sequence[int]
) -> int:
    """The bytes that one tile of a scale takes of the device."""
    read = [side + 2 * far for side, far in zip(core, halo, strict=True)]
    if scale == 0:  # beyond the image its network pads itself, and only the sketch reads padding
        read = [min(side, size) + 2 * far for side, size, far in zip(read, grid, cascade.reach[0], strict=True)]
    return int(peak_bytes(probe, (batch, 2 if scale else 1, *read), scale=scale) / PLANNED)


def _largest(
    grid: tuple[int, ...], grain: int, longest: int, scale: int, budget: int, need: Callable[[Sequence[int]], int]
) -> tuple[int, ...]:
    """The largest tile of a multiple of the grain a side, a cube where the image allows, that keeps to the budget."""

    def tile(number: int) -> tuple[int, ...]:
        return tuple(min(number * grain, size) for size in grid)

    most = max(-(-longest // grain), 1)
    if need(tile(most)) <= budget:
        return tile(most)
    fits, above = 0, most
    while above - fits > 1:
        number = (fits + above) // 2
        fits, above = (number, above) if need(tile(number)) <= budget else (fits, number)
    if not fits:
        raise ValueError(
            f"memory_budget {budget} bytes is less than the {need(tile(1))} that the smallest tile of scale {scale} "
            f"needs, {' x '.join(map(str, tile(1)))} voxels; give more."
        )
    return tile(fits)
