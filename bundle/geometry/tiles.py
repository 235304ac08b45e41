"""Where an image is read and written: tiles, halos and scales, in whole voxels.

One axis is cut once; images of any dimension are the product. A window is a tuple of slices with plain, non-negative
bounds. Standard library only, so that every rule here can be checked by hand.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from types import EllipsisType

Window = tuple[slice, ...]


def region(window: Window) -> tuple[EllipsisType | slice, ...]:
    """The index of a window in an array whose spatial axes come last."""
    return (..., *window)


@dataclass(frozen=True)
class Tile:
    """One step of a walk over an image: read with a halo, write without.

    Args:
        read: what the image has of the tile grown by the halo.
        pad: per axis, how far the halo sticks out of the image before and behind it.
        keep: where, in what is made of the read window, the write window lies.
        write: the part of the image that this tile alone answers for.
    """

    read: Window
    pad: tuple[tuple[int, int], ...]
    keep: Window
    write: Window


def even(size: int, core: int, step: int = 1) -> int:
    """The length of parts that cut an axis into as few as ``core`` does, all but the last alike.

    Args:
        size: of the axis.
        core: longest part.
        step: what the length has to be a multiple of, where the axis is cut at all; ``core`` has to be one then.

    Raises:
        ValueError: where size, core or step is below 1, or core is no multiple of the step and shorter than the axis.
    """
    if size < 1 or core < 1 or step < 1:
        raise ValueError(f"size {size}, core {core} and step {step} must be at least 1.")
    if core >= size:
        return size
    if core % step:
        raise ValueError(
            f"core {core} is no multiple of {step}; take {max(core // step, 1) * step} or {(core // step + 1) * step}."
        )
    length = -(-size // -(-size // core))
    return min(-(-length // step) * step, size)


def cover(size: int, core: int, halo: int, step: int = 1) -> Iterator[tuple[slice, tuple[int, int], slice, slice]]:
    """Cut one axis into cores of one size, as few as can be, each read with a halo on both sides.

    All reads are of one length, the padding counted, because libraries keep memory for every shape they meet. So the
    last core starts early enough to end with the image, and writes what the others have left.

    Example: size 10, core 4, halo 1 (``*`` is padding beyond the image)::

        write   0 0 0 0 1 1 1 1 2 2
        read  * 0 0 0 0 .
                      . 1 1 1 1 .
                          . - - 2 2 *

    Yields:
        The read slice, the padding, the slice to keep and the write slice, as in `Tile`.

    Raises:
        ValueError: where size or core is below 1, the halo below 0, or see `even`.
    """
    core = even(size, core, step)
    if halo < 0:
        raise ValueError(f"halo {halo} must be at least 0.")
    for start in range(0, size, core):
        origin, stop = min(start, size - core), min(start + core, size)
        first, last = origin - halo, origin + core + halo
        yield (
            slice(max(first, 0), min(last, size)),
            (max(-first, 0), max(last - size, 0)),
            slice(start - origin, stop - origin),
            slice(start, stop),
        )


def cover_strided(size: int, core: int, halo: int, step: int) -> Iterator[tuple[slice, tuple[int, int], slice, slice]]:
    """Cut one axis for a network of that stride: every read starts at a multiple of it, and ends at the image's border.

    Beyond the border there is nothing to read: such a network pads its features there, and nowhere else.

    Example: size 10, core 4, halo 1, step 2::

        write   0 0 0 0 1 1 1 1 2 2
        read    0 0 0 0 . .
                    . . 1 1 1 1 . .
                            . . 2 2

    Yields:
        As `cover`, without padding.

    Raises:
        ValueError: see `even`.
    """
    core, far = even(size, core, step), -(-halo // step) * step
    for start in range(0, size, core):
        first, stop = max(start - far, 0), min(start + core, size)
        yield slice(first, min(stop + far, size)), (0, 0), slice(start - first, stop - first), slice(start, stop)


def tiles(
    shape: Sequence[int], core: Sequence[int], halo: Sequence[int], step: Sequence[int] | None = None
) -> Iterator[Tile]:
    """Walk an image of any dimension so that every voxel is written once: the product of one `cover` per axis."""
    return _product(cover, shape, core, halo, step or (1,) * len(shape))


def strided_tiles(
    shape: Sequence[int], core: Sequence[int], halo: Sequence[int], step: Sequence[int]
) -> Iterator[Tile]:
    """The same by `cover_strided`, for a network that strides."""
    return _product(cover_strided, shape, core, halo, step)


def _product(
    cut: Callable[..., Iterator[tuple[slice, tuple[int, int], slice, slice]]], *arguments: Sequence[int]
) -> Iterator[Tile]:
    """The tiles of the axes, each cut with its arguments; the last axis is walked first."""
    for axes in product(*(tuple(cut(*axis)) for axis in zip(*arguments, strict=True))):
        yield Tile(*zip(*axes, strict=True))


def count_tiles(shape: Sequence[int], core: Sequence[int], step: Sequence[int] | None = None) -> int:
    """How many tiles `tiles` and `strided_tiles` yield."""
    number = 1
    for size, side, grain in zip(shape, core, step or (1,) * len(shape), strict=True):
        number *= -(-size // even(size, side, grain))
    return number


def halves(tile: Tile, halo: Sequence[int], shape: Sequence[int]) -> list[Tile]:
    """A tile of `tiles` as two, cut across its longest side; one voxel is not cut."""
    axis = max(range(len(shape)), key=lambda i: tile.write[i].stop - tile.write[i].start)
    first, last = tile.write[axis].start, tile.write[axis].stop
    if last - first < 2:
        return [tile]
    out = []
    for start, stop in ((first, (first + last) // 2), ((first + last) // 2, last)):
        write = tuple(slice(start, stop) if i == axis else w for i, w in enumerate(tile.write))
        bounds = [(w.start - far, w.stop + far) for w, far in zip(write, halo, strict=True)]
        out.append(
            Tile(
                tuple(slice(max(a, 0), min(b, size)) for (a, b), size in zip(bounds, shape, strict=True)),
                tuple((max(-a, 0), max(b - size, 0)) for (a, b), size in zip(bounds, shape, strict=True)),
                tuple(slice(0, w.stop - w.start) for w in write),
                write,
            )
        )
    return out
