"""Measure the coverage and width of the interval of lung density on real and simulated pairs.

    python -m benchmarks.densitometry_errors DATA CT [CT ...]

No network is used. Real pairs are those of `benchmarks.pairs` that show lung. Simulated pairs are made from soft
CTs, whose own kernel cancels if the target is measured on the same CT. Ways to convert, none of which uses the
evaluated voxels:

- calibrated: on the other half of the slices or of the slice, on other slices of the patient, or on other simulated
  slices of the CT;
- to a reference: the source's kernel is found in the sharp scan, the target's in the part of the soft scan that is not
  evaluated;
- the same without skin: both kernels are found from noise alone, in a window inside the body (simulated);
- to the default target: from the kernel found to the one that the simulated scanner was fitted with; only for the CT of
  that fit;
- by name: the source's kernel is found, the target's is that of the catalogue, measured on another patient.

The interval is 2 standard deviations to each side, as for a normal distribution. In the first table of coverage the
multiple is larger if 95 % of the other patients' pairs, with equal weight per patient, need more. The second table is
as shipped.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.pairs import PAIRS, InMemory, Pair
from bundle.evaluation.metrics import lung_mask
from bundle.images import Volume
from bundle.runtime.commands import run_command
from bundle.scanner import (
    FLOOR,
    RADIUS,
    SHARP,
    SOFT,
    Conversion,
    EdgeSpread,
    Kernel,
    Transfer,
    acquire,
    calibrate,
    converted,
    find_transfer,
    flat_noise,
    found_transfer,
    matched,
)
from bundle.scanner.gains import MOST, quotient, softening_between
from bundle.scanner.kernels import catalogue
from bundle.scanner.uncertainty import fit_uncertainty, uncertainty
from bundle.transforms.densitometry import pooled
from bundle.transforms.density_interval import MEASURES, MULTIPLE, SPAN, deviations, measures, reach, varied_histograms
from bundle.transforms.kernel_choice import is_sharper
from bundle.transforms.lung_density import histograms
from bundle.transforms.lung_mask import LEFT, find_lung_mask

SLICES, PLACES = 8, (1 / 3, 2 / 3)
DOSES = (15.0, 60.0)
SEED = 300  # seed of the drawn kernels
COVERED = 0.95
LEAST = 5000  # smallest number of lung voxels in a pair
INSIDE = 0.2  # fraction of a slice's side that a window without skin leaves out at each end
ABOUT = "lungdx_A0002"  # CT that the simulated scanner was fitted to

#: A result, and the uncertainty of its conversion.
Made = tuple[Tensor, Sequence[float]]


@dataclass(frozen=True)
class Row:
    """One evaluated conversion.

    Args:
        patient: the patient.
        kind: real or simulated, and the way of conversion.
        title: title of the pair.
        before: measures of the lungs in the source, `(measures,)`.
        after: measures in the result.
        truth: measures in the soft scan.
        shifts: deviations of the result, see `bundle.transforms.density_interval.deviations`.
    """

    patient: str
    kind: str
    title: str
    before: np.ndarray
    after: np.ndarray
    truth: np.ndarray
    shifts: np.ndarray

    def score(self) -> np.ndarray:
        """Return the multiple at which the interval reaches the truth, `(measures,)`."""
        low, high = reach(self.shifts)
        error = self.truth - self.after
        return np.where(error < 0, error / np.minimum(low, -1e-6), error / np.maximum(high, 1e-6))

    def limits(self, multiple: np.ndarray | float) -> np.ndarray:
        """Return the limits of the interval, `(2, measures)`."""
        return (self.after + reach(self.shifts) * multiple).clip(*SPAN)


def judged(
    patient: str, kind: str, title: str, pair: Pair, made: Made | None, used: Tensor | None = None
) -> Row | None:
    """Return the row of a conversion; None if there is no result, or too little lung.

    Args:
        patient: see `Row`.
        kind: see `Row`.
        title: see `Row`.
        pair: the evaluated pair.
        made: result of its source and the conversion's uncertainty; None if there is none.
        used: mask, `(x, y)`, of voxels in a single slice that are not evaluated, because they were used for the fit.
    """
    if made is None:
        return None
    result, relative = made
    images = [InMemory(each, pair.spacing) for each in (pair.source, result.round(), pair.target)]
    depth = result.shape[2]
    if depth > 1:
        coarse, factor = pooled(images[1], depth)
        sides = find_lung_mask(coarse, [mm * n for mm, n in zip(pair.spacing, factor, strict=True)]).sides
    else:
        mask = lung_mask(result[..., 0].numpy())
        mask = mask if used is None else mask & ~used.numpy()
        sides, factor = (LEFT * mask[..., None]).astype(np.uint8), (1, 1, 1)
    counts = [histograms(each, sides, factor, depth)["both"] for each in images]
    if counts[0].sum() < (LEAST):
        return None
    varied = varied_histograms(images[1], sides, factor, relative)["both"]
    before, after, truth = map(measures, counts)
    return Row(patient, kind, title, before, after, truth, deviations(counts[0], counts[1], varied))


def calibrated(pair: Pair, others: Sequence[Pair], use: Tensor | None = None) -> Made:
    """Convert by a calibration on other slices, or on some voxels of the same slices."""
    fitted = calibrate([each for other in others for each in other.slices(use)], pair.spacing)
    return converted(pair.source, pair.spacing, fitted), fit_uncertainty(fitted.filter) or ()


def to(pair: Pair, source: Transfer | None, target: Transfer | None) -> Made | None:
    """Convert from one kernel to another as inference does; None if either is not known, or the target is sharper."""
    if source is None or target is None or is_sharper(quotient(target, source, MOST)):
        return None
    conversion = Conversion(softening_between(source, target))
    return converted(pair.source, pair.spacing, conversion), uncertainty(source, target)


def by_default(pair: Pair) -> Made | None:
    """Convert to the default target."""
    found = find_transfer(pair.source, pair.spacing)
    if found is None or found.kernel is None:
        return None
    return matched(pair.source, pair.spacing, found.kernel), uncertainty(found)


def simulated(ct: str) -> Iterator[Row | None]:
    """Yield the conversions of simulated scans of two parts of a CT, each with the other part as reference."""
    volume = Volume(ct)
    name, patient = volume.path.name.split(".")[0], patient_of(volume.path.name)
    for scan, dose in enumerate(DOSES):
        pairs, kernel = [], Kernel.random(torch.Generator().manual_seed(SEED + scan)) if scan else SHARP
        for number, place in enumerate(PLACES):
            first = max(int(place * volume.shape[2]) - SLICES // 2, 0)
            slices = volume.slab(first, min(first + SLICES, volume.shape[2])).clamp(min=FLOOR)  # without padding
            image = F.pad(slices.movedim(-1, 0)[None], (RADIUS,) * 4, mode="replicate")[0].movedim(0, -1)
            generator = torch.Generator().manual_seed(SEED + len(PLACES) * scan + number)
            soft, sharp = acquire(image, volume.spacing, (SOFT, kernel), dose, generator)
            pairs.append(Pair(sharp, soft, volume.spacing))
        found = [[find_transfer(each, pair.spacing) for each in (pair.source, pair.target)] for pair in pairs]
        if not scan and all(ends := [end for _, end in found]):
            frequencies = torch.tensor([0.2, 0.4, 0.6], dtype=torch.float64)
            one, other = (end.transfer(frequencies) for end in ends if end)
            apart = ", ".join(f"{100 * each:.0f} %" for each in (one / other).log().abs() / math.sqrt(2))
            print(f"{name}: its soft kernel, found in two parts, scatters at 0.2, 0.4, 0.6 cycles/mm by {apart}")
        heard = [[by_noise(each, pair.spacing) for each in (pair.source, pair.target)] for pair in pairs]
        for here, there in ((0, 1), (1, 0)):
            pair, title = pairs[here], f"{name} part {here + 1}, dose {dose:g}"
            ways = {
                "calibrated": None if scan else calibrated(pair, [pairs[there]]),
                "to a reference": to(pair, found[here][0], found[there][1]),
                "to a reference, without skin": to(pair, heard[here][0], heard[there][1]),
            }
            if ABOUT in name:
                ways["to the default target"] = by_default(pair)
            for way, made in ways.items():
                yield judged(patient, f"simulated, {way}", title, pair, made)


def by_noise(image: Tensor, spacing: Sequence[float]) -> Transfer | None:
    """Return the kernel found from noise in a window inside the body; None if there is too little noise."""
    x, y = (slice(int(INSIDE * side), side - int(INSIDE * side)) for side in image.shape[:2])
    return found_transfer(EdgeSpread(), flat_noise(image[x, y], spacing))


def real(data: Path) -> Iterator[Row | None]:
    """Yield the conversions of the real pairs."""
    there = [each for each in PAIRS if all((data / f"{name}.nii.gz").exists() for name in each[1:])]
    for title, source, target in there:
        pair, patient = Pair.read(data, source, target), patient_of(source)
        depth, rows = pair.source.shape[2], pair.source.shape[0]
        own = find_transfer(pair.source, pair.spacing)
        made: list[tuple[str, Pair, Made | None, Tensor | None]] = []
        if ABOUT in source:
            made.append(("to the default target", pair, by_default(pair), None))
        if depth > 1:
            parts = pair.part(0, depth // 2), pair.part(depth // 2, depth)
            for half, other in (parts, parts[::-1]):
                ends = find_transfer(half.source, half.spacing), find_transfer(other.target, half.spacing)
                made.append(("calibrated", half, calibrated(half, [other]), None))
                made.append(("to a reference", half, to(half, *ends), None))
        elif title.startswith("L067"):
            fellows = [Pair.read(data, a, b) for _, a, b in there if patient_of(a) == patient and a != source]
            made.append(("calibrated", pair, calibrated(pair, fellows), None))
            made.append(("by name", pair, to(pair, own, catalogue().find("B30f")), None))
            references = [find_transfer(each.target, pair.spacing) for each in fellows]
            made += [("to a reference", pair, to(pair, own, each), None) for each in references]
        else:
            for first, last in ((0, rows // 2), (rows // 2, rows)):
                use = torch.zeros(pair.source.shape[:2], dtype=torch.bool)
                use[first:last] = True
                reference = find_transfer(pair.target[first:last], pair.spacing)
                made.append(("calibrated", pair, calibrated(pair, [pair], use), use))
                made.append(("to a reference", pair, to(pair, own, reference), use))
        for way, part, result, used in made:
            yield judged(patient, f"real, {way}", title, part, result, used)


def patient_of(name: str) -> str:
    """Return the patient of a file."""
    return "_".join(Path(name).name.split(".")[0].split("_")[: 2 if "lidc" in name or "lungdx" in name else 1])


def needed(rows: Sequence[Row]) -> np.ndarray:
    """Return the multiple that covers the wanted fraction of rows, with equal weight per patient, `(measures,)`."""
    patients = [row.patient for row in rows]
    weights = np.array([1 / patients.count(patient) for patient in patients])
    scores = np.stack([row.score() for row in rows])
    order = np.argsort(scores, 0)
    share = np.cumsum(weights[order], 0) / weights.sum()
    return np.take_along_axis(scores, order, 0)[np.argmax(share >= COVERED - 1e-9, 0), np.arange(len(MEASURES))]


@torch.no_grad()
def main(data: str, *cts: str) -> None:
    """Print each conversion, the multiples, and how often the interval contains the truth.

    Args:
        data: folder of the real pairs, see `benchmarks.pairs`.
        cts: paths of soft CTs.
    """
    print("| pair | way | measure | before | after | truth | interval | within |\n|---|---|---|---|---|---|---|---|")
    rows = []
    for row in (each for ct in ("", *cts) for each in (simulated(ct) if ct else real(Path(data)))):
        if row is not None:
            rows.append(row)
            tell(row)
    summarize(rows)


def summarize(rows: Sequence[Row]) -> None:
    """Print how often the intervals contain the truth.

    Raises:
        SystemExit: If there are fewer than two patients.
    """
    if len({row.patient for row in rows}) < 2:
        sys.exit("error: needs two patients with lung at least")
    others = {row.patient: needed([each for each in rows if each.patient != row.patient]) for row in rows}
    cover("multiple of the other patients", rows, [np.maximum(others[row.patient], MULTIPLE) for row in rows])
    cover(f"as shipped, multiple {MULTIPLE:g}", rows, [np.full(len(MEASURES), MULTIPLE)] * len(rows))
    for patient, multiple in {"nobody": needed(rows), **others}.items():
        told = ", ".join(f"{key} {each:.2f}" for key, each in zip(MEASURES, multiple, strict=True))
        print(f"needed by {100 * COVERED:g} % without {patient}: {told}")


def tell(row: Row) -> None:
    """Print the lines of a conversion."""
    low, high = row.limits(MULTIPLE)
    for k in range(len(MEASURES)):
        values = " | ".join(f"{each[k]:.2f}" for each in (row.before, row.after, row.truth))
        within = "yes" if low[k] <= row.truth[k] <= high[k] else "no"
        print(f"| {row.title} | {row.kind} | {MEASURES[k]} | {values} | {low[k]:.2f} to {high[k]:.2f} | {within} |")
    sys.stdout.flush()


def cover(title: str, rows: Sequence[Row], multiples: Sequence[np.ndarray]) -> None:
    """Print coverage and median width of the interval, and the median change, by kind and patient."""
    head = " | ".join(f"{key}: within | width | change" for key in MEASURES)
    print(f"\n| {title} | patients | pairs | {head} |\n|---|---|---|{'---|' * 3 * len(MEASURES)}")
    limits = np.stack([row.limits(multiple) for row, multiple in zip(rows, multiples, strict=True)])
    truth = np.stack([row.truth for row in rows])
    within = (limits[:, 0] <= truth) & (truth <= limits[:, 1])
    width, change = limits[:, 1] - limits[:, 0], np.stack([np.abs(row.after - row.before) for row in rows])
    names = [f"real, {row.patient}" if row.kind.startswith("real") else f"simulated, {row.patient}" for row in rows]
    labels = [[row.kind for row in rows], names, [row.kind.split(",")[0] for row in rows]]
    for label in labels:
        for each in sorted(set(label)):
            at = np.array([other == each for other in label])
            people = len({row.patient for row, here in zip(rows, at, strict=True) if here})
            cells = [
                f"{100 * within[at, k].mean():.0f} % | {np.median(width[at, k]):.2f} | {np.median(change[at, k]):.2f}"
                for k in range(len(MEASURES))
            ]
            print(f"| {each} | {people} | {at.sum()} | {' | '.join(cells)} |")


if __name__ == "__main__":
    run_command(main)
