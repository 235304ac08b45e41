"""Compare fixed Gaussians, the calibrated conversion, and kernels found in the scans on real pairs of kernels.

    python -m benchmarks.real_pairs DATA [--only A0002,chest1] [--rows networks]

For DATA see `benchmarks.pairs`; missing pairs are skipped. Nothing is fitted to the evaluated voxels: each half of a
single slice is converted by the fit to the other half, other slices by the fit to the remaining ones. A row *and the
networks* is the whole inference, as a user gets it; the row before it is the same conversion without the networks. SSIM
and MAE are in the lung window, on whole slices and within the body. Errors of the fraction below -950 HU are in
percentage points, those of the mean and the 15th percentile in HU, over the voxels of the lung.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks import catalogue
from benchmarks.inference import calibration, joined, reference, translated
from benchmarks.pairs import GAUSSIANS, Fold, InMemory, Pair, blurred, existing, folds
from bundle.evaluation.methods import BandEnergies, reference_energies
from bundle.evaluation.metrics import lung_mask, whole_and_body
from bundle.runtime.commands import run_command
from bundle.scanner import Conversion, Transfer, calibrate, converted, find_kernel, find_transfer, frequencies, matched
from bundle.scanner.filters import filter_taps, filtered, with_border
from bundle.scanner.gains import softening_between
from bundle.scanner.kernels import Kernels, as_json

LEAST_LUNG = 2000  # smallest number of lung voxels in a slice
TARGET = "B30f"  # the only target kernel that two scanners show


def scores(result: Tensor, target: Tensor) -> list[float]:
    """Return SSIM and MAE, whole and within the body, and the three errors of lung density, NaN without lung."""
    rows, lung, wanted = [], [], []
    for z in range(target.shape[2]):
        a, b = result[..., z : z + 1].round(), target[..., z : z + 1]
        rows.append(whole_and_body(a, b))
        air = lung_mask(b[..., 0].numpy())
        if air.sum() >= LEAST_LUNG:
            lung.append(a[..., 0].numpy()[air])
            wanted.append(b[..., 0].numpy()[air])
    if not lung:
        return [*np.mean(rows, 0).tolist(), *(float("nan"),) * 3]
    x, y = np.concatenate(lung), np.concatenate(wanted)
    density = [
        100 * ((x < -950).mean() - (y < -950).mean()),
        x.mean() - y.mean(),
        np.percentile(x, 15) - np.percentile(y, 15),
    ]
    return [*np.mean(rows, 0).tolist(), *(float(value) for value in density)]


def elsewhere(pair: Pair, others: Sequence[Pair], levels: bool = True, restored: bool = True) -> Tensor:
    """Convert by a calibration on other pairs or, without any, on the other half of the slices or of the slice.

    Args:
        pair: source and target.
        others: pairs of the same patient and kernels.
        levels: whether to shift HU levels after the filter.
        restored: whether to restore clipped values before the filter; without levels only.
    """
    out = torch.zeros_like(pair.source)
    for part in folds(pair, others):
        fitted = calibrate(part.slices, pair.spacing)
        if not restored:
            taps = filter_taps(fitted.filter.transfer(frequencies(pair.spacing[:2])), mean=1.0)
            result = filtered(with_border(pair.source), taps)
        else:
            result = converted(pair.source, pair.spacing, fitted if levels else Conversion(fitted.filter))
        out = torch.where(part.judged, result, out)
    return out


def found(source: Tensor, reference: Tensor, spacing: Sequence[float]) -> Tensor | None:
    """Convert to the kernel of a reference; both kernels are found in the scans. None if either is not found."""
    return to(source, find_transfer(reference, spacing), spacing)


def normalized(source: Tensor, reference: Tensor, spacing: tuple[float, ...]) -> Tensor | None:
    """Scale the energies of frequency bands in the lungs to those of a reference; None without lungs."""
    bands = BandEnergies(reference_energies([InMemory(reference, spacing)])).settled(InMemory(source, spacing))
    return bands.filtered(source, spacing) if bands.scales else None


def to(source: Tensor, target: Transfer | None, spacing: Sequence[float]) -> Tensor | None:
    """Convert to a given kernel; the source's kernel is found in the scan. None if either is unknown."""
    kernel = find_transfer(source, spacing)
    if kernel is None or target is None:
        return None
    return converted(source, spacing, Conversion(softening_between(kernel, target)))


def fixed(pair: Pair, where: str, judged: slice) -> Iterator[tuple[str, Callable[[], Tensor | None], slice]]:
    """Yield the baselines without fitting: the source itself, and Gaussians."""
    yield f"source{where}", lambda: pair.source, judged
    for sigma in GAUSSIANS:
        yield f"Gaussian of {sigma:g} px{where}", partial(blurred, pair.source, sigma), judged


def methods(
    pair: Pair, others: Sequence[Pair], named: Kernels | None = None
) -> Iterator[tuple[str, Callable[[], Tensor | None], slice]]:
    """Yield each method's title, the function that computes its result, and the evaluated slices.

    Args:
        pair: source and target.
        others: pairs of the same patient and kernels.
        named: the target kernel, measured on another scanner and patient; None if there is none.
    """
    depth, spacing = pair.source.shape[2], pair.spacing
    everything, second = slice(None), slice(depth // 2, None)
    yield from fixed(pair, "", everything)
    yield "found, to the default target", lambda: by_default(pair), everything
    yield "found, to the default target, and the networks", lambda: translated(pair.source, spacing), everything
    kept = partial(elsewhere, pair, others, levels=False, restored=False)
    yield "calibrated elsewhere, filter alone, clipped values unchanged", kept, everything
    yield "calibrated elsewhere, filter alone", lambda: elsewhere(pair, others, levels=False), everything
    yield "calibrated elsewhere, filter and levels", lambda: elsewhere(pair, others), everything
    whole = partial(joined, pair, folds(pair, others), partial(calibration, spacing))
    yield "calibrated elsewhere, filter and levels, and the networks", whole, everything
    if depth > 1:
        half, soft = pair.part(depth // 2, depth), pair.target[..., : depth // 2]
        yield from fixed(half, ", second half", second)
        title = "found, reference the first half, on the second"
        yield title, lambda: found(half.source, soft, spacing), second
        yield f"{title}, and the networks", lambda: to_reference(half, soft), second
        yield "band energies, the same reference", lambda: normalized(half.source, soft, spacing), second
    if named is not None:
        title = "found, target B30f by name, as measured on another scanner"
        yield title, lambda: to(pair.source, named.find(TARGET), spacing), everything
        yield f"{title}, and the networks", lambda: to_named(pair, named), everything
    if others:
        title = "found, reference another slice"
        yield title, lambda: found(pair.source, others[0].target, spacing), everything
        yield f"{title}, and the networks", lambda: to_reference(pair, others[0].target), everything


def to_reference(pair: Pair, soft: Tensor) -> Tensor | None:
    """Translate a pair's source by the whole inference to the kernel of a reference; None if it shows none."""
    if find_transfer(soft, pair.spacing) is None:
        return None
    every = Fold(torch.ones((1, 1, 1), dtype=torch.bool), [], [soft])
    return joined(pair, [every], partial(reference, pair.spacing))


def to_named(pair: Pair, named: Kernels) -> Tensor:
    """Translate a pair's source by the whole inference to the target kernel by name, from a user's catalogue."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "kernels.json")
        path.write_text(as_json(named), encoding="utf-8")
        keys = {"target_kernel": TARGET, "kernel_choice#catalogue": str(path)}
        return translated(pair.source, pair.spacing, **keys)


def measured_elsewhere(data: Path, title: str) -> Kernels | None:
    """Return the target kernel of a pair as the catalogue measures it on another scanner; None if it is not there."""
    if not title.endswith(f"-> {TARGET}"):
        return None
    maker, first, second, files, about = next(
        each for each in catalogue.PAIRS if each[2] == TARGET and not title.startswith(Path(each[3][0][0]).name[:5])
    )
    if not all((data / f"{name}.nii.gz").exists() for names in files for name in names):
        return None
    return Kernels(catalogue.measured(data, maker, first, second, files, about)[0])


def by_default(pair: Pair) -> Tensor | None:
    """Convert to the default target; the source's kernel is found in the scan. None if it is not found."""
    kernel = find_kernel(pair.source, pair.spacing)
    return matched(pair.source, pair.spacing, kernel) if kernel else None


@torch.no_grad()
def main(data: str, only: str | Sequence[str] = "", rows: str | Sequence[str] = "") -> None:
    """Print the table.

    Args:
        data: folder of the pairs, see `benchmarks.pairs`.
        only: words; pairs whose title contains none of them are left out.
        rows: words; methods whose title contains none of them are left out.
    """
    words, wanted = ([each] if isinstance(each, str) else list(each) for each in (only, rows))
    print("| pair, method | SSIM | MAE | SSIM in the body | MAE in the body | LAA-950 | mean | Perc15 |")
    print("|---|---|---|---|---|---|---|---|")
    for title, _, pair, others in existing(Path(data), words):
        for name, make, judged in methods(pair, others, measured_elsewhere(Path(data), title)):
            if not any(word in name for word in wanted):
                continue
            result = make()
            if result is None:
                print(f"| {title}, {name} | not found |", flush=True)
                continue
            values = scores(result, pair.target[..., judged])
            print(f"| {title}, {name} | " + " | ".join(_shown(values)) + " |", flush=True)


def _shown(values: Sequence[float]) -> list[str]:
    density = ["-" if math.isnan(value) else f"{value:+.2f}" for value in values[4:]]
    return [*(f"{value:.4f}" for value in values[:4]), *density]


if __name__ == "__main__":
    run_command(main)
