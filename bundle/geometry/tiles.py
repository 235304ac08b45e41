"""Cut an image into tiles, each read with a halo and written without, in whole voxels.

Each axis is cut separately; the tiles of an image are the product of the cuts. A window is a tuple of slices with
explicit, non-negative bounds. Uses the standard library only, so that every rule can be checked by hand.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from types import EllipsisType

Window = tuple[slice, ...]
#: Per axis, by how much a window extends beyond the image before its start and after its end.
Padding = tuple[tuple[int, int], ...]


def region(window: Window) -> tuple[EllipsisType | slice, ...]:
    """Return the index of a window in an array whose spatial axes come last."""
    return (..., *window)


@dataclass(frozen=True)
class Tile:
    """One tile of an image: read with a halo, written without.

    Args:
        read: the part of the tile, grown by its halo, that lies inside the image.
        pad: per axis, how far the halo extends beyond the image before its start and after its end.
        keep: the position of the write window in the network's output for the read window.
        write: the part of the image that only this tile writes.
    """

    read: Window
    pad: Padding
    keep: Window
    write: Window


def clip(start: int, stop: int, size: int) -> tuple[slice, tuple[int, int]]:
    """Return the part of an interval that lies inside an axis, and by how much it extends beyond either end."""
    return slice(max(start, 0), min(stop, size)), (max(-start, 0), max(stop - size, 0))


def clip_window(bounds: Sequence[tuple[int, int]], shape: Sequence[int]) -> tuple[Window, Padding]:
    """Apply `clip` to every axis: return the window inside the image, and the padding per axis."""
    inside, padding = zip(*(clip(*axis, size) for axis, size in zip(bounds, shape, strict=True)), strict=True)
    return inside, padding


def even(size: int, core: int, step: int = 1) -> int:
    """Return the length of equal parts (except the last) that cut an axis into as few parts as ``core`` does.

    Args:
        size: length of the axis.
        core: length of the longest allowed part.
        step: if the axis is cut, ``core`` must be a multiple of it, and the returned length is one too.

    Raises:
        ValueError: If size, core or step is below 1, or core is shorter than the axis and not a multiple of the step.
    """
    if size < 1 or core < 1 or step < 1:
        raise ValueError(f"size {size}, core {core} and step {step} must be at least 1.")
    if core >= size:
        return size
    if core % step:
        lower = core // step * step
        raise ValueError(f"core {core} is not a multiple of {step}; take {max(lower, step)} or {lower + step}.")
    length = -(-size // -(-size // core))
    return min(-(-length // step) * step, size)


def cover(size: int, core: int, halo: int, step: int = 1) -> Iterator[tuple[slice, tuple[int, int], slice, slice]]:
    """Cut one axis into as few cores of one size as possible, each read with a halo on both sides.

    All reads have the same length, padding included, because libraries keep memory for every shape that occurs. The
    last core therefore starts early enough to end with the image, but writes only what the others have left.

    Example: size 10, core 4, halo 1 (``*`` is padding beyond the image)::

        write   0 0 0 0 1 1 1 1 2 2
        read  * 0 0 0 0 .
                      . 1 1 1 1 .
                          . - - 2 2 *

    Yields:
        The read slice, the padding, the slice to keep and the write slice, as in `Tile`.

    Raises:
        ValueError: If size or core is below 1, the halo is below 0, or `even` raises it.
    """
    core = even(size, core, step)
    if halo < 0:
        raise ValueError(f"halo {halo} must be at least 0.")
    for start in range(0, size, core):
        origin, stop = min(start, size - core), min(start + core, size)
        yield *clip(origin - halo, origin + core + halo, size), slice(start - origin, stop - origin), slice(start, stop)


def cover_strided(size: int, core: int, halo: int, step: int) -> Iterator[tuple[slice, tuple[int, int], slice, slice]]:
    """Cut one axis for a network with strides: every read starts at a multiple of ``step``, inside the image.

    There is no padding beyond the border, as such a network pads its own features there.

    Example: size 10, core 4, halo 1, step 2::

        write   0 0 0 0 1 1 1 1 2 2
        read    0 0 0 0 . .
                    . . 1 1 1 1 . .
                            . . 2 2

    Yields:
        The same as `cover`, with no padding.

    Raises:
        ValueError: If `even` raises it.
    """
    core, margin = even(size, core, step), -(-halo // step) * step
    for start in range(0, size, core):
        stop = min(start + core, size)
        read, _ = clip(start - margin, stop + margin, size)
        yield read, (0, 0), slice(start - read.start, stop - read.start), slice(start, stop)


def tiles(
    shape: Sequence[int], core: Sequence[int], halo: Sequence[int], step: Sequence[int] | None = None
) -> Iterator[Tile]:
    """Cut an image of any dimension into tiles that write every voxel once, with `cover` on each axis."""
    return _product(cover, shape, core, halo, step or (1,) * len(shape))


def strided_tiles(
    shape: Sequence[int], core: Sequence[int], halo: Sequence[int], step: Sequence[int]
) -> Iterator[Tile]:
    """Cut an image into tiles for a network with strides, with `cover_strided` on each axis."""
    return _product(cover_strided, shape, core, halo, step)


def _product(
    cut: Callable[..., Iterator[tuple[slice, tuple[int, int], slice, slice]]], *arguments: Sequence[int]
) -> Iterator[Tile]:
    """Combine the cuts of all axes into tiles; the last axis varies fastest."""
    for axes in product(*(tuple(cut(*axis)) for axis in zip(*arguments, strict=True))):
        yield Tile(*zip(*axes, strict=True))


def count_tiles(shape: Sequence[int], core: Sequence[int], step: Sequence[int] | None = None) -> int:
    """Return the number of tiles that `tiles` and `strided_tiles` yield."""
    number = 1
    for size, side, grain in zip(shape, core, step or (1,) * len(shape), strict=True):
        number *= -(-size // even(size, side, grain))
    return number


def halves(tile: Tile, halo: Sequence[int], shape: Sequence[int]) -> list[Tile]:
    """Cut a tile from `tiles` in two along its longest axis; a single voxel is not cut."""
    axis = max(range(len(shape)), key=lambda i: tile.write[i].stop - tile.write[i].start)
    first, last = tile.write[axis].start, tile.write[axis].stop
    if last - first < 2:
        return [tile]
    middle, out = (first + last) // 2, []
    for half in (slice(first, middle), slice(middle, last)):
        write = (*tile.write[:axis], half, *tile.write[axis + 1 :])
        bounds = [(w.start - margin, w.stop + margin) for w, margin in zip(write, halo, strict=True)]
        keep = tuple(slice(0, w.stop - w.start) for w in write)
        out.append(Tile(*clip_window(bounds, shape), keep, write))
    return out
