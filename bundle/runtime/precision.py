"""Whether a device computes in bfloat16 natively; emulated, it would save nothing."""

from __future__ import annotations

import torch


def has_bfloat16(device: torch.device | str) -> bool:
    """Return whether networks run faster in bfloat16: on GPUs from Ampere on, on CPUs with AVX-512 BF16 or AMX."""
    if torch.device(device).type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    tests = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")  # torch has them, but does not promise them
    return torch.device(device).type == "cpu" and any(getattr(torch.cpu, name, bool)() for name in tests)
