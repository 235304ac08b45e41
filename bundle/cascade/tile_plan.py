"""Plan how each scale of a cascade is cut into tiles, from a tile size or from a memory budget."""

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

#: Bytes of the largest feature tensor of a tile on a CPU: the largest block that glibc's malloc keeps. Larger ones go
#: back to the system after every layer and are mapped again page by page, measured as up to 2.4 times as slow.
CPU_FEATURES = 2**25
#: Bytes of the largest tensor of any kind on a CPU, such as a tile's input: larger tiles are hardly faster, and take
#: memory.
CPU_TENSOR = 2**27
#: Time that a network takes per voxel, relative to its sketch: measured as 5 to 15, with and without bfloat16.
NETWORK = 8
#: Voxels read by the first tile whose footprint is counted; for larger tiles, counting takes longer.
FIRST_READ = 2**21
#: Fraction of the budget to plan with: what libraries need besides the tensors is not known to the byte.
PLANNED = 0.75


@dataclass(frozen=True)
class TilePlan:
    """The tiles of one scale.

    Args:
        grid: shape of the scale in voxels.
        core: voxels that a tile writes, per axis.
        halo: voxels that a tile reads around its core, per axis.
        step: the sides of ``core`` are multiples of it on the axes that are cut.
        strided: whether the scale's network has strides, so that tiles come from `bundle.geometry.strided_tiles`.
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
        """Shape of the chunks on disk; every tile writes whole chunks."""
        sides = (even(*axis) for axis in zip(self.grid, self.core, self.step, strict=True))
        return tuple(-(-side // (1 if self.strided else chunks_per_side(side))) for side in sides)


def plan_tiles(
    cascade: Any,
    grids: Sequence[Sequence[int]],
    batch: int,
    tile_size: int | Sequence[int] | None,
    budget: int,
    on_disk: bool,
    features: float = math.inf,
    largest: float = math.inf,
) -> list[TilePlan]:
    """Plan the tiles of every scale, coarsest first.

    Args:
        cascade: a `bundle.cascade.cascade.Cascade`.
        grids: the shape of each scale.
        batch: number of images in a batch.
        tile_size: voxels a side of a written tile, for all scales; null for what the budget allows.
        budget: bytes of device memory for the work on one tile.
        on_disk: whether tiles must be written as whole chunks.
        features: most bytes of a feature tensor, in float32, whatever the budget.
        largest: most bytes of any tensor, in float32, whatever the budget.

    Raises:
        ValueError: If the budget is too small for the smallest tile of a scale.
    """
    plans = []
    for scale, grid in enumerate(tuple(grid) for grid in grids):
        bounded = scale > 0 or min(cascade.coarse_reach) >= 0
        # Scale 0 is cut at multiples of its network's stride, or not at all if the network needs the whole image.
        grain = 1 if scale else cascade.divisor if bounded else max(grid)
        reach = cascade.reach[scale] if scale else cascade.coarse_reach if bounded else [0] * len(grid)
        halo = tuple(-(-side // grain) * grain for side in reach)
        if tile_size is not None:
            core = tuple(max(side // grain, 1) * grain for side in ensure_tuple_rep(tile_size, len(grid)))
        else:
            chunked = on_disk and scale > 0
            core = _choose_core(ref(cascade), scale, grid, halo, grain, batch, budget, chunked, features, largest)
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
    features: float,
    largest: float,
) -> tuple[int, ...]:
    """Return the largest tile of a scale that fits into the budget; cached, as it takes a while."""
    network: Any = cascade()
    inner = tuple(a - b for a, b in zip(halo, network.margin, strict=True)) if scale else halo
    cores = list(_smaller_and_smaller(grid, partial(_side, grain, chunked), ((1, halo), (NETWORK, inner))))
    inputs = [(batch, 2 if scale else 1, *read_shape(network, scale, grid, halo, core)) for core in cores]
    count = partial(footprint, on_meta(network), scale=scale)
    best = _first_that_fits(inputs, count, budget * PLANNED, features, largest)
    if best == len(cores):
        raise ValueError(
            f"memory_budget {budget} bytes is less than the {math.ceil(count(inputs[-1]).peak / PLANNED)} that "
            f"the smallest tile of scale {scale} needs, {' x '.join(map(str, cores[-1]))} voxels; give more."
        )
    return cores[best]


def read_shape(cascade: Any, scale: int, grid: Sequence[int], halo: Sequence[int], core: Sequence[int]) -> list[int]:
    """Return the shape of the window that one tile of a scale reads."""
    read = [side + 2 * margin for side, margin in zip(core, halo, strict=True)]
    if scale == 0:  # its network does its own padding beyond the image; only the sketch reads padding
        read = [min(side, size) + 2 * margin for side, size, margin in zip(read, grid, cascade.reach[0], strict=True)]
    return read


def _first_that_fits(
    inputs: Sequence[tuple[int, ...]],
    count: Callable[[tuple[int, ...]], Footprint],
    budget: float,
    features: float,
    largest: float,
) -> int:
    """Return the index of the first of ever smaller tiles that fits; the number of tiles if none does.

    Only a few footprints are counted, as a tile's memory grows roughly in proportion to its input.

    Args:
        inputs: the shape of each tile's input.
        count: returns the bytes that a network needs for an input shape.
        budget: most bytes of all tensors together.
        features: most bytes of a feature tensor; does not apply to the smallest tile.
        largest: most bytes of any tensor; does not apply to the smallest tile.
    """
    last = len(inputs) - 1
    reads = [math.prod(shape) // shape[1] for shape in inputs]
    lowest = next((i for i, shape in enumerate(inputs) if 4 * math.prod(shape) <= largest), last)  # needs no counting

    @cache
    def excess(i: int) -> float:
        need = count(inputs[i])
        too_large = max(need.features / features, need.largest / largest)
        return max(need.peak / budget, too_large if i < last else 0)

    def nearest(number: float) -> int:
        return min(bisect_left(reads, -number, key=neg), last)

    first = max(nearest(FIRST_READ), lowest)
    best = max(nearest(reads[first] / excess(first)), lowest)
    if reads[lowest] < 4 * reads[best] and excess(lowest) <= 1:  # features may not grow with the tile
        return lowest
    while best > lowest and excess(best - 1) <= 1:
        best -= 1
    while best <= last and excess(best) > 1:
        best += 1
    return best


def _side(grain: int, chunked: bool, shortest: int) -> int:
    """Return the shortest allowed side of a tile from ``shortest`` up: a multiple of the grain, or of whole chunks."""
    unit = chunks_per_side(shortest) if chunked else grain
    return -(-shortest // unit) * unit


def _smaller_and_smaller(
    grid: tuple[int, ...], side: Callable[[int], int], work: Sequence[tuple[int, Sequence[int]]]
) -> Iterator[tuple[int, ...]]:
    """Yield tile shapes from the whole image down, each cut once more along the axis where that adds the least work.

    As a result, a network that works within the slice gets flat tiles, wide along the axes with a large reach.

    Args:
        grid: shape of the image in voxels.
        side: returns the shortest side that a tile may have from a number of voxels up.
        work: for each step of the computation, the time per voxel and the voxels around a tile that are computed.
    """
    lengths = [list(_lengths(size, side)) for size in grid]

    def effort(cuts: Sequence[tuple[int, int]]) -> float:
        """Return the time that all tiles take together."""
        total = 0
        for weight, around in work:
            total += weight * math.prod(
                size + 2 * number * margin for size, (number, _), margin in zip(grid, cuts, around, strict=True)
            )
        return total

    def price(axis: int) -> float:
        """Return the additional work of the next cut, relative to how much smaller it makes the tiles."""
        if len(lengths[axis]) == 1:
            return math.inf
        now = [choices[0] for choices in lengths]
        following = [*now[:axis], lengths[axis][1], *now[axis + 1 :]]
        return math.log(effort(following) / effort(now)) / math.log(now[axis][1] / following[axis][1])

    yield tuple(choices[0][1] for choices in lengths)
    while any(len(choices) > 1 for choices in lengths):
        lengths[min(range(len(grid)), key=price)].pop(0)
        yield tuple(choices[0][1] for choices in lengths)


def _lengths(size: int, side: Callable[[int], int]) -> Iterator[tuple[int, int]]:
    """Yield the possible numbers of parts of an axis, each with the length of the longest part; from 1 part up."""
    last = size + 1
    for number in range(1, size + 1):
        length = min(side(-(-size // number)), size)
        if length < last:
            yield number, length
            last = length
