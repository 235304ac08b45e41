"""Test the gain between two scans where it is known: two halves of one scan have one kernel, so it is 1.

    python -m benchmarks.halves IMAGE [IMAGE ...]

Each scan is cut across its slices. The halves show other anatomy, other skin and often less of it, as a scan and its
reference do, but nothing else differs. The columns are the root mean squares of the logarithm of the gain from the one
half to the other, between 0.12 and 0.5 cycles/mm and where the kernel passes more than a tenth: 0.1 is about 10 %. The
gain is that of a conversion to a reference (`bundle.scanner.gains`), that of the kernels found in each half alone, and
the quotient of both mean edges, as up to version 0.23.0.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from bundle.images import Volume
from bundle.runtime.commands import run_command
from bundle.scanner import FoundTransfer, Transfer, find_transfer
from bundle.scanner.edge_spread import KNOTS
from bundle.scanner.gains import quotient

BAND = 0.12, 0.5  # cycles/mm
LEAST = 0.1  # smallest gain of the kernel
NEVER = 1e4  # no gain is limited


def apart(target: Transfer, source: Transfer, judged: np.ndarray) -> float:
    """Return how far the gain between two kernels is from 1."""
    gains = np.asarray(quotient(target, source, NEVER).gains)
    return float(np.sqrt(np.mean(np.log(gains[judged]) ** 2)))


def errors(first: FoundTransfer, second: FoundTransfer) -> list[float]:
    """Return the errors of the gain from the first half to the second, in the ways of the table; NaN without edges."""
    knots, both = np.asarray(KNOTS), [Transfer(each.knots, each.gains) for each in (first, second)]
    passed = np.sqrt(np.prod([each.gains for each in both], 0))
    judged = (knots >= BAND[0]) & (knots <= BAND[1]) & (passed > LEAST)
    edges = [each.profiles.transfer() for each in (first, second)]
    plain = apart(edges[1], edges[0], judged) if edges[0] and edges[1] else float("nan")
    return [apart(second, first, judged), apart(both[1], both[0], judged), plain]


def main(*images: str) -> None:
    """Print the table.

    Args:
        images: CTs, or DICOM folders.
    """
    print("| scan | profiles | direction by direction, and noise | each alone | mean edges |")
    print("|---|---|---|---|---|")
    rows = []
    for image in images:
        volume, name = Volume(image), Path(image).name.split(".")[0]
        middle = volume.shape[2] // 2
        ends = (0, middle), (middle, volume.shape[2])
        first, second = (find_transfer(volume.slab(*end), volume.spacing) for end in ends)
        if first is None or second is None:
            print(f"| {name} | too few | - | - | - |", flush=True)
            continue
        rows.append(errors(first, second))
        shown = " | ".join("-" if np.isnan(value) else f"{value:.3f}" for value in rows[-1])
        print(f"| {name} | {first.profiles.profiles}, {second.profiles.profiles} | {shown} |", flush=True)
    if rows:
        for title, of in (("mean", np.nanmean), ("median", np.nanmedian)):
            print(f"| {title} | | " + " | ".join(f"{value:.3f}" for value in of(rows, 0)) + " |")


if __name__ == "__main__":
    run_command(main)
