"""Rows of tiles along the last axis: scales on disk are computed row by row, and what no later row reads is removed.

::

    row 0    row 1    row 2       all tiles of a row are written, then the row is finished; slices of image
    [T T T]  [T T T]  [T T T]     and previous scale that lie below what the next row reads are removed
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import groupby
from typing import Any

import torch
from bundle.cascade.scratch import ScratchImage, barrier, pending_tiles, write_tile
from bundle.cascade.tile_plan import TilePlan
from bundle.geometry import Tile, finer, support
from bundle.runtime import first, prefetch, world
from torch import Tensor

#: Fewest tiles per process in a row: between rows nothing is computed, and processes wait for each other.
ROW = 8

#: Context in which images are prepared and finished: float32 on the CPU, even while networks compute in bfloat16.
FULL = torch.autocast("cpu", enabled=False)

#: Start and stop of a range of slices along the last axis.
Slices = tuple[int, int]


def make(
    out: Tensor | ScratchImage,
    plan: Iterable[Tile],
    read: Callable[[Tile], Any],
    compute: Callable[[Tile, Any], Tensor],
    begin: Callable[[Sequence[Tile]], object],
    on_skip: Callable[[], object] = lambda: None,
    threads: bool = False,
) -> Iterator[Tile]:
    """Compute an image tile by tile, and yield each tile.

    On disk, all processes share the work, row by row, and compute only tiles that are not there yet.

    Args:
        out: the image to write.
        plan: its tiles.
        read: see `bundle.runtime.prefetch`.
        compute: see `bundle.runtime.prefetch`.
        begin: called with the tiles of each row that is not complete, in float32, like the finisher.
        on_skip: called for each tile that this process does not compute.
        threads: whether to read the next tile and write the last one in threads; on a CPU, these only take cores
            from the networks.
    """
    if isinstance(out, Tensor):
        yield from prefetch(plan, read, compute, partial(write_tile, out), threads)
        return
    for row in rows(plan):
        ends = written(row)
        if out.finisher and out.finisher.is_finished(out, *ends):
            for _ in row:
                on_skip()
            continue
        pending = list(pending_tiles(out, row, on_skip))
        if pending or world() > 1:
            with FULL:
                begin(pending if world() == 1 else row)
        yield from prefetch(pending, read, compute, partial(write_tile, out), threads)
        barrier(out)
        if out.finisher and first():
            with FULL:
                out.finisher.finish(out, *ends)
            out.drop(ends[1])


def rows(plan: Iterable[Tile]) -> Iterator[list[Tile]]:
    """Yield the tiles of a scale row by row: tiles with the same start on the last axis, or several starts if few."""
    row: list[Tile] = []
    for _, tiles in groupby(sorted(plan, key=_begin), key=_begin):
        row.extend(tiles)
        if len(row) >= ROW * world():
            yield row
            row = []
    if row:
        yield row


def _begin(tile: Tile) -> int:
    return tile.write[-1].start


def written(tiles: Sequence[Tile]) -> Slices:
    """Return the range of slices that tiles write."""
    return min(map(_begin, tiles)), max(tile.write[-1].stop for tile in tiles)


def seen(tiles: Sequence[Tile], plan: TilePlan, margin: int) -> Slices:
    """Return the range of slices that tiles read from the image of their own scale.

    Args:
        tiles: tiles of the scale.
        plan: tile plan of the scale.
        margin: voxels to add around what they read, for the sketch of scale 0.
    """
    first, last = min(tile.read[-1].start for tile in tiles), max(tile.read[-1].stop for tile in tiles)
    return max(first - margin, 0), min(last + margin, plan.grid[-1])


def pooled(tiles: Sequence[Tile], factor: Sequence[int], size: int) -> Slices:
    """Return the range of slices that tiles are pooled from, in the next finer image, which has ``size`` slices."""
    first, last = written(tiles)
    (part,) = finer((slice(first, last),), factor[-1:], (size,))
    return part.start, part.stop


def upsampled(tiles: Sequence[Tile], factor: Sequence[int]) -> int:
    """Return the first slice that tiles read from the result of the previous scale."""
    return min(support(tile.read[-1:], factor[-1:])[0][0] for tile in tiles)
