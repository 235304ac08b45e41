"""How far lung density is off after a conversion, and how wide an interval would have to be: simulated and real pairs.

    python -m benchmarks.densitometry_errors DATA CT [CT ...]

No network. Sources are made of soft CTs by drawn kernels and doses, and converted to the soft kernel by the kernel
found in them. An interval would be the result's value +- SHARE * (FLOOR + what the conversion has changed); SHARE is
such that 95 % of the simulated pairs of the other CTs lie within (split conformal prediction: Vovk et al. 2005). Of
real pairs, the errors are those of `benchmarks.real_pairs`: of single slices too, which `densitometry` does not
measure.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from pathlib import Path

import fire
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.real_pairs import PAIRS, InMemory, Pair, by_default, elsewhere, found
from benchmarks.real_pairs import scores as errors
from bundle.images import Volume
from bundle.scanner import RADIUS, SHARP, SOFT, Kernel, acquire, find_kernel, matched
from bundle.transforms.densitometry import densities, histograms, pooled
from bundle.transforms.lung_mask import find_lung_mask

SLICES, PLACES = 24, (1 / 3, 2 / 3)
DOSES = (15.0, 60.0, 100.0, 25.0)
SEED = 300  # of the drawn kernels
COVERED = 0.95
#: What errors are measured against besides the change, in percentage points and HU.
FLOORS = {"laa950_percent": 0.3, "perc15_hu": 1.0}
KEYS = tuple(FLOORS)
LEAST = 100.0  # ml of lung: less is no measurement


def measured(images: Sequence[Tensor], spacing: Sequence[float], mask_of: int) -> list[np.ndarray] | None:
    """Return the values of `KEYS` of both lungs of each image, in the mask of one; None where there is no lung."""
    volumes = [InMemory(image, tuple(spacing)) for image in images]
    coarse, factor = pooled(volumes[mask_of], images[0].shape[2])
    lungs = find_lung_mask(coarse, [mm * times for mm, times in zip(spacing, factor, strict=True)])
    voxel = math.prod(spacing) / 1000
    told = [densities(histograms(each, lungs.sides, factor, SLICES), voxel)["both"] for each in volumes]
    if (told[0]["volume_ml"] or 0) < LEAST:
        return None
    return [np.array([values[key] for key in KEYS], float) for values in told]


def simulated(ct: str) -> list[np.ndarray]:
    """Return before, after and truth, `(3, keys)`, of conversions of simulated scans of one CT."""
    volume, rows = Volume(ct), []
    for number, place in enumerate(PLACES):
        first = max(int(place * volume.shape[2]) - SLICES // 2, 0)
        slices = volume.slab(first, min(first + SLICES, volume.shape[2]))
        image = F.pad(slices.movedim(-1, 0)[None], (RADIUS,) * 4, mode="replicate")[0].movedim(0, -1)
        for scan, dose in enumerate(DOSES):
            seed = SEED + len(DOSES) * number + scan
            kernel = Kernel.random(torch.Generator().manual_seed(seed)) if scan else SHARP
            soft, sharp = acquire(image, volume.spacing, (SOFT, kernel), dose, seed)
            own = find_kernel(sharp, volume.spacing)
            result = matched(sharp, volume.spacing, own) if own else sharp
            values = measured((sharp, result, soft), volume.spacing, 1)
            if values:
                rows.append(np.stack(values))
                print(f"| {volume.path.name}, slice {first}, dose {dose:g} | {_shown(rows[-1])} |", flush=True)
    return rows


def real(data: str) -> list[np.ndarray]:
    """Return the same of all real pairs with lung, calibrated, to a reference or by default; truth is 0."""
    rows = []
    for title, source, target in PAIRS:
        if not all((Path(data) / f"{name}.nii.gz").exists() for name in (source, target)):
            print(f"skipped: {title}: not in {data}")
            continue
        pair = Pair.read(Path(data), source, target)
        made: dict[str, tuple[Pair, Tensor | None]] = {"calibrated elsewhere": (pair, elsewhere(pair, [], True))}
        if target.endswith("softB40f"):
            made["to the default target"] = pair, by_default(pair)
        if (depth := pair.source.shape[2]) > 1:
            half = pair.part(depth // 2, depth)
            made["to a reference"] = half, found(half.source, pair.target[..., : depth // 2], half.spacing)
        for name, (judged, result) in made.items():
            if result is None:
                continue
            before, after = (np.array(errors(each, judged.target))[[4, 6]] for each in (judged.source, result))
            if np.isfinite(after).all():
                rows.append(np.stack((before, after, np.zeros(len(KEYS)))))
                print(f"| {title}, {name}: errors | {_shown(rows[-1])} |", flush=True)
    return rows


def scores(rows: Sequence[np.ndarray]) -> np.ndarray:
    """Return errors in units of the floor plus what was changed, `(rows, keys)`."""
    before, after, truth = np.stack(rows, 1)
    return np.abs(after - truth) / (np.array([FLOORS[key] for key in KEYS]) + np.abs(after - before))


def share(values: np.ndarray) -> np.ndarray:
    """Return the shares that cover as many of the scores as is asked for, `(keys,)`."""
    rank = min(math.ceil(COVERED * (len(values) + 1)), len(values))
    return np.sort(values, 0)[rank - 1]


@torch.no_grad()
def main(data: str, *cts: str) -> None:
    """Print each conversion, the shares, and how often the interval has the truth.

    Args:
        data: folder of the real pairs, see `benchmarks.real_pairs`.
        cts: soft CTs.
    """
    headings = " | ".join(f"{key}: {when}" for key in KEYS for when in ("before", "after", "truth"))
    print(f"| conversion | {headings} |\n|---|{'---|' * 3 * len(KEYS)}")
    by_ct = {ct: scores(rows) for ct in cts if (rows := simulated(ct))}
    pairs = real(data)
    if len(by_ct) < 2:
        sys.exit("error: needs two CTs with lung at least")
    hits = [by_ct[ct] <= share(np.concatenate([by_ct[other] for other in by_ct if other != ct])) for ct in by_ct]
    every = share(np.concatenate(list(by_ct.values())))
    print(f"\nshares: {', '.join(f'{key} {value:.2f}' for key, value in zip(KEYS, every, strict=True))}")
    print(f"simulated, each CT by the others: {_covered(np.concatenate(hits))}")
    if pairs:
        print(f"real pairs: {_covered(scores(pairs) <= every)}")


def _covered(hits: np.ndarray) -> str:
    counts = zip(KEYS, hits.sum(0), strict=True)
    return ", ".join(f"{key} within in {count} of {len(hits)}" for key, count in counts)


def _shown(values: np.ndarray) -> str:
    return " | ".join(f"{value:.2f}" for value in values.T.ravel())


if __name__ == "__main__":
    fire.Fire(main)
