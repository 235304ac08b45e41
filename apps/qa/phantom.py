"""An analytic phantom for quality assurance, in HU: a cylinder of modules with disks, bars and wire ramps.

Coordinates are those of an axial slice on the screen: x to the right, y down, in mm from the phantom's axis; angles in
degrees from x towards y; z towards the head, 0 in the middle of the module with the inserts.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

#: HU of the air around and inside a phantom.
AIR = -1000.0


@dataclass(frozen=True)
class Disk:
    """A cylinder along z: position in degrees and mm, radius in mm, HU."""

    angle: float
    distance: float
    radius: float
    value: float

    def reach(self) -> float:
        """Return the largest distance of any part from its position, in mm."""
        return self.radius

    def share(self, u: np.ndarray, v: np.ndarray, z: float, thickness: float, pixel: float) -> np.ndarray:
        """Return the filled fraction of each pixel; `u` and `v` are offsets in mm, outwards and across."""
        del z, thickness
        return np.clip((self.radius - np.hypot(u, v)) / pixel + 0.5, 0, 1)


@dataclass(frozen=True)
class Bar:
    """A box: position in degrees and mm, offset across, size outwards and across in mm, HU; ``depth`` mm along z.

    The box is centred at z = ``middle``. A ``slope`` other than 0 makes it a ramp, which moves across by ``slope`` mm
    per mm of z and is longer by its movement within a slice.
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
        """Return the largest distance of any part from its position in mm; for a ramp, that at the module's end."""
        return abs(self.offset) + math.hypot(self.outwards, self.across) / 2 + (40.0 if self.slope else 0.0)

    def share(self, u: np.ndarray, v: np.ndarray, z: float, thickness: float, pixel: float) -> np.ndarray:
        """Return the filled fraction of each pixel in a slice at `z`; see `Disk.share`."""
        top, bottom = z + thickness / 2, z - thickness / 2
        inside = min(top, self.middle + self.depth / 2) - max(bottom, self.middle - self.depth / 2)
        length = self.across + abs(self.slope) * thickness
        fill = self.across / length  # a thin wire fills only its own thickness of the slice
        at = self.offset + self.slope * (z - self.middle)
        radial = np.clip((self.outwards / 2 - np.abs(u)) / pixel + 0.5, 0, 1)
        tangential = np.clip((length / 2 - np.abs(v - at)) / pixel + 0.5, 0, 1)
        return radial * tangential * fill * max(inside, 0.0) / thickness


@dataclass(frozen=True)
class Module:
    """A part of a phantom from ``start`` to ``stop`` mm along z, with HU ``value`` and its contents."""

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
        """Return a slice in HU, `(rows, columns)` float64, centred on the phantom's axis.

        Args:
            z: position of its middle in mm.
            thickness: slice thickness in mm; a slice shows only the module in which its middle lies.
            size: number of pixels per side.
            pixel: pixel size in mm.
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
