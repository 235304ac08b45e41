"""Compare two or three measured series, and check whether water or air moved."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from apps.qa.measured import PERCENT, Measured

LIMIT = 2.0  # HU by which water and air may move


@dataclass(frozen=True)
class Moved:
    """Change of a material: HU before and after, and the standard error of the change, if there are several slices."""

    before: float
    after: float
    error: float | None

    @property
    def by(self) -> float:
        """HU after minus HU before."""
        return self.after - self.before


def moved(before: Sequence[float], after: Sequence[float]) -> Moved:
    """Return how far the mean over the slices moved; one value in HU per slice."""
    difference = np.subtract(after, before)
    error = float(difference.std(ddof=1) / math.sqrt(len(difference))) if len(difference) > 1 else None
    return Moved(float(np.mean(before)), float(np.mean(after)), error)


def judged(before: Measured, after: Measured) -> dict[str, Moved]:
    """Return the changes of what must not move: air, the uniform module, and a water insert if there is one."""
    result = {
        "air": moved(before.inserts["Air"], after.inserts["Air"]),
        "water": moved(uniform(before), uniform(after)),
    }
    for name in ("Water", "Vial"):
        if name in before.inserts and name in after.inserts:
            result[f"water ({name.lower()})"] = moved(before.inserts[name], after.inserts[name])
    return result


def failures(parts: Mapping[str, Moved]) -> list[str]:
    """Return a sentence for each material that moved by more than `LIMIT`."""
    return [
        f"{name} moved by {part.by:+.1f} HU, from {part.before:.1f} to {part.after:.1f}"
        for name, part in parts.items()
        if not abs(part.by) <= LIMIT
    ]


def rows(series: Mapping[str, Measured]) -> Iterator[list[str]]:
    """Yield the rows of the table: name, value in each series, change, and difference from a target.

    Args:
        series: `before`, `after`, and optionally `target`.
    """
    before, after, *_ = parts = list(series.values())
    plain = [""] * (len(parts) - 1)  # no differences for values that are not in HU
    for name in before.inserts:
        if all(name in one.inserts for one in parts):
            yield [f"insert {name}, HU", *hounsfield([one.inserts[name] for one in parts])]
    yield ["uniform module (water), HU", *hounsfield([uniform(one) for one in parts])]
    spread = [np.ptp([np.mean(region) for region in one.uniformity.values()]) for one in parts]
    yield ["its regions, largest difference, HU", *(f"{one:.1f}" for one in spread), *plain]
    yield ["noise (standard deviation), HU", *(f"{np.mean(one.noise):.1f}" for one in parts), *plain]
    if before.power and after.power:
        peaks = [one.frequency[int(np.argmax(one.power))] for one in parts]
        yield ["noise power peaks at, cycles/mm", *(f"{peak:.2f}" for peak in peaks), *plain]
    for percent in PERCENT:
        found = [one.resolution[percent] for one in parts]
        yield [f"MTF {percent} %, line pairs/mm", *("-" if one is None else f"{one:.2f}" for one in found), *plain]
    if before.thickness is not None:
        yield ["slice thickness by the ramps, mm", *(f"{one.thickness:.2f}" for one in parts), *plain]


def uniform(one: Measured) -> list[float]:
    """Return the mean HU of the uniform module's regions, one value per slice."""
    return [float(value) for value in np.mean(list(one.uniformity.values()), axis=0)]


def hounsfield(parts: Sequence[Sequence[float]]) -> list[str]:
    """Return the mean of each series over its slices, and the differences of the second from the others."""
    before, after, *target = parts
    differences = [moved(other, after) for other in (before, *target)]
    signed = [f"{one.by:+.1f}" + ("" if one.error is None else f" ± {one.error:.1f}") for one in differences]
    return [*(f"{np.mean(one):.1f}" for one in parts), *signed]


def table(series: Mapping[str, Measured]) -> str:
    """Return the table in Markdown; ± is the standard error over the slices."""
    head = ["", *series, "moved", *(["off target"] if "target" in series else [])]
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    lines += ["| " + " | ".join(row) + " |" for row in rows(series)]
    return "\n".join(lines)


def as_json(phantom: str, version: str, series: Mapping[str, Measured], parts: Mapping[str, Moved]) -> dict[str, Any]:
    """Return the comparison as plain data for JSON."""
    return {
        "phantom": phantom,
        "pylinac": version,
        "limit_hu": LIMIT,
        "moved": {name: {**asdict(part), "by": part.by} for name, part in parts.items()},
        "passed": not failures(parts),
        "series": {name: {k: v for k, v in vars(one).items() if k != "picture"} for name, one in series.items()},
    }
