"""Decide where to use bfloat16: on which devices it is faster, and for which networks it is correct."""

from __future__ import annotations

import torch


def has_bfloat16(device: torch.device | str) -> bool:
    """Return whether networks run faster in bfloat16: on GPUs from Ampere on, on CPUs with AVX-512 BF16 or AMX."""
    if torch.device(device).type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    tests = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")  # private functions of torch
    return torch.device(device).type == "cpu" and any(getattr(torch.cpu, name, bool)() for name in tests)


def in_bfloat16(device: torch.device | str, half: bool, strided: bool) -> torch.autocast:
    """Return a context (torch's autocast) in which networks compute in bfloat16, or in float32 where bfloat16 is wrong.

    On a CPU, strided convolutions in bfloat16 give wrong values if their output has one voxel along the last axis. This
    was seen with AMX and PyTorch 2.13 for slices and thin slabs, but never without padding or strides.

    Args:
        device: device on which the network computes.
        half: whether bfloat16 is requested.
        strided: whether the network has strided convolutions, like the U-Net of scale 0.
    """
    kind = torch.device(device).type
    return torch.autocast(kind, torch.bfloat16, enabled=half and not (strided and kind == "cpu"))
