"""A phantom for quality assurance: a cylinder of modules with disks, bars and wire ramps, analytic, in HU.

Coordinates as in an axial slice on the screen: x to the right, y down, in mm from the phantom's axis; angles in degrees
from x towards y; z to the head, 0 in the middle of the module with the inserts.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

#: HU of what surrounds a phantom, and of air inside of one.
AIR = -1000.0


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
