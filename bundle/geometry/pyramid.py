"""The scales of an image: pooling factors, shapes, and which part of one scale another scale needs.

Uses the standard library only.
"""

from __future__ import annotations

from collections.abc import Sequence

from bundle.geometry.tiles import Window


def pyramid(spacing: list[float], steps: int) -> list[list[int]]:
    """Return the pooling factors of each step from the finest scale to the coarsest, 1 or 2 per axis.

    An axis is halved only while its spacing is at most about sqrt(2) times the finest, so that thick slices are not
    pooled away and voxels tend to cubes: 0.7 x 0.7 x 2.5 mm becomes 1.4 x 1.4 x 2.5, then 2.8 x 2.8 x 2.5, then 5.6 x
    5.6 x 5.0.

    Args:
        spacing: voxel spacing per axis, in any unit.
        steps: number of scales less one.

    Note:
        Must be valid TorchScript, as `bundle.cascade.Cascade.forward` calls it.
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
    """Return the shape one scale coarser; an odd last voxel becomes a separate coarse voxel.

    ::

        fine     a b c d e
        coarse   A   B   C      C is e alone
    """
    return tuple(-(-size // step) for size, step in zip(shape, factor, strict=True))


def shapes(shape: Sequence[int], factors: Sequence[Sequence[int]]) -> list[tuple[int, ...]]:
    """Return the shape of every scale, coarsest first: ``len(factors) + 1`` entries."""
    scales = [tuple(shape)]
    for factor in factors:
        scales.append(coarser(scales[-1], factor))
    return scales[::-1]


def finer(window: Window, factor: Sequence[int], shape: Sequence[int]) -> Window:
    """Return the window of the fine image, of shape ``shape``, that a window of the coarse image covers."""
    return tuple(
        slice(w.start * step, min(w.stop * step, size)) for w, step, size in zip(window, factor, shape, strict=True)
    )


def support(window: Window, factor: Sequence[int]) -> tuple[tuple[int, int], ...]:
    """Return start and stop of the coarse voxels that linear upsampling to a fine window needs, inside or outside.

    ::

        coarse   . A   B   C .      each fine voxel lies between two coarse centres,
        fine       a b c d e        so the coarse window is grown by one voxel
    """
    return tuple((w.start // step - 1, -(-w.stop // step) + 1) for w, step in zip(window, factor, strict=True))
