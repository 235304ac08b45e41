"""Write the results as a Markdown table of means and as a CSV file of all cases."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from io import StringIO

import numpy as np
from bundle.evaluation.methods import Cost
from bundle.evaluation.metrics import BLOCK, LUNG, NAMES, Comparison, Density, IntensityWindow, p_text, paired_p

HEAD = (
    "method",
    "SSIM",
    "MAE",
    "MSE",
    "p, cases",
    "p, blocks",
    "lung < -950 HU",
    "error, pp",
    "lung, HU",
    "seam",
    "seconds",
    "GiB",
)
#: The lines by which an earlier table is known, in Markdown and as CSV.
OWN_LINE = f"| {' | '.join(HEAD)} |"
COLUMNS = (
    *("kind", "case", "method", "name", *NAMES),
    *("lung_percent", "lung_error_pp", "lung_error_hu", "seam", "seconds", "gib", "slices", "blocks"),
)
OWN_CSV_LINE = ",".join(COLUMNS)


@dataclass(frozen=True)
class Record:
    """Measurements of one method on one pair.

    Args:
        kind: kind of the pair.
        case: name of the pair.
        key: key of the method.
        name: name of the method, with parameters that differ between cases, if any.
        comparison: SSIM, MAE and MSE.
        lung: lung density of the result.
        truth: lung density of the target.
        seam: see `bundle.evaluation.metrics.seams`.
        cost: running time and memory.
    """

    kind: str
    case: str
    key: str
    name: str
    comparison: Comparison
    lung: Density
    truth: Density
    seam: float
    cost: Cost


def markdown(records: Sequence[Record], titles: Mapping[str, str], ours: str = "ours") -> str:
    """Return the table of one kind of pairs: a row for each method, with means over all cases.

    Args:
        records: records of one kind.
        titles: titles of the rows in order, by key of the method.
        ours: key of the method that the others are tested against.
    """
    lines = [OWN_LINE, "|" + "---|" * len(HEAD)]
    base = [record for record in records if record.key == ours]
    for key, title in titles.items():
        rows = [record for record in records if record.key == key]
        if rows:
            tested = [] if key in (ours, "target") else base
            lines.append("| " + " | ".join([title, *cells(rows, tested)]) + " |")
    return "\n".join(lines)


def cells(rows: Sequence[Record], base: Sequence[Record]) -> list[str]:
    """Return the cells of one row of the table, without its title."""
    scores = []
    for name, digits in zip(NAMES, (4, 5, 6), strict=True):
        values = np.concatenate([row.comparison.slices[name] for row in rows])
        scores.append(f"{values.mean():.{digits}f} ± {values.std():.{digits}f}")
    return [
        *scores,
        *(p_text(p) for p in largest_p(base, rows)),
        number(mean(row.lung.below for row in rows), "{:.2f} %"),
        number(mean(abs(row.lung.below - row.truth.below) for row in rows), "{:.2f}"),
        number(mean(row.lung.mean - row.truth.mean for row in rows), "{:+.1f}"),
        number(mean(row.seam for row in rows), "{:.3f}"),
        number(mean(row.cost.seconds for row in rows), "{:.1f}"),
        number(mean(row.cost.gibibytes for row in rows), "{:.2f}"),
    ]


def largest_p(base: Sequence[Record], rows: Sequence[Record]) -> tuple[float, float]:
    """Return the largest p value of SSIM, MAE and MSE: over cases, and over blocks."""
    if not base:
        return math.nan, math.nan
    by_case, by_block = [], []
    for name in NAMES:
        by_case.append(paired_p(*([row.comparison.mean(name) for row in part] for part in (base, rows))))
        by_block.append(
            paired_p(*(np.concatenate([row.comparison.blocks[name] for row in part]) for part in (base, rows)))
        )
    return float(np.max(by_case)), float(np.max(by_block))


def notes(records: Sequence[Record], window: IntensityWindow = LUNG, unit: str = "HU") -> str:
    """Return the notes below the table, with the numbers of cases and blocks.

    Args:
        records: records of one kind.
        window: intensity window of the comparison.
        unit: unit of the images.
    """
    one = [record for record in records if record.key == records[0].key]
    cases, slices = len(one), sum(len(record.comparison.slices["ssim"]) for record in one)
    blocks = sum(len(record.comparison.blocks["ssim"]) for record in one)
    size = " x ".join(map(str, BLOCK))
    lung = (
        "Lung: share of the target's lung voxels below -950 HU; error: mean absolute difference to the target's share, "
        "in percentage points; HU: its mean less the target's. "
    )
    lung = lung if unit == "HU" else ""
    return (
        f"n = {cases} case{'s' * (cases > 1)}, {slices} slices, {blocks} blocks. SSIM (2D), MAE, MSE: {window[0]:g} to "
        f"{window[1]:g} {unit} scaled to 0..1, mean ± standard deviation over slices. p: paired two-sided t-test "
        f"against ours, the largest of the three metrics', on cases (n = {cases}; none where n = 1) and on "
        f"non-overlapping blocks of {size} voxels, or as many as there are (n = {blocks}, neighbours depend on each "
        f"other). It says that two differ; the means say which is better. {lung}Seam: jumps across the method's own "
        "window faces over the jumps beside them, and over that of the target, 1 is invisible; methods without windows "
        "are measured on ours'. Seconds from file to file, and peak memory of the whole process, Python and its "
        "libraries included."
    )


def as_csv(records: Sequence[Record]) -> str:
    """Return the results of every method on every case as CSV."""
    file = StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in records:
        comparison = row.comparison
        values = [*(comparison.mean(name) for name in NAMES), row.lung.below, row.lung.below - row.truth.below]
        values += [row.lung.mean - row.truth.mean, row.seam, row.cost.seconds, row.cost.gibibytes]
        counts = [len(comparison.slices["ssim"]), len(comparison.blocks["ssim"])]
        writer.writerow([row.kind, row.case, row.key, row.name, *(f"{value:.7g}" for value in values), *counts])
    return file.getvalue()


def mean(values: Iterable[float]) -> float:
    """Return the mean of the values that are not NaN; NaN if there are none."""
    known = [value for value in values if not math.isnan(value)]
    return float(np.mean(known)) if known else math.nan


def number(value: float, form: str) -> str:
    """Format a number for the table; NaN becomes a dash."""
    return "-" if math.isnan(value) else form.format(value)
