"""How each scale of a cascade is cut into tiles, from a size or from a memory budget."""

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
from bundle.cascade.scratch import parts
from bundle.geometry import Tile, count_tiles, even, strided_tiles, tiles
from monai.utils import ensure_tuple_rep

#: Largest tensor of features that a tile is chosen for on a CPU: the largest that glibc's malloc keeps. Larger ones go
#: back to the system after every layer, and are given to the next one page by page: up to 2.4 times as slow, measured.
CPU_TENSOR = 2**25
#: Voxels that the first tile reads whose footprint is taken; the more, the longer that takes.
TRIED = 2**21
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
    largest: float = math.inf,
) -> list[Walk]:
    """The walk of every scale, coarsest first.

    Args:
        cascade: a `bundle.cascade.cascade.Cascade`.
        grids: the shape of each scale that is walked.
        batch: images at once.
        tile_size: voxels a side of what is written at once, for all scales; null for what the budget allows.
        budget: bytes of the device for the work on one tile.
        on_disk: whether tiles are to be written as whole chunks.
        largest: bytes of a tensor, in float32, beyond which a tile does not grow, whatever the budget.

    Raises:
        ValueError: If the budget does not hold the smallest tile of a scale.
    """
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
            chunked = on_disk and scale > 0
            core = _chosen(ref(cascade), scale, grid, halo, grain, batch, budget, chunked, largest)
        step = tuple(parts(side) if on_disk and scale else grain for side in core)
        core = tuple(
            size if side >= size else side // part * part for side, part, size in zip(core, step, grid, strict=True)
        )
        walks.append(Walk(grid, core, halo, step, strided=not scale))
    return walks


@lru_cache(maxsize=64)
def _chosen(
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
    """The largest tile of a scale that the budget holds; found once for images of one shape, as that takes a while."""
    network: Any = cascade()
    cores = list(_ever_smaller(grid, partial(_side, grain, chunked), halo))
    given = [(batch, 2 if scale else 1, *_read(network, scale, grid, halo, core)) for core in cores]
    takes = partial(footprint, on_meta(network), scale=scale)
    found = _first_that_fits(given, takes, budget * PLANNED, largest)
    if found == len(cores):
        raise ValueError(
            f"memory_budget {budget} bytes is less than the {math.ceil(takes(given[-1]).peak / PLANNED)} that "
            f"the smallest tile of scale {scale} needs, {' x '.join(map(str, cores[-1]))} voxels; give more."
        )
    return cores[found]


def _read(cascade: Any, scale: int, grid: Sequence[int], halo: Sequence[int], core: Sequence[int]) -> list[int]:
    """The sides of what one tile of a scale reads."""
    read = [side + 2 * far for side, far in zip(core, halo, strict=True)]
    if scale == 0:  # beyond the image its network pads itself, and only the sketch reads padding
        read = [min(side, size) + 2 * far for side, size, far in zip(read, grid, cascade.reach[0], strict=True)]
    return read


def _first_that_fits(
    given: Sequence[tuple[int, ...]], takes: Callable[[tuple[int, ...]], Footprint], budget: float, largest: float
) -> int:
    """The first of ever smaller tiles that takes no more than it may, as an index; their number where none does.

    Few are tried: what a tile takes grows about as what it reads.

    Args:
        given: the shape of what each reads.
        takes: what a network takes to work on a shape.
        budget: bytes that all tensors alive may take.
        largest: bytes that one may take, unless the tile is the smallest.
    """
    last = len(given) - 1
    reads = [math.prod(shape) // shape[1] for shape in given]

    @cache
    def excess(i: int) -> float:
        taken = takes(given[i])
        return max(taken.peak / budget, taken.largest / largest if i < last else 0)

    def nearest(number: float) -> int:
        return min(bisect_left(reads, -number, key=neg), last)

    first = nearest(TRIED)
    found = nearest(reads[first] / excess(first))
    while found > 0 and excess(found - 1) <= 1:
        found -= 1
    while found <= last and excess(found) > 1:
        found += 1
    return found


def _side(grain: int, chunked: bool, shortest: int) -> int:
    """The shortest side of a tile, of that many voxels at least: a multiple of the grain, or of whole chunks."""
    unit = parts(shortest) if chunked else grain
    return -(-shortest // unit) * unit


def _ever_smaller(grid: tuple[int, ...], side: Callable[[int], int], halo: Sequence[int]) -> Iterator[tuple[int, ...]]:
    """Tiles of an image from the whole down, each cut once more along the axis where it costs least to read halos.

    So a network that works in the slice gets flat tiles, wide where it looks far.

    Args:
        grid: voxels of the image.
        side: the shortest side that a tile may have, not below a number of voxels.
        halo: how far a tile is read around.
    """
    ways = [list(_lengths(size, side)) for size in grid]

    def price(axis: int) -> float:
        """How much more is read by the next cut, for how much smaller the tile gets."""
        if len(ways[axis]) == 1:
            return math.inf
        (number, length), (more, shorter) = ways[axis][:2]
        read = more * (shorter + 2 * halo[axis]) / (number * (length + 2 * halo[axis]))
        return math.log(read) / math.log(length / shorter)

    yield tuple(way[0][1] for way in ways)
    while any(len(way) > 1 for way in ways):
        ways[min(range(len(grid)), key=price)].pop(0)
        yield tuple(way[0][1] for way in ways)


def _lengths(size: int, side: Callable[[int], int]) -> Iterator[tuple[int, int]]:
    """Into how many parts an axis can be cut, and how long the longest is; from the whole down."""
    last = size + 1
    for number in range(1, size + 1):
        length = min(side(-(-size // number)), size)
        if length < last:
            yield number, length
            last = length
