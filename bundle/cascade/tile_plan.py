"""How each scale of a cascade is cut into tiles, from a tile size or from a memory budget."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache, partial
from operator import neg
from typing import Any
from weakref import ReferenceType, ref

from bundle.cascade.memory import Footprint, footprint, on_meta
from bundle.cascade.scratch import chunks_per_side
from bundle.geometry import Tile, count_tiles, even, strided_tiles, tiles
from monai.utils import ensure_tuple_rep

#: Largest tensor of features of a tile on a CPU: the largest that glibc's malloc keeps. Larger ones go back to the
#: system after every layer, and are given to the next one page by page: up to 2.4 times as slow, measured.
CPU_TENSOR = 2**25
#: Voxels read by the first tile whose footprint is counted; counting takes longer for more.
FIRST_READ = 2**21
#: Share of the budget to plan with: what libraries need beside the tensors is not counted to the byte.
PLANNED = 0.75


@dataclass(frozen=True)
class TilePlan:
    """The tiles of one scale.

    Args:
        grid: voxels of the scale.
        core: voxels that a tile writes.
        halo: voxels that it reads around them.
        step: the sides of ``core`` are multiples of it on the axes that are cut.
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
        """The chunks on disk; every tile writes whole ones."""
        sides = (even(*axis) for axis in zip(self.grid, self.core, self.step, strict=True))
        return tuple(-(-side // (1 if self.strided else chunks_per_side(side))) for side in sides)


def plan_tiles(
    cascade: Any,
    grids: Sequence[Sequence[int]],
    batch: int,
    tile_size: int | Sequence[int] | None,
    budget: int,
    on_disk: bool,
    largest: float = math.inf,
) -> list[TilePlan]:
    """Plan the tiles of every scale, coarsest first.

    Args:
        cascade: a `bundle.cascade.cascade.Cascade`.
        grids: the shape of each scale.
        batch: images at once.
        tile_size: voxels a side of a written tile, for all scales; null for what the budget allows.
        budget: bytes of the device for the work on one tile.
        on_disk: whether tiles must be written as whole chunks.
        largest: bytes of a tensor, in float32, beyond which a tile does not grow, whatever the budget.

    Raises:
        ValueError: If the budget does not hold the smallest tile of a scale.
    """
    plans = []
    for scale, grid in enumerate(tuple(grid) for grid in grids):
        bounded = scale > 0 or min(cascade.coarse_reach) >= 0
        # Scale 0 is cut at its network's stride; it is not cut if the network needs the whole image.
        grain = 1 if scale else cascade.divisor if bounded else max(grid)
        reach = cascade.reach[scale] if scale else cascade.coarse_reach if bounded else [0] * len(grid)
        halo = tuple(-(-side // grain) * grain for side in reach)
        if tile_size is not None:
            core = tuple(max(side // grain, 1) * grain for side in ensure_tuple_rep(tile_size, len(grid)))
        else:
            chunked = on_disk and scale > 0
            core = _choose_core(ref(cascade), scale, grid, halo, grain, batch, budget, chunked, largest)
        step = tuple(chunks_per_side(side) if on_disk and scale else grain for side in core)
        core = tuple(
            size if side >= size else side // part * part for side, part, size in zip(core, step, grid, strict=True)
        )
        plans.append(TilePlan(grid, core, halo, step, strided=not scale))
    return plans


@lru_cache(maxsize=64)
def _choose_core(
    cascade: ReferenceType,
    scale: int,
    grid: tuple[int, ...],
    halo: tuple[int, ...],
    grain: int,
    batch: int,
    budget: int,
    chunked: bool,
    largest: float,
) -> tuple[int, ...]:
    """Return the largest tile of a scale that the budget holds; cached, as it takes a while."""
    network: Any = cascade()
    cores = list(_smaller_and_smaller(grid, partial(_side, grain, chunked), halo))
    inputs = [(batch, 2 if scale else 1, *read_shape(network, scale, grid, halo, core)) for core in cores]
    count = partial(footprint, on_meta(network), scale=scale)
    best = _first_that_fits(inputs, count, budget * PLANNED, largest)
    if best == len(cores):
        raise ValueError(
            f"memory_budget {budget} bytes is less than the {math.ceil(count(inputs[-1]).peak / PLANNED)} that "
            f"the smallest tile of scale {scale} needs, {' x '.join(map(str, cores[-1]))} voxels; give more."
        )
    return cores[best]


def read_shape(cascade: Any, scale: int, grid: Sequence[int], halo: Sequence[int], core: Sequence[int]) -> list[int]:
    """Return the sides of the window that one tile of a scale reads."""
    read = [side + 2 * margin for side, margin in zip(core, halo, strict=True)]
    if scale == 0:  # beyond the image its network pads itself, and only the sketch reads padding
        read = [min(side, size) + 2 * margin for side, size, margin in zip(read, grid, cascade.reach[0], strict=True)]
    return read


def _first_that_fits(
    inputs: Sequence[tuple[int, ...]], count: Callable[[tuple[int, ...]], Footprint], budget: float, largest: float
) -> int:
    """Return the index of the first of smaller and smaller tiles that fits; their number if there is none.

    Few are counted: what a tile needs grows about as what it reads.

    Args:
        inputs: the shape of each tile's input.
        count: the bytes that a network needs for a shape.
        budget: most bytes of all tensors together.
        largest: most bytes of one tensor, except for the smallest tile.
    """
    last = len(inputs) - 1
    reads = [math.prod(shape) // shape[1] for shape in inputs]

    @cache
    def excess(i: int) -> float:
        need = count(inputs[i])
        return max(need.peak / budget, need.largest / largest if i < last else 0)

    def nearest(number: float) -> int:
        return min(bisect_left(reads, -number, key=neg), last)

    first = nearest(FIRST_READ)
    best = nearest(reads[first] / excess(first))
    while best > 0 and excess(best - 1) <= 1:
        best -= 1
    while best <= last and excess(best) > 1:
        best += 1
    return best


def _side(grain: int, chunked: bool, shortest: int) -> int:
    """Return the shortest side of a tile not below a number of voxels: a multiple of the grain, or of whole chunks."""
    unit = chunks_per_side(shortest) if chunked else grain
    return -(-shortest // unit) * unit


def _smaller_and_smaller(
    grid: tuple[int, ...], side: Callable[[int], int], halo: Sequence[int]
) -> Iterator[tuple[int, ...]]:
    """Yield tiles of an image from the whole down, each cut once more along the axis that adds the least halo.

    So a network that works within the slice gets flat tiles, wide along the axes of a large reach.

    Args:
        grid: voxels of the image.
        side: the shortest side that a tile may have, not below a number of voxels.
        halo: voxels that a tile reads around itself.
    """
    lengths = [list(_lengths(size, side)) for size in grid]

    def price(axis: int) -> float:
        """How much more the next cut makes all tiles read, relative to how much smaller it makes them."""
        if len(lengths[axis]) == 1:
            return math.inf
        (number, length), (more, shorter) = lengths[axis][:2]
        read = more * (shorter + 2 * halo[axis]) / (number * (length + 2 * halo[axis]))
        return math.log(read) / math.log(length / shorter)

    yield tuple(choices[0][1] for choices in lengths)
    while any(len(choices) > 1 for choices in lengths):
        lengths[min(range(len(grid)), key=price)].pop(0)
        yield tuple(choices[0][1] for choices in lengths)


def _lengths(size: int, side: Callable[[int], int]) -> Iterator[tuple[int, int]]:
    """Yield into how many parts an axis can be cut, and the length of the longest; from the whole down."""
    last = size + 1
    for number in range(1, size + 1):
        length = min(side(-(-size // number)), size)
        if length < last:
            yield number, length
            last = length
