"""Phantoms for quality assurance, drawn as pylinac looks for them: a CatPhan 504 and an ACR CT 464, analytic, in HU.

Coordinates as in an axial slice on the screen: x to the right, y down, in mm from the phantom's axis; angles in degrees
from x towards y; z to the head, 0 in the middle of the module with the inserts.

Places of inserts, line pairs and modules: pylinac 3 (`ct.py`, `acr.py`), which has them from the vendors' manuals.
Drawn is what it measures. Left out are the CatPhan's acrylic spheres and sub-slice targets, and the ACR's wires.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

#: HU of what surrounds a phantom, and of air inside of one.
AIR = -1000.0
#: Of the wire ramps: tangent of 23 degrees, as pylinac has it.
RAMP = 0.42
ALUMINIUM, STEEL = 2000.0, 8000.0


@dataclass(frozen=True)
class Disk:
    """A cylinder along z: place in degrees and mm, radius in mm, HU."""

    angle: float
    distance: float
    radius: float
    value: float

    def reach(self) -> float:
        """No part is farther than this from its place, mm."""
        return self.radius

    def share(self, u: np.ndarray, v: np.ndarray, z: float, thickness: float, pixel: float) -> np.ndarray:
        """The share of each pixel that it fills; offsets outwards `u` and across `v` from its place, in mm."""
        del z, thickness
        return np.clip((self.radius - np.hypot(u, v)) / pixel + 0.5, 0, 1)


@dataclass(frozen=True)
class Bar:
    """A box: place in degrees and mm, offset across, size outwards and across in mm, HU; ``depth`` mm along z around 0.

    A ``slope`` other than 0 makes it a ramp, which moves across by so many mm for each mm of z, and gets longer by what
    it moves within a slice.
    """

    angle: float
    distance: float
    offset: float
    outwards: float
    across: float
    value: float
    middle: float = 0.0
    depth: float = math.inf
    slope: float = 0.0

    def reach(self) -> float:
        """No part is farther than this from its place, mm; a ramp's is where the module ends."""
        return abs(self.offset) + math.hypot(self.outwards, self.across) / 2 + (40.0 if self.slope else 0.0)

    def share(self, u: np.ndarray, v: np.ndarray, z: float, thickness: float, pixel: float) -> np.ndarray:
        """The share of each pixel that it fills in a slice at `z` of some thickness; see `Disk.share`."""
        top, bottom = z + thickness / 2, z - thickness / 2
        inside = min(top, self.middle + self.depth / 2) - max(bottom, self.middle - self.depth / 2)
        length = self.across + abs(self.slope) * thickness
        fill = self.across / length  # a thin wire fills no more of the slice than its own thickness
        at = self.offset + self.slope * (z - self.middle)
        radial = np.clip((self.outwards / 2 - np.abs(u)) / pixel + 0.5, 0, 1)
        tangential = np.clip((length / 2 - np.abs(v - at)) / pixel + 0.5, 0, 1)
        return radial * tangential * fill * max(inside, 0.0) / thickness


@dataclass(frozen=True)
class Module:
    """A part of a phantom from ``start`` to ``stop`` mm along z, of HU ``value``, with what lies in it."""

    start: float
    stop: float
    value: float
    bodies: tuple[Disk | Bar, ...] = ()


@dataclass(frozen=True)
class Phantom:
    """A cylinder of modules along z, radius in mm."""

    radius: float
    modules: tuple[Module, ...]

    @property
    def extent(self) -> tuple[float, float]:
        """First and last z in mm."""
        return min(module.start for module in self.modules), max(module.stop for module in self.modules)

    def slice(self, z: float, thickness: float, size: int, pixel: float) -> np.ndarray:
        """Return a slice in HU, `(rows, columns)` float64, its middle on the phantom's axis.

        Args:
            z: of its middle, mm.
            thickness: in mm. At a border between modules a slice is of the one in which its middle lies.
            size: pixels a side.
            pixel: in mm.
        """
        axis = (np.arange(size) - (size - 1) / 2) * pixel
        image = AIR * np.ones((size, size))
        module = min(self.modules, key=lambda one: max(one.start - z, z - one.stop, 0.0))
        for body in (Disk(0, 0, self.radius, module.value), *module.bodies):
            cos, sin = math.cos(math.radians(body.angle)), math.sin(math.radians(body.angle))
            rows, columns = (
                slice(*np.searchsorted(axis, (at - body.reach() - pixel, at + body.reach() + pixel)))
                for at in (body.distance * sin, body.distance * cos)
            )
            x, y = axis[columns] - body.distance * cos, axis[rows, None] - body.distance * sin
            share = body.share(x * cos + y * sin, y * cos - x * sin, z, thickness, pixel)
            part = image[rows, columns]
            part += share * (body.value - part)
        return image


def catphan504() -> Phantom:
    """Return a CatPhan 504: inserts and ramps (CTP404), line pairs (CTP528), low contrast (CTP515), water (CTP486)."""
    inserts = {-90: -1000, -120: -196, 180: -104, 120: -47, 60: 115, 0: 365, -60: 1000, 90: -1000}
    linearity = [Disk(angle, 58.7, 6.1, value) for angle, value in inserts.items()]
    linearity += [Disk(angle, math.hypot(25, 25), 1.5, AIR) for angle in (-135, -45, 135)]
    linearity += [Disk(45, math.hypot(25, 25), 1.5, 1000)]
    ramps = [Bar(angle, 38, 0, 0.6, 0.6, STEEL, slope=1 / RAMP) for angle in (0, 90, 180, -90)]
    low = zip((-87.4, -69.1, -52.7, -38.5, -25.1, -12.9), (7.5, 4.5, 4, 3.5, 3, 2.5), strict=True)
    contrast = [Disk(angle, 50, radius, 60) for angle, radius in low]
    return Phantom(
        100,
        (
            Module(-78, -47.5, 0),
            Module(-47.5, -12.5, 50, tuple(contrast)),
            Module(-12.5, 12.5, 90, (*linearity, *ramps)),
            Module(12.5, 45, 90, tuple(catphan_pairs())),
        ),
    )


def catphan_pairs() -> Iterator[Bar]:
    """Yield the bars of the CatPhan's line pairs, 0.1 to 0.8 a mm on a circle of 47 mm, aluminium of 2 mm along z."""
    ends = (
        0,
        0.107,
        0.173,
        0.236,
        0.286,
        0.335,
        0.387,
        0.434,
        0.479,
    )  # shares of the circle, from the left by the bottom
    for group, count in enumerate((2, 3, 4, 4, 4, 5, 5, 5)):
        angle = 180 - 180 * (ends[group] + ends[group + 1])
        width = 5.0 / (group + 1)
        for bar in range(count):
            yield Bar(angle, 47, (2 * bar - count + 1) * width, 8, width, ALUMINIUM, middle=30, depth=2)


def acr464() -> Phantom:
    """Return an ACR CT 464: inserts in water (module 1), low contrast (2), water (3), line pairs (4)."""
    inserts = {45: -1000, 225: -95, 135: 120, -45: 955, 180: 0}
    pairs = {-135: 0.4, 180: 0.5, 135: 0.6, 90: 0.7, 45: 0.8, 0: 0.9, -45: 1.0, -90: 1.2}
    beads = (Disk(-45, 20, 0.5, 1000), Disk(135, 80, 0.5, 1000))
    return Phantom(
        100,
        (
            Module(-20, 20, 0, tuple(Disk(angle, 63, 12.5, value) for angle, value in inserts.items())),
            Module(20, 50, 90, (Disk(-90, 60, 12.5, 96),)),
            Module(50, 85, 0, beads),
            Module(85, 120, 90, tuple(bar for angle, pair in pairs.items() for bar in acr_pairs(angle, pair))),
        ),
    )


def acr_pairs(angle: float, pair: float) -> Iterator[Bar]:
    """Yield the bars of one square of 15 mm with so many line pairs a mm."""
    count = int(15 * pair)
    for bar in range(count):
        yield Bar(angle, 70, (bar - (count - 1) / 2) / pair, 15, 0.5 / pair, ALUMINIUM)


#: By the name that ``--phantom`` has.
PHANTOMS = {"catphan504": catphan504, "acr": acr464}
