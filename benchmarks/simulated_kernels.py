"""Compare undoing a found kernel with fixed Gaussians, on soft CTs that a simulated scanner makes sharp.

    python -m benchmarks.simulated_kernels CT [CT ...]

No network is used. The 24 middle slices of each CT are acquired four times, with B70f and three drawn kernels at four
doses. SSIM and MAE are in the lung window, whole and within the body, for the middle 8 slices (for all, if there are
fewer).

Training takes each CT for one of the soft kernel, and so does this by default. Where a CT is softer, its skin then has
another kernel than the noise that is added to it. With `--own_kernel` the CT's own kernel, found in it, is undone
instead, so that both have the same.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from benchmarks.pairs import GAUSSIANS, blurred
from bundle.evaluation.metrics import whole_and_body
from bundle.images import Volume
from bundle.runtime.commands import run_command
from bundle.scanner import SHARP, SOFT, Kernel, acquire, find_kernel, matched
from bundle.scanner.filters import with_border

SLICES, JUDGED = 24, slice(8, 16)
DOSES = (15.0, 60.0, 100.0, 25.0)
SEED = 100  # seed of the drawn kernels


@torch.no_grad()
def main(*cts: str, own_kernel: bool = False) -> None:
    """Print a row for each scan, and the means.

    Args:
        cts: paths of soft CTs.
        own_kernel: whether to undo the kernel found in a CT instead of the bundle's soft kernel.
    """
    rows: dict[str, list[np.ndarray]] = {}
    print("| scan, method | SSIM | MAE | SSIM in the body | MAE in the body |\n|---|---|---|---|---|")
    for ct in cts:
        volume = Volume(ct)
        first = max(volume.shape[2] // 2 - SLICES // 2, 0)
        slices = volume.slab(first, min(first + SLICES, volume.shape[2]))
        image = with_border(slices)
        own = (find_kernel(slices, volume.spacing) if own_kernel else None) or SOFT
        for scan, dose in enumerate(DOSES):
            kernel = Kernel.random(torch.Generator().manual_seed(SEED + scan)) if scan else SHARP
            soft, sharp = acquire(image, volume.spacing, (SOFT, kernel), dose, scan, image_kernel=own)
            found = find_kernel(sharp, volume.spacing)
            results = {"found": matched(sharp, volume.spacing, found) if found else sharp}
            results |= {f"Gaussian of {sigma:g} px": blurred(sharp, sigma) for sigma in GAUSSIANS}
            for method, result in results.items():
                rows.setdefault(method, []).append(_score(result, soft))
            told = "" if found else ", no kernel found"
            print(f"| {volume.path.name}, {scan}, dose {dose:g}{told} | {_shown(rows['found'][-1])} |", flush=True)
    for method, values in rows.items():
        print(f"| mean, {method} | {_shown(np.mean(values, 0))} |")


def _score(result: Tensor, soft: Tensor) -> np.ndarray:
    every = range(soft.shape[2])
    slices = every[JUDGED] or every
    return np.mean([whole_and_body(result[..., z : z + 1], soft[..., z : z + 1]) for z in slices], 0)


def _shown(values: np.ndarray) -> str:
    return " | ".join(f"{value:.4f}" for value in values)


if __name__ == "__main__":
    run_command(main)
