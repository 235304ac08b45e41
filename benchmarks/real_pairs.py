"""Compare fixed Gaussians, the calibrated conversion, and kernels found in the scans on real pairs of kernels.

    python -m benchmarks.real_pairs DATA [--only A0002,chest1]

DATA holds ``ct/lungdx_A0002_*.nii.gz`` and ``kernels/*.nii.gz``; missing pairs are skipped. Nothing is fitted to the
evaluated voxels: each half of a single slice is converted by the fit to the other half, other slices by the fit to the
remaining ones. SSIM and MAE are in the lung window, on whole slices and within the body. Errors of the fraction below
-950 HU are in percentage points, those of the mean and the 15th percentile in HU, over the voxels of the lung.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import fire
import numpy as np
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor

from bundle.evaluation.methods import BandEnergies, reference_energies
from bundle.evaluation.metrics import lung_mask, whole_and_body
from bundle.images import Volume
from bundle.scanner import Conversion, Transfer, calibrate, converted, find_kernel, find_transfer, matched
from bundle.scanner.kernels import catalogue, quotient

GAUSSIANS = (0.6, 0.7, 0.85, 1.0, 1.2, 1.4)  # voxels
LEAST_LUNG = 2000  # smallest number of lung voxels in a slice
#: Title, sharp and soft file.
PAIRS = [
    ("A0002 B70f -> B40f", "ct/lungdx_A0002_sharpB70f", "ct/lungdx_A0002_softB40f"),
    *(
        (f"chest1 {a} -> {b}", f"kernels/chest1_{a}", f"kernels/chest1_{b}")
        for a in ("B50f", "B70f")
        for b in ("B30f", "B10f")
    ),
    *((f"L067 {z} D45f -> B30f", f"kernels/L067_{z}_D45f", f"kernels/L067_{z}_B30f") for z in ("0070", "0150", "0218")),
    ("head phantom YA -> UB", "kernels/headphantom_YA", "kernels/headphantom_UB"),
]


@dataclass(frozen=True)
class Pair:
    """Two reconstructions, `(x, y, z)` in HU, and the voxel spacing in mm."""

    source: Tensor
    target: Tensor
    spacing: tuple[float, ...]

    @staticmethod
    def read(data: Path, source: str, target: str) -> Pair:
        """Read both files."""
        a, b = (Volume(data / f"{name}.nii.gz") for name in (source, target))
        return Pair(a.slab(0, a.shape[2]), b.slab(0, b.shape[2]), a.spacing)

    def part(self, first: int, last: int) -> Pair:
        """Return some of the slices."""
        return Pair(self.source[..., first:last], self.target[..., first:last], self.spacing)

    def slices(self, use: Tensor | None = None) -> list[tuple[Tensor, Tensor, Tensor | None]]:
        """Return the slices as expected by `calibrate`."""
        return [(self.source[..., z], self.target[..., z], use) for z in range(self.source.shape[2])]


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


def elsewhere(pair: Pair, others: Sequence[Pair], levels: bool) -> Tensor:
    """Convert by a calibration on other pairs or, without any, on the other half of the slices or of the slice."""

    def fit(slices: list[tuple[Tensor, Tensor, Tensor | None]]) -> Conversion:
        found = calibrate(slices, pair.spacing)
        return found if levels else Conversion(found.filter)

    depth = pair.source.shape[2]
    if others:
        return converted(pair.source, pair.spacing, fit([each for other in others for each in other.slices()]))
    if depth > 1:
        halves = pair.part(0, depth // 2), pair.part(depth // 2, depth)
        parts = [converted(a.source, a.spacing, fit(b.slices())) for a, b in (halves, halves[::-1])]
        return torch.cat(parts, -1)
    left = torch.zeros(pair.source.shape[:2], dtype=torch.bool)
    left[: len(left) // 2] = True
    a, b = (converted(pair.source, pair.spacing, fit(pair.slices(use))) for use in (left, ~left))
    return torch.where(left[..., None], b, a)


def found(source: Tensor, reference: Tensor, spacing: Sequence[float]) -> Tensor | None:
    """Convert to the kernel of a reference; both kernels are found in the scans. None if either is not found."""
    return to(source, find_transfer(reference, spacing), spacing)


@dataclass(frozen=True)
class InMemory:
    """A CT in memory, `(x, y, z)` in HU, with the interface that methods read."""

    image: Tensor
    spacing: tuple[float, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of voxels per axis."""
        return tuple(self.image.shape)

    @property
    def affine(self) -> np.ndarray:
        """Affine matrix from voxels to mm."""
        return np.diag([*self.spacing, 1.0])

    def slab(self, start: int, stop: int) -> Tensor:
        """Return the slices from start to stop."""
        return self.image[..., start:stop]


def normalized(source: Tensor, reference: Tensor, spacing: tuple[float, ...]) -> Tensor | None:
    """Scale the energies of frequency bands in the lungs to those of a reference; None without lungs."""
    bands = BandEnergies(reference_energies([InMemory(reference, spacing)])).settled(InMemory(source, spacing))
    return bands.filtered(source, spacing) if bands.scales else None


def to(source: Tensor, target: Transfer | None, spacing: Sequence[float]) -> Tensor | None:
    """Convert to a given kernel; the source's kernel is found in the scan. None if either is unknown."""
    kernel = find_transfer(source, spacing)
    return converted(source, spacing, Conversion(quotient(target, kernel))) if kernel and target else None


def fixed(pair: Pair, where: str, judged: slice) -> Iterator[tuple[str, Callable[[], Tensor | None], slice]]:
    """Yield the baselines without fitting: the source itself, and Gaussians."""
    yield f"source{where}", lambda: pair.source, judged
    for sigma in GAUSSIANS:
        yield f"Gaussian of {sigma:g} px{where}", partial(blurred, pair.source, sigma), judged


def blurred(image: Tensor, sigma: float) -> Tensor:
    """Filter the slices of a CT by a Gaussian with ``sigma`` in pixels."""
    return torch.from_numpy(gaussian_filter(image.numpy(), (sigma, sigma, 0)))


def methods(pair: Pair, others: Sequence[Pair]) -> Iterator[tuple[str, Callable[[], Tensor | None], slice]]:
    """Yield each method's title, the function that computes its result, and the evaluated slices."""
    depth = pair.source.shape[2]
    everything, second = slice(None), slice(depth // 2, None)
    yield from fixed(pair, "", everything)
    yield "found, to the default target", lambda: by_default(pair), everything
    yield "calibrated elsewhere, filter alone", lambda: elsewhere(pair, others, False), everything
    yield "calibrated elsewhere, filter and levels", lambda: elsewhere(pair, others, True), everything
    if depth > 1:
        half = pair.part(depth // 2, depth)
        yield from fixed(half, ", second half", second)
        reference = pair.target[..., : depth // 2]
        title = "found, reference the first half, on the second"
        yield title, lambda: found(half.source, reference, pair.spacing), second
        yield "band energies, the same reference", lambda: normalized(half.source, reference, pair.spacing), second
    if others:
        named = catalogue().find("B30f")  # measured on the chest, so on another scanner and patient
        yield "found, target B30f by name", lambda: to(pair.source, named, pair.spacing), everything
        yield "found, reference another slice", lambda: found(pair.source, others[0].target, pair.spacing), everything


def by_default(pair: Pair) -> Tensor | None:
    """Convert to the default target; the source's kernel is found in the scan. None if it is not found."""
    kernel = find_kernel(pair.source, pair.spacing)
    return matched(pair.source, pair.spacing, kernel) if kernel else None


@torch.no_grad()
def main(data: str, only: str | Sequence[str] = "", rows: str | Sequence[str] = "") -> None:
    """Print the table.

    Args:
        data: folder of the pairs.
        only: words; pairs whose title contains none of them are left out.
        rows: words; methods whose title contains none of them are left out.
    """
    words, wanted = ([each] if isinstance(each, str) else list(each) for each in (only, rows))
    print("| pair, method | SSIM | MAE | SSIM in the body | MAE in the body | LAA-950 | mean | Perc15 |")
    print("|---|---|---|---|---|---|---|---|")
    for title, source, target in PAIRS:
        if not any(word in title for word in words):
            continue
        if missing := [name for name in (source, target) if not (Path(data) / f"{name}.nii.gz").exists()]:
            print(f"skipped: {title}: {Path(data) / missing[0]}.nii.gz does not exist")
            continue
        pair = Pair.read(Path(data), source, target)
        same = title.startswith("L067")
        fellows = [(a, b) for name, a, b in PAIRS if same and name != title and name.startswith("L067")]
        others = [Pair.read(Path(data), a, b) for a, b in fellows if (Path(data) / f"{a}.nii.gz").exists()]
        for name, make, judged in methods(pair, others):
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
    fire.Fire(main)
