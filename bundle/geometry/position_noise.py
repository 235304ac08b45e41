"""White noise as a function of a seed and a voxel's global position: a window of it is a part of the whole.

The mixing function is that of Steele, Lea and Flood, Fast splittable pseudorandom number generators, OOPSLA 2014.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

_STEP = 0x9E3779B97F4A7C15  # of splitmix64: the golden ratio, odd


def white_noise(
    seed: int, origin: Sequence[int], shape: Sequence[int], device: torch.device | str = "cpu"
) -> tuple[Tensor, Tensor]:
    """Return two independent standard normal fields, `shape`, float64, each voxel by its global position alone."""
    state = _mix(torch.tensor(seed, dtype=torch.int64, device=device) + _signed(_STEP))
    for first, size in zip(origin, shape, strict=True):
        position = torch.arange(first, first + size, dtype=torch.int64, device=device)
        state = _mix(state.unsqueeze(-1) + (position + 1) * _signed(_STEP))
    radius = torch.sqrt(-2 * torch.log((_shift(state, 32).double() + 0.5) / 2**32))
    angle = (state & 0xFFFFFFFF).double() * (2 * math.pi / 2**32)
    return radius * torch.cos(angle), radius * torch.sin(angle)


def _signed(number: int) -> int:
    """Read 64 bits as torch's signed integer."""
    return number - (1 << 64) if number >= 1 << 63 else number


def _shift(state: Tensor, bits: int) -> Tensor:
    """Shift right as an unsigned number; torch's int64 would drag the sign along."""
    return (state >> bits) & ((1 << (64 - bits)) - 1)


def _mix(state: Tensor) -> Tensor:
    """Scramble 64 bits: the finaliser of splitmix64."""
    state = (state ^ _shift(state, 30)) * _signed(0xBF58476D1CE4E5B9)
    state = (state ^ _shift(state, 27)) * _signed(0x94D049BB133111EB)
    return state ^ _shift(state, 31)
