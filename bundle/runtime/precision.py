"""Bfloat16: on which devices it saves time, and for which networks it is right."""

from __future__ import annotations

import torch


def has_bfloat16(device: torch.device | str) -> bool:
    """Return whether networks run faster in bfloat16: on GPUs from Ampere on, on CPUs with AVX-512 BF16 or AMX."""
    if torch.device(device).type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    tests = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")  # torch has them, but does not promise them
    return torch.device(device).type == "cpu" and any(getattr(torch.cpu, name, bool)() for name in tests)


def in_bfloat16(device: torch.device | str, half: bool, strided: bool) -> torch.autocast:
    """Return a context (torch's autocast) in which networks compute in bfloat16, or in float32 where that is wrong.

    On a CPU, convolutions with strides in bfloat16 give garbage if one voxel of their output is left along the last
    axis: seen with AMX, PyTorch 2.13, for slices and thin slabs; without padding or strides, nowhere.

    Args:
        device: on which a network computes.
        half: whether bfloat16 is wanted.
        strided: whether the network has convolutions with strides, as the U-Net of scale 0 has.
    """
    kind = torch.device(device).type
    return torch.autocast(kind, torch.bfloat16, enabled=half and not (strided and kind == "cpu"))
