"""Test the kernel that is found in a scan by what no right answer depends on: the scan is its own reference.

    python -m benchmarks.invariances CT [CT ...] [--slices 24]

The middle slices of each scan are turned, cut, padded, filtered by a known gain, sampled anew, or given more noise of
their own kind. The kernel found then has to be the one found before, times the known gain. The table shows, for each
change, in how many scans a kernel is found, of those where it was before; and the mean, median and largest error: the
root mean square of the logarithm of the quotient of both, between 0.05 and 0.5 cycles/mm, where the kernel passes more
than a tenth and the known gain is above 0.3. An error of 0.1 is about 10 %.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks.changed_scans import CHANGES
from bundle.images import Volume
from bundle.runtime.commands import run_command
from bundle.scanner import find_kernel

AT = torch.arange(0.05, 0.501, 0.05, dtype=torch.float64)
LEAST, KNOWN = 0.1, 0.3  # smallest gain of the kernel, and of the change, that is judged
NYQUIST = 0.45  # relative to the sampling frequency: higher frequencies are not judged


def shown(gain: Tensor, wanted: Tensor, judged: Tensor) -> float:
    """Return the error of the gains found; NaN if none is judged."""
    return float((gain.clamp(min=1e-3) / wanted).log()[judged].square().mean().sqrt())


def main(*images: str, slices: int = 24, only: str | Sequence[str] = "") -> None:
    """Print the table.

    Args:
        images: CTs, or DICOM folders.
        slices: most slices of a scan, from its middle.
        only: words; changes whose name contains none of them are left out.
    """
    words = [only] if isinstance(only, str) else list(only)
    found: dict[str, list[float | None]] = {name: [] for name in CHANGES if any(word in name for word in words)}
    for path in images:
        volume = Volume(Path(path))
        first = max((volume.shape[2] - slices) // 2, 0)
        scan, spacing = volume.slab(first, min(first + slices, volume.shape[2])).float(), tuple(volume.spacing)
        kernel = find_kernel(scan, spacing)
        if kernel is None:
            print(f"skipped: {path}: no kernel is found in it")
            continue
        for name, (change, gain) in CHANGES.items():
            if name not in found or (name.startswith("every") and scan.shape[2] < 4):
                continue
            image, mm = change(scan, spacing, kernel)
            after, known = find_kernel(image, mm), gain(AT, spacing)
            wanted = kernel.transfer(AT) * known
            judged = (max(mm[:2]) * AT < NYQUIST) & (wanted > LEAST) & (known > KNOWN)
            found[name].append(None if after is None else shown(after.transfer(AT), wanted, judged))
    print("| change | found | mean | median | largest |")
    print("|---|---|---|---|---|")
    for name, errors in found.items():
        seen = [error for error in errors if error is not None and math.isfinite(error)]
        cells = [f"{of(seen):.3f}" if seen else "-" for of in (np.mean, np.median, np.max)]
        print(f"| {name} | {len(seen)} of {len(errors)} | {' | '.join(cells)} |")


if __name__ == "__main__":
    run_command(main)
