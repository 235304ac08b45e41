"""Phantoms as pylinac expects them: the CatPhans 503, 504, 600 and 604, and the ACR CT 464.

The positions of inserts, line pairs and modules are those of pylinac 3 (`ct.py`, `acr.py`), which has them from the
vendors' manuals. Only what pylinac measures is drawn, without the CatPhans' acrylic spheres and sub-slice targets and
the ACR's wires.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import pairwise

from apps.qa.phantom import AIR, Bar, Disk, Module, Phantom

#: Tangent of the wire ramps' angle of 23 degrees, as in pylinac.
RAMP = 0.42
ALUMINIUM, STEEL = 2000.0, 8000.0
HALF = 15.0  # mm
EPOXY, BODY = 90.0, 50.0  # HU around inserts and line pairs, and around low contrast targets
#: HU of a CatPhan's inserts by angle.
INSERTS = {-90: -1000, -120: -196, 180: -104, 120: -47, 60: 115, 0: 365, -60: 1000, 90: -1000}
BONES = {-150: 725, 30: 237}
#: Angles and radii in mm of the low contrast targets.
TARGETS = ((-87.4, 7.5), (-69.1, 4.5), (-52.7, 4.0), (-38.5, 3.5), (-25.1, 3.0), (-12.9, 2.5))
#: Ends of the groups of line pairs, as fractions of their circle from the start.
ENDS = (0, 0.107, 0.173, 0.236, 0.286, 0.335, 0.387, 0.434, 0.479)
ENDS_503 = (0, 0.111, 0.176, 0.240, 0.289, 0.339, 0.390, 0.436, 0.481)
ENDS_600 = (0, 0.127, 0.195, 0.255, 0.304, 0.354, 0.405, 0.453, 0.496)


def catphan(
    inserts: dict[int, int],
    water: float,
    contrast: float | None,
    pairs: float,
    ends: Sequence[float] = ENDS,
    start: float = 180,
    turn: int = -1,
    targets: float = 0,
) -> Phantom:
    """Return a CatPhan: inserts and ramps (CTP404) at z = 0, and three more modules.

    Args:
        inserts: HU of the inserts by angle in degrees.
        water: middle of the uniform module (CTP486) in mm.
        contrast: middle of the low contrast module (CTP515) in mm; None if there is none.
        pairs: middle of the line pair module (CTP528) in mm.
        ends: ends of the groups of line pairs, as fractions of the circle.
        start: start of the line pairs in degrees.
        turn: 1 if the line pairs run from x towards y, -1 for the other direction.
        targets: rotation of the low contrast targets in degrees.
    """
    linearity: list[Disk | Bar] = [Disk(angle, 58.7, 6.1, value) for angle, value in inserts.items()]
    linearity += [Disk(angle, math.hypot(25, 25), 1.5, 1000 if angle == 45 else AIR) for angle in (-135, -45, 45, 135)]
    linearity += [Bar(angle, 38, 0, 0.6, 0.6, STEEL, slope=1 / RAMP) for angle in (0, 90, 180, -90)]
    low = [Disk(angle + targets, 50, radius, BODY + 10) for angle, radius in TARGETS]
    parts = [
        (0.0, EPOXY, tuple(linearity)),
        (water, 0.0, ()),
        (pairs, EPOXY, tuple(line_pairs(pairs, ends, start, turn))),
    ]
    if contrast is not None:
        parts.append((contrast, BODY, tuple(low)))
    return stacked(sorted(parts, key=lambda part: part[0]))


def stacked(parts: Sequence[tuple[float, float, tuple[Disk | Bar, ...]]]) -> Phantom:
    """Return a phantom of modules, given by middle, HU and contents, that end halfway between their middles.

    The module at z = 0 extends at most `HALF` to both sides: pylinac takes the middle of the slices with inserts as its
    middle.
    """
    middles = [middle for middle, _, _ in parts]
    borders = [(low + high) / 2 for low, high in pairwise(middles)]
    borders = [
        max(-HALF, min(at, HALF)) if 0 in pair else at for at, pair in zip(borders, pairwise(middles), strict=True)
    ]
    borders = [middles[0] - HALF, *borders, middles[-1] + HALF]
    return Phantom(
        100,
        tuple(
            Module(start, stop, value, bodies)
            for (_, value, bodies), (start, stop) in zip(parts, pairwise(borders), strict=True)
        ),
    )


def line_pairs(middle: float, ends: Sequence[float], start: float, turn: int) -> Iterator[Bar]:
    """Yield the bars of a CatPhan's line pairs, 0.1 to 0.8 per mm, on a circle of 47 mm; aluminium, 2 mm along z."""
    for group, count in enumerate((2, 3, 4, 4, 4, 5, 5, 5)):
        angle = start + turn * 180 * (ends[group] + ends[group + 1])
        width = 5.0 / (group + 1)
        for bar in range(count):
            yield Bar(angle, 47, (2 * bar - count + 1) * width, 8, width, ALUMINIUM, middle=middle, depth=2)


def acr464() -> Phantom:
    """Return an ACR CT 464: inserts in water (module 1), low contrast (2), water (3), line pairs (4)."""
    inserts = {45: -1000, 225: -95, 135: 120, -45: 955, 180: 0}
    pairs = {-135: 0.4, 180: 0.5, 135: 0.6, 90: 0.7, 45: 0.8, 0: 0.9, -45: 1.0, -90: 1.2}
    beads = (Disk(-45, 20, 0.5, 1000), Disk(135, 80, 0.5, 1000))
    return Phantom(
        100,
        (
            Module(-20, 20, 0, tuple(Disk(angle, 63, 12.5, value) for angle, value in inserts.items())),
            Module(20, 50, EPOXY, (Disk(-90, 60, 12.5, EPOXY + 6),)),
            Module(50, 85, 0, beads),
            Module(85, 120, EPOXY, tuple(bar for angle, pair in pairs.items() for bar in acr_pairs(angle, pair))),
        ),
    )


def acr_pairs(angle: float, pair: float) -> Iterator[Bar]:
    """Yield the bars of one square of 15 mm with ``pair`` line pairs per mm."""
    count = int(15 * pair)
    for bar in range(count):
        yield Bar(angle, 70, (bar - (count - 1) / 2) / pair, 15, 0.5 / pair, ALUMINIUM)


#: Phantoms by the name given to ``--phantom``. The 600's inserts are rotated by 180 degrees; the upper one is water.
PHANTOMS: dict[str, Callable[[], Phantom]] = {
    "catphan503": partial(catphan, INSERTS, water=-110, contrast=None, pairs=-30, ends=ENDS_503, start=0, turn=1),
    "catphan504": partial(catphan, INSERTS, water=-65, contrast=-30, pairs=30),
    "catphan600": partial(
        catphan,
        {**{angle + 180: value for angle, value in INSERTS.items() if angle != 90}, -90: 0},
        water=-160,
        contrast=-110,
        pairs=-70,
        ends=ENDS_600,
        start=180 - math.degrees(0.1),
        turn=1,
        targets=180,
    ),
    "catphan604": partial(catphan, {**INSERTS, **BONES}, water=-80, contrast=-40, pairs=40),
    "acr": acr464,
}
