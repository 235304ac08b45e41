"""Compare lung densities with the truth: Bland-Altman plots, bias and limits of agreement.

Bland and Altman, Lancet 327 (1986) 307: difference against mean of both methods, mean +- 1.96 standard deviations.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
from bundle.images.own_files import check_own
from bundle.images.provenance import NAME
from bundle.report.charts import COLOURS, INK, PLAIN, finish
from bundle.runtime.files import atomic
from matplotlib.axes import Axes
from matplotlib.figure import Figure

FILE = "bland_altman.png"
#: Columns of `bundle.report.summary`, with title and unit.
PLOTTED = (("laa950_percent", "LAA\N{MINUS SIGN}950", "%"), ("mean_hu", "mean lung density", "HU"))
TIMES = 1.96  # standard deviations
FEWEST = 2  # images
DPI = 160


@dataclass(frozen=True)
class Agreement:
    """Agreement of measured and true values.

    Args:
        means: mean of both values, one for each image.
        differences: measured minus true value, one for each image.
    """

    means: np.ndarray
    differences: np.ndarray

    @property
    def bias(self) -> float:
        """Mean difference."""
        return float(self.differences.mean())

    @property
    def limits(self) -> tuple[float, float]:
        """Limits of agreement; NaN for a single image."""
        spread = TIMES * float(np.std(self.differences, ddof=1)) if len(self.differences) > 1 else np.nan
        return self.bias - spread, self.bias + spread


def agreement(rows: Sequence[Mapping[str, str]], column: str, when: str) -> Agreement | None:
    """Return the agreement of a density with the truth; None if fewer than two images have both.

    Args:
        rows: rows of `bundle.report.summary.Summary`.
        column: column of the density, without the prefix ``when``.
        when: ``before`` or ``after``.
    """
    names = f"{column}_{when}", f"{column}_truth"
    pairs = np.asarray([[float(row[name]) for name in names] for row in rows if all(row[name] for name in names)])
    if len(pairs) < FEWEST:
        return None
    return Agreement(pairs.mean(1), pairs[:, 0] - pairs[:, 1])


def draw_agreement(folder: Path, rows: Sequence[Mapping[str, str]]) -> Path | None:
    """Plot LAA-950 and mean density; return the file's path, or None if fewer than two images have a truth.

    Raises:
        FileExistsError: If the file exists and was not written by this bundle.
    """
    found = {(column, when): agreement(rows, column, when) for column, *_ in PLOTTED for when in ("before", "after")}
    if not any(found.values()):
        return None
    path = folder / FILE
    check_own(path, "plot", way_out="move it away")
    with matplotlib.rc_context(PLAIN):
        figure = Figure((10.4, 4.7), layout="constrained")
        for axes, (column, title, unit) in zip(figure.subplots(1, 2), PLOTTED, strict=True):
            for when, end in (("before", "source"), ("after", "result")):
                if each := found[column, when]:
                    draw(axes, each, end, unit)
            axes.axhline(0, color=INK, lw=0.8)
            finish(axes, f"{title}, {unit}", "mean of both")
            axes.set_ylabel("difference to the truth", color=INK)
            axes.legend(fontsize=8, frameon=False, loc="upper left", bbox_to_anchor=(0, -0.13))
        with atomic(path) as part:
            figure.savefig(part, format="png", dpi=DPI, metadata={"Software": NAME})
    return path


def draw(axes: Axes, each: Agreement, end: str, unit: str) -> None:
    """Draw the points of one method, its bias and its limits of agreement."""
    low, high = each.limits
    label = f"{end}: bias {each.bias:+.2f} {unit}, limits {low:+.2f} to {high:+.2f} (n = {len(each.means)})"
    axes.scatter(each.means, each.differences, s=22, color=COLOURS[end], label=label, zorder=3)
    axes.axhline(each.bias, color=COLOURS[end], lw=1.2)
    for limit in (low, high):
        axes.axhline(limit, color=COLOURS[end], lw=0.9, linestyle=(0, (4, 3)))
