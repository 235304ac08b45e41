"""Grain: noise and texture as functions of the seed and the place, so that every window of an image gets the same.

Random bits come from hashing each place's coordinates, never from a stream; all sums are of integers or in a fixed
order, so that windows agree to the last bit.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

HIGHEST = 2**16 - 1  # of each of the four numbers that add up to a voxel's white noise
DEVIATION = ((5**2 + 4) * 4 * (2**32 - 1) / 12) ** 0.5  # of `sharp_noise` before it is scaled to 1


def scramble(counter: np.ndarray, seed: int) -> np.ndarray:
    """64 random bits for each counter (splitmix64; Steele, Lea, Flood: Fast splittable generators, OOPSLA 2014)."""
    with np.errstate(over="ignore"):
        bits = counter.astype(np.uint64) + np.uint64((seed * 0x9E3779B97F4A7C15 + 0x632BE59BD9B4E019) % 2**64)
        bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return bits ^ (bits >> np.uint64(31))


def scramble_grid(axes: Sequence[np.ndarray], seed: int) -> np.ndarray:
    """64 random bits for every point of the grid that integer axes (within +-2^20) span; shape: their lengths."""
    counter = np.zeros((), np.uint64)
    for i, axis in enumerate(axes):
        place = (axis.astype(np.int64) + 2**20).astype(np.uint64) << np.uint64(21 * i)
        counter = counter | along(place, i, len(axes))
    return scramble(counter, seed)


def along(values: np.ndarray, dim: int, ndim: int) -> np.ndarray:
    """One axis' values, shaped to combine with a grid of ``ndim`` axes along ``dim``."""
    return values.reshape(-1, *[1] * (ndim - 1 - dim))


def sharp_noise(axes: Sequence[np.ndarray], seed: int) -> np.ndarray:
    """Noise of mean 0, deviation 1, stronger at high frequencies in the plane of axes 0 and 1: as of a sharp kernel.

    White noise, less its neighbours in the plane; ``axes`` hold the voxels' indices, each a run without gaps::

              -1
        -1     5    -1
              -1
    """
    wide = [np.arange(axis[0] - 1, axis[-1] + 2) if dim < 2 else axis for dim, axis in enumerate(axes)]
    bits = scramble_grid(wide, seed)
    white = np.full(bits.shape, -2 * HIGHEST, np.int32)
    for shift in (0, 16, 32, 48):
        white += ((bits >> np.uint64(shift)) & np.uint64(HIGHEST)).astype(np.int32)
    high = 5 * white[1:-1, 1:-1] - white[:-2, 1:-1] - white[2:, 1:-1] - white[1:-1, :-2] - white[1:-1, 2:]
    return high.astype(np.float32) / np.float32(DEVIATION)


def texture(axes: Sequence[np.ndarray], cell: float, seed: int) -> np.ndarray:
    """Smooth random texture from -1 to 1 over a lattice of ``cell`` mm; ``axes`` in mm; shape: their lengths."""
    cells = [np.floor(axis / cell).astype(np.int64) for axis in axes]
    lattice = [np.arange(index[0], index[-1] + 2) for index in cells]
    field = (scramble_grid(lattice, seed) >> np.uint64(40)).astype(np.float32) / np.float32(2**23) - 1
    for dim, (axis, index) in enumerate(zip(axes, cells, strict=True)):
        t = along((axis / cell - index).astype(np.float32), dim, len(axes))
        t, first = t * t * (3 - 2 * t), index - index[0]
        field = np.take(field, first, dim) * (1 - t) + np.take(field, first + 1, dim) * t
    return field
