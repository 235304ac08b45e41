"""White noise as a function of a seed and a voxel's global position, so that any window equals that of the whole."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

#: The increment of splitmix64: 2^64 divided by the golden ratio, made odd.
STEP = 0x9E3779B97F4A7C15


def white_noise(
    seed: int, origin: Sequence[int], shape: Sequence[int], device: torch.device | str = "cpu"
) -> tuple[Tensor, Tensor]:
    """Return two independent standard normal fields, `shape`, float64; values depend only on seed and position."""
    state = splitmix64(torch.tensor(seed, dtype=torch.int64, device=device), STEP)
    for first, size in zip(origin, shape, strict=True):
        position = torch.arange(first, first + size, dtype=torch.int64, device=device)
        state = splitmix64(state.unsqueeze(-1) + (position + 1) * _signed(STEP))
    radius = torch.sqrt(-2 * torch.log((_shift(state, 32).double() + 0.5) / 2**32))
    angle = (state & 0xFFFFFFFF).double() * (2 * math.pi / 2**32)
    return radius * torch.cos(angle), radius * torch.sin(angle)


def splitmix64(counter: Tensor, offset: int = 0) -> Tensor:
    """Return 64 random bits, as int64, for each counter plus an offset.

    See Steele, Lea and Flood, Fast splittable pseudorandom number generators, OOPSLA 2014.
    """
    state = counter + _signed(offset)
    for bits, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        state ^= _shift(state, bits)
        state *= _signed(factor)
    return state ^ _shift(state, 31)


def _signed(number: int) -> int:
    """Return the lowest 64 bits as a signed integer, as torch needs it."""
    return (number + 2**63) % 2**64 - 2**63


def _shift(state: Tensor, bits: int) -> Tensor:
    """Shift right as an unsigned number; torch's shift of int64 would extend the sign."""
    return (state >> bits).bitwise_and_((1 << (64 - bits)) - 1)
