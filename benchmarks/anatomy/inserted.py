"""Insert nodules, vessels and airways of known size into soft CTs before a simulated acquisition, and measure them.

Contrast is the difference between acquisitions with and without the objects, with the same noise. Detectability uses
single images.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from scipy.ndimage import map_coordinates
from torch import Tensor

from benchmarks.anatomy.half_maximum import measured
from benchmarks.anatomy.objects import Ball, Rod, stamp
from benchmarks.anatomy.observer import centred, hotelling, matched_filter
from benchmarks.anatomy.regions import BANDS, NAMES, gains, shifts, tissues
from benchmarks.anatomy.scans import Scan
from benchmarks.anatomy.translate import made_of
from bundle.evaluation.metrics import body_mask

NODULES = (3.0, 5.0, 10.0)  # mm
SOLID, FAINT = 800.0, 100.0  # HU above the lung
VESSELS = (1.0, 2.0, 4.0)  # mm
BLOOD = 850.0  # HU above the lung
AIRWAYS = ((2.0, 0.8), (3.0, 1.0), (5.0, 1.5))  # mm: inner diameter and wall
LUMEN, WALL = -1000.0, 0.0  # HU
SEEDS = (0, 1)
INNER = 0.5  # fraction of an object's radius in which its contrast is read
STEP, SEARCHED = 0.1, 8.0  # mm: step and half size of the grid on which a vessel's width is measured
AROUND = 6.0  # mm around an object that are included in its mass

#: Values of a scan, a row for each method.
Rows = dict[str, list[float]]
Crops = dict[str, np.ndarray]


def offset(scan: Scan, seed: int) -> tuple[float, float]:
    """Return the position of the objects' middle within a voxel, in mm."""
    at = np.random.default_rng(1000 + seed).uniform(-0.5, 0.5, 2)
    return float(at[0] * scan.spacing[0]), float(at[1] * scan.spacing[1])


def crops(scan: Scan, image: Tensor, seed: int) -> Crops:
    """Acquire an image and return each method's result around the places, `(places, x, y, z)`."""
    soft, sharp = scan.acquired(image, seed)
    return {title: scan.crops(result) for title, result in made_of(sharp, soft, scan.spacing)}


def cover_of(scan: Scan, shape: Ball | Rod, seed: int) -> Tensor:
    """Return the filled fraction of each voxel around a place, as the CT's own kernel shows an object."""
    return stamp(shape, scan.spacing, scan.side, offset(scan, seed), scan.kernel)


def contrast(scan: Scan, difference: np.ndarray, shape: Ball | Rod, amount: float, seed: int) -> tuple[float, float]:
    """Return the mean contrast in the object's middle, and its total mass, in percent of the inserted values."""
    x, y = (
        (np.arange(n) - n // 2) * mm - by
        for n, mm, by in zip(scan.side[:2], scan.spacing[:2], offset(scan, seed), strict=True)
    )
    away = np.hypot(x[:, None], y[None, :])
    middle = away <= max(INNER * shape.diameter / 2, float(away.min()))
    core = difference[..., scan.side[2] // 2][:, middle].mean()
    whole = difference[:, away <= shape.diameter / 2 + AROUND].sum() / len(difference) * math.prod(scan.spacing)
    return 100 * float(core) / amount, 100 * float(whole) / (amount * shape.volume)


def nodules(scan: Scan) -> dict[str, Rows]:
    """Measure balls: contrast and mass of solid ones, and detectability of faint ones; one value per size."""
    tables: dict[str, Rows] = {name: {} for name in ("contrast", "mass", "matched filter", "Hotelling")}
    without = {seed: crops(scan, scan.image, seed) for seed in SEEDS}
    pixel, z, places = scan.spacing[0], scan.side[2] // 2, len(scan.places)
    for size in NODULES:
        ball = Ball(size)
        solid = crops(scan, scan.with_objects(cover_of(scan, ball, SEEDS[0]), SOLID), SEEDS[0])
        faint = {seed: crops(scan, scan.with_objects(cover_of(scan, ball, seed), FAINT), seed) for seed in SEEDS}
        for title, first in without[SEEDS[0]].items():
            core, mass = contrast(scan, solid[title] - first, ball, SOLID, SEEDS[0])
            absent, present = (
                np.concatenate([centred(shown[seed][title][..., z], pixel) for seed in SEEDS])
                for shown in (without, faint)
            )
            values = {
                "contrast": core,
                "mass": mass,
                "matched filter": matched_filter(absent, present, places),
                "Hotelling": hotelling(absent, present, places, pixel, size + 2.0),
            }
            for name, value in values.items():
                tables[name].setdefault(title, []).append(value)
    return tables


def vessels(scan: Scan) -> dict[str, Rows]:
    """Measure upright rods: contrast, and full width at half maximum of the mean over the places."""
    tables: dict[str, Rows] = {"contrast": {}, "width": {}}
    absent = crops(scan, scan.image, 0)
    for diameter in VESSELS:
        rod = Rod(diameter)
        present = crops(scan, scan.with_objects(cover_of(scan, rod, 0), BLOOD), 0)
        for title in absent:
            difference = present[title] - absent[title]
            core, _ = contrast(scan, difference, rod, BLOOD, 0)
            tables["contrast"].setdefault(title, []).append(core)
            tables["width"].setdefault(title, []).append(_width(scan, difference[..., scan.side[2] // 2].mean(0)))
    return tables


def _width(scan: Scan, profile: np.ndarray) -> float:
    """Return the diameter in mm of the disc above half of the largest value, interpolated by splines."""
    steps = np.arange(-SEARCHED, SEARCHED + STEP, STEP)
    at = np.meshgrid(*(steps / mm + n // 2 for mm, n in zip(scan.spacing, profile.shape, strict=False)), indexing="ij")
    fine, away = map_coordinates(profile, at, order=3), np.hypot(steps[:, None], steps[None, :])
    above = (fine > fine[away < 2].max() / 2) & (away < SEARCHED)
    return float(2 * math.sqrt(above.sum() * STEP**2 / math.pi))


def with_airways(scan: Scan, inner: float, wall: float) -> Tensor:
    """Return a CT with an upright tube at each place: its wall has 0 HU, its lumen -1000 HU.

    Args:
        scan: the CT.
        inner: inner diameter in mm.
        wall: thickness of the wall in mm.
    """
    tube, hole = (cover_of(scan, Rod(diameter), 0) for diameter in (inner + 2 * wall, inner))
    walls = replace(scan, image=scan.with_objects(tube, [WALL - lung for lung in scan.backgrounds()]))
    return walls.with_objects(hole, LUMEN - WALL)


def airways(scan: Scan) -> dict[str, Rows]:
    """Measure upright tubes by the half maximum: errors of inner area and wall thickness, in percent of the truth."""
    tables: dict[str, Rows] = {"inner area": {}, "wall": {}}
    for inner, wall in AIRWAYS:
        shown = crops(scan, with_airways(scan, inner, wall), 0)
        true_area = math.pi * inner**2 / 4
        middle = [n // 2 + by / mm for n, by, mm in zip(scan.side, offset(scan, 0), scan.spacing, strict=False)]
        for title, every in shown.items():
            z = scan.side[2] // 2
            found = [
                measured(each[..., z], scan.spacing[0], (middle[0], middle[1]), inner / 2 + wall) for each in every
            ]
            area = np.median([each.area for each in found])
            thickness = np.median([each.thickness for each in found])
            tables["inner area"].setdefault(title, []).append(100 * float(area / true_area - 1))
            tables["wall"].setdefault(title, []).append(100 * float(thickness / wall - 1))
    return tables


def tissue(scan: Scan) -> dict[str, Rows]:
    """Measure the shift of the mean HU of tissues, and how much detail is left."""
    soft, sharp = scan.acquired(scan.image, 0)
    masks = tissues(soft.numpy())
    body = np.stack([body_mask(soft[..., z].numpy()) for z in range(soft.shape[2])], -1)
    tables: dict[str, Rows] = {"mean": {}, "detail": {}}
    for title, result in made_of(sharp, soft, scan.spacing):
        tables["mean"][title] = shifts(result.numpy(), soft.numpy(), masks)
        tables["detail"][title] = gains(result.numpy(), soft.numpy(), scan.spacing, body)
    return tables


@dataclass(frozen=True)
class Table:
    """Format of an experiment's table.

    Args:
        title: title above the table.
        columns: headings of the columns.
        decimals: number of decimals.
        sign: whether plus signs are printed.
    """

    title: str
    columns: Sequence[str]
    decimals: int
    sign: bool = False

    def lines(self, rows: dict[str, np.ndarray]) -> list[str]:
        """Return the lines with the mean of each value over the scans; `rows` are `(scans, columns)`."""
        shown = [f"\n{self.title}\n", f"| method | {' | '.join(self.columns)} |", f"|---|{'---|' * len(self.columns)}"]
        for title, values in rows.items():
            cells = [f"{value:{'+' if self.sign else ''}.{self.decimals}f}" for value in np.nanmean(values, 0)]
            shown.append(f"| {title} | {' | '.join(cells)} |")
        return shown


_BALLS = [f"{size:g} mm" for size in NODULES]
_RODS = [f"{size:g} mm" for size in VESSELS]
_TUBES = [f"{inner:g} mm, wall {wall:g}" for inner, wall in AIRWAYS]
EXPERIMENTS: dict[str, tuple[Callable[[Scan], dict[str, Rows]], dict[str, Table]]] = {
    "nodules": (
        nodules,
        {
            "contrast": Table(f"Contrast in the middle of a nodule of +{SOLID:g} HU, % of it", _BALLS, 1),
            "mass": Table("Mass of the same nodule, % of it", _BALLS, 1),
            "matched filter": Table(f"d' of the matched filter, nodule of +{FAINT:g} HU", _BALLS, 2),
            "Hotelling": Table(f"d' of the channelized Hotelling observer, nodule of +{FAINT:g} HU", _BALLS, 2),
        },
    ),
    "vessels": (
        vessels,
        {
            "contrast": Table(f"Contrast in the middle of a vessel of +{BLOOD:g} HU, % of it", _RODS, 1),
            "width": Table("Width at half maximum of the same vessel, mm", _RODS, 2),
        },
    ),
    "airways": (
        airways,
        {
            "inner area": Table("Error of the inner area, %", _TUBES, 1, True),
            "wall": Table("Error of the wall's thickness, %", _TUBES, 1, True),
        },
    ),
    "tissue": (
        tissue,
        {
            "mean": Table("Error of the mean, HU", NAMES, 2, True),
            "detail": Table("Gain of detail, cycles/mm", [f"{low:g} to {high:g}" for low, high in BANDS], 3),
        },
    ),
}


@torch.no_grad()
def run(name: str, *cts: str) -> None:
    """Print the tables of an experiment, with means over the CTs, and for each CT if there are several.

    Args:
        name: name of the experiment.
        cts: paths of soft CTs.
    """
    measure, tables = EXPERIMENTS[name]
    found = []
    for ct in cts:
        scan = Scan.read(ct)
        print(f"{scan.name}: {scan.image.shape[2]} slices, {len(scan.places)} places", flush=True)
        if len(scan.places) < 4 and name != "tissue":
            print(f"skipped: {scan.name} has fewer than 4 places in its lungs without vessels")
            continue
        found.append(measure(scan))
        if len(cts) > 1:
            _print(tables, found[-1:], f"{scan.name}: ")
    if found:
        _print(tables, found, f"mean of {len(found)}: ")


def _print(tables: dict[str, Table], found: Sequence[dict[str, Rows]], prefix: str) -> None:
    for key, table in tables.items():
        rows = {title: np.array([each[key][title] for each in found]) for title in found[0][key]}
        lines = Table(prefix + table.title, table.columns, table.decimals, table.sign).lines(rows)
        print("\n".join(lines), flush=True)


COMMANDS = {name: partial(run, name) for name in EXPERIMENTS}
