"""Where an image is read and written: tiles, halos and scales, in whole voxels.

One axis is cut once; images of any dimension are the product. A window is a tuple of slices with plain, non-negative
bounds. Standard library only, so that every rule here can be checked by hand.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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


def cover(size: int, core: int, halo: int) -> Iterator[tuple[slice, tuple[int, int], slice, slice]]:
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
        ValueError: where size or core is below 1, or the halo below 0.
    """
    if size < 1 or core < 1 or halo < 0:
        raise ValueError(f"size {size} and core {core} must be at least 1, halo {halo} at least 0.")
    core = -(-size // -(-size // core))
    for start in range(0, size, core):
        origin, stop = min(start, size - core), min(start + core, size)
        first, last = origin - halo, origin + core + halo
        yield (
            slice(max(first, 0), min(last, size)),
            (max(-first, 0), max(last - size, 0)),
            slice(start - origin, stop - origin),
            slice(start, stop),
        )


def tiles(shape: Sequence[int], core: Sequence[int], halo: Sequence[int]) -> Iterator[Tile]:
    """Walk an image of any dimension so that every voxel is written once: the product of one `cover` per axis."""
    for axes in product(*(tuple(cover(*axis)) for axis in zip(shape, core, halo, strict=True))):
        yield Tile(*zip(*axes, strict=True))


def count_tiles(shape: Sequence[int], core: Sequence[int]) -> int:
    """How many tiles `tiles` yields."""
    number = 1
    for size, side in zip(shape, core, strict=True):
        number *= -(-size // side)
    return number


def pyramid(spacing: list[float], steps: int) -> list[list[int]]:
    """The pooling factors of each step from the finest scale to the coarsest, 1 or 2 per axis.

    An axis is halved only while its spacing is the finer one, so that thick slices are not pooled away and the coarse
    scales tend to cubes: 0.7 x 0.7 x 2.5 mm becomes 1.4 x 1.4 x 2.5, then 2.8 x 2.8 x 2.5, then 5.6 x 5.6 x 5.0.

    Args:
        spacing: voxel size per axis, any unit.
        steps: number of scales less one.

    Note:
        Plain enough for TorchScript: `bundle.networks.Cascade.forward` calls it.
    """
    sides = [float(side) for side in spacing]
    factors: list[list[int]] = []
    for _ in range(steps):
        finest = min(sides)
        step = [2 if side <= 1.4142135 * finest else 1 for side in sides]
        sides = [side * factor for side, factor in zip(sides, step)]  # noqa: B905 - TorchScript's zip has no strict
        factors.append(step)
    return factors


def coarser(shape: Sequence[int], factor: Sequence[int]) -> tuple[int, ...]:
    """The shape one scale coarser: a last odd voxel makes a voxel of its own.

    ::

        fine     a b c d e
        coarse   A   B   C      C is e alone
    """
    return tuple(-(-size // step) for size, step in zip(shape, factor, strict=True))


def shapes(shape: Sequence[int], factors: Sequence[Sequence[int]]) -> list[tuple[int, ...]]:
    """The shape of every scale, coarsest first: ``len(factors) + 1`` entries."""
    scales = [tuple(shape)]
    for factor in factors:
        scales.append(coarser(scales[-1], factor))
    return scales[::-1]


def finer(window: Window, factor: Sequence[int], shape: Sequence[int]) -> Window:
    """What a window of a coarse image covers of the fine one of that shape."""
    return tuple(
        slice(w.start * step, min(w.stop * step, size)) for w, step, size in zip(window, factor, shape, strict=True)
    )


def support(window: Window, factor: Sequence[int]) -> tuple[tuple[int, int], ...]:
    """Start and stop of the coarse voxels that linear upsampling to a fine window looks at, which may lie outside.

    ::

        coarse   . A   B   C .      each fine voxel lies between two coarse centres,
        fine       a b c d e        so the cover of the window is grown by one
    """
    return tuple((w.start // step - 1, -(-w.stop // step) + 1) for w, step in zip(window, factor, strict=True))
