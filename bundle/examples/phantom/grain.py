"""Noise and texture as functions of seed and position, so that all windows of an image agree.

Random bits are hashes of the coordinates, not a stream; all sums are of integers or in a fixed order, so that windows
agree to the last bit.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from bundle.geometry import STEP, splitmix64

HIGHEST = 2**16 - 1  # largest value of each of the four numbers whose sum is a voxel's white noise
DEVIATION = ((5**2 + 4) * 4 * (2**32 - 1) / 12) ** 0.5  # standard deviation of `sharp_noise` before scaling


def hash_grid(axes: Sequence[np.ndarray], seed: int) -> np.ndarray:
    """Return 64 random bits for each point of a grid of integer axes (within +-2^20); shape: the axes' lengths."""
    counter = np.zeros((), np.int64)
    for i, axis in enumerate(axes):
        counter = counter | along((axis.astype(np.int64) + 2**20) << 21 * i, i, len(axes))
    return splitmix64(torch.from_numpy(counter), seed * STEP + 0x632BE59BD9B4E019).numpy().view(np.uint64)


def along(values: np.ndarray, dim: int, ndim: int) -> np.ndarray:
    """Reshape the values of one axis to broadcast along ``dim`` of a grid of ``ndim`` axes."""
    return values.reshape(-1, *[1] * (ndim - 1 - dim))


def sharp_noise(axes: Sequence[np.ndarray], seed: int) -> np.ndarray:
    """Return noise as of a sharp kernel, with mean 0 and standard deviation 1.

    High frequencies along the first two axes are stronger: white noise is filtered in their plane with the mask below.
    ``axes`` hold the voxels' indices, each without gaps::

              -1
        -1     5    -1
              -1
    """
    wide = [np.arange(axis[0] - 1, axis[-1] + 2) if dim < 2 else axis for dim, axis in enumerate(axes)]
    bits = hash_grid(wide, seed)
    white = np.full(bits.shape, -2 * HIGHEST, np.int32)
    for shift in (0, 16, 32, 48):
        white += ((bits >> np.uint64(shift)) & np.uint64(HIGHEST)).astype(np.int32)
    high = 5 * white[1:-1, 1:-1] - white[:-2, 1:-1] - white[2:, 1:-1] - white[1:-1, :-2] - white[1:-1, 2:]
    return high.astype(np.float32) / np.float32(DEVIATION)


def texture(axes: Sequence[np.ndarray], cell: float, seed: int) -> np.ndarray:
    """Return smooth random texture, -1 to 1, on a lattice of ``cell`` mm; ``axes`` in mm; shape: their lengths."""
    cells = [np.floor(axis / cell).astype(np.int64) for axis in axes]
    lattice = [np.arange(index[0], index[-1] + 2) for index in cells]
    field = (hash_grid(lattice, seed) >> np.uint64(40)).astype(np.float32) / np.float32(2**23) - 1
    for dim, (axis, index) in enumerate(zip(axes, cells, strict=True)):
        t = along((axis / cell - index).astype(np.float32), dim, len(axes))
        t, first = t * t * (3 - 2 * t), index - index[0]
        field = np.take(field, first, dim) * (1 - t) + np.take(field, first + 1, dim) * t
    return field
