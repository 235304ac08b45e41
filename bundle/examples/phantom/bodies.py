"""Ellipsoids and tubes in millimetres, with the fraction of each voxel that they fill.

A border is one voxel wide along its normal. Only sums, products, quotients and roots are used, because they round in
the same way everywhere, so that a voxel's value does not depend on the window in which it is computed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Point = tuple[float, ...]
TINY = np.float32(1e-6)


@dataclass(frozen=True)
class Ellipsoid:
    """A body ``f < 1`` with ``f = u^2 + v^2 + w^2 - square u^2 v^2``, where u, v, w are offsets over the semi-axes.

    Args:
        centre: centre in mm.
        radii: semi-axes in mm.
        value: HU inside.
        square: from 0, an ellipsoid, towards 1, a box with round edges in the axial plane.
        turn: cosine and sine of a rotation in the axial plane.
        lung: whether texture and gravity are added to ``value``.
    """

    centre: Point
    radii: Point
    value: float
    square: float = 0.0
    turn: tuple[float, float] = (1.0, 0.0)
    lung: bool = False

    @property
    def box(self) -> np.ndarray:
        """Lowest and highest corner in mm, `(2, 3)`."""
        extent = np.array(self.radii, dtype=float)
        if self.turn[1]:
            extent[:2] = extent[:2].max()
        return np.array(self.centre) + 1.02 * np.array([-extent, extent])

    def inside(self, points: np.ndarray, margin: float = 0.0) -> np.ndarray:
        """Return which of the `(n, 3)` points in mm lie inside, ``margin`` mm from the border; ``turn`` is ignored."""
        u, v, w = ((points - np.array(self.centre)) / (np.array(self.radii) - margin)).T ** 2
        return u + v + w - self.square * u * v < 1

    def cover(self, grid: Sequence[np.ndarray], voxel: Sequence[float]) -> np.ndarray:
        """Return the filled fraction of each voxel, 0 to 1: 1/2 minus the signed distance to the border in voxels.

        Args:
            grid: the voxels' x, y and z in mm, float32, shaped to broadcast.
            voxel: sides of a voxel in mm.
        """
        x, y, z = (axis - np.float32(c) for axis, c in zip(grid, self.centre, strict=True))
        a, b, c = (np.float32(r) for r in self.radii)
        cos, sin, square = (np.float32(k) for k in (*self.turn, self.square))
        if sin:
            x, y = cos * x + sin * y, cos * y - sin * x
        u, v, w = x / a, y / b, z / c
        uu, vv, ww = u * u, v * v, w * w
        dx, dy, dz = (1 - square * vv) * u / a, (1 - square * uu) * v / b, w / c  # half the gradient of f
        if sin:
            dx, dy = cos * dx - sin * dy, sin * dx + cos * dy
        per_voxel = sum(np.abs(d) * np.float32(2 * side) for d, side in zip((dx, dy, dz), voxel, strict=True))
        return np.clip(np.float32(0.5) - (uu + vv + ww - square * uu * vv - 1) / (per_voxel + TINY), 0, 1)


@dataclass(frozen=True)
class Tube:
    """A straight tube with round ends; its radius changes linearly from ``radii[0]`` at the start to ``radii[1]``.

    Args:
        start: start in mm.
        end: end in mm.
        radii: radii in mm; a tube thinner than a voxel fills part of it.
        value: HU inside.
    """

    start: Point
    end: Point
    radii: tuple[float, float]
    value: float

    @property
    def box(self) -> np.ndarray:
        """Lowest and highest corner in mm, `(2, 3)`."""
        ends, radius = np.array([self.start, self.end]), max(self.radii)
        return np.array([ends.min(0) - radius, ends.max(0) + radius])

    def cover(self, grid: Sequence[np.ndarray], voxel: Sequence[float]) -> np.ndarray:
        """Return the filled fraction of each voxel, 0 to 1; for the arguments see `Ellipsoid.cover`."""
        way = [np.float32(e - s) for s, e in zip(self.start, self.end, strict=True)]
        offsets = [axis - np.float32(s) for axis, s in zip(grid, self.start, strict=True)]
        radius, change = np.float32(self.radii[0]), np.float32(self.radii[1] - self.radii[0])
        return _filled_by_tube(offsets, way, (radius, change), voxel)


def _filled_by_tube(
    offsets: Sequence[np.ndarray], way: Sequence[Any], radii: tuple[Any, Any], voxel: Sequence[float]
) -> np.ndarray:
    """Return the fraction of voxels filled by tubes, each of one tube or each voxel of its own; all float32.

    Args:
        offsets: x, y and z of the voxels from the start of the tube, in mm.
        way: x, y and z from there to its end.
        radii: radius at the start, and how much it changes on the way.
        voxel: sides of a voxel in mm.
    """
    x, y, z = offsets
    squares = [np.float64(w) ** 2 for w in way]
    length2 = np.float32(squares[0] + squares[1] + squares[2]) + TINY
    t = _between_0_and_1((x * way[0] + y * way[1] + z * way[2]) / length2)
    x, y, z = x - t * way[0], y - t * way[1], z - t * way[2]
    distance = np.sqrt(x * x + y * y + z * z) + TINY
    width = sum(np.abs(d) / distance * np.float32(side) for d, side in zip((x, y, z), voxel, strict=True))
    width = np.maximum(width, np.float32(min(voxel)))
    radius = radii[0] + t * radii[1]
    return _between_0_and_1(np.float32(0.5) - (distance - radius) / width) * _between_0_and_1(2 * radius / width)


def covers(
    tubes: Sequence[Tube], grid: Sequence[np.ndarray], start: np.ndarray, stop: np.ndarray, voxel: Sequence[float]
) -> list[np.ndarray]:
    """Return `Tube.cover` of many small windows of one grid, bit for bit, which takes less time than one by one.

    Args:
        tubes: the tubes.
        grid: x, y and z of the whole grid in mm, float32.
        start: first voxel of each tube's window, `(n, 3)`.
        stop: voxel after its last, `(n, 3)`.
        voxel: sides of a voxel in mm.
    """
    if not tubes:
        return []
    sides = stop - start
    counts = sides.prod(1)
    ends = counts.cumsum()
    each = np.repeat(np.arange(len(tubes)), counts)  # the tube of each voxel of all windows, one window after the other
    place, z = np.divmod(np.arange(len(each)) - (ends - counts)[each], sides[each, 2])
    x, y = np.divmod(place, sides[each, 1])
    first, last, radii = (np.array([getattr(tube, name) for tube in tubes]) for name in ("start", "end", "radii"))
    begin, way, change = (of.astype(np.float32) for of in (first, last - first, radii[:, 1] - radii[:, 0]))
    at = (start[each, dim] + axis for dim, axis in enumerate((x, y, z)))
    offsets = [axis.ravel()[index] - begin[each, dim] for dim, (axis, index) in enumerate(zip(grid, at, strict=True))]
    filled = _filled_by_tube(offsets, list(way[each].T), (radii[each, 0].astype(np.float32), change[each]), voxel)
    return [part.reshape(side) for part, side in zip(np.split(filled, ends[:-1]), sides, strict=True)]


def _between_0_and_1(values: np.ndarray) -> np.ndarray:
    return np.minimum(np.maximum(values, 0), 1)  # as np.clip, which takes longer to begin


Body = Ellipsoid | Tube
