"""What is measured of a phantom's series, without what measures it."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

PERCENT = (80, 50, 30, 10)  # of the MTF


@dataclass(frozen=True)
class Measured:
    """What was measured of a series.

    Args:
        inserts: HU of each insert, one number a slice.
        uniformity: HU of each region of the uniform module, one number a slice.
        noise: standard deviation in its middle, HU, one number a slice.
        frequency: of the noise power, cycles/mm.
        power: noise power, HU^2 mm^2, mean of the slices; pylinac has none of an ACR phantom.
        mtf: relative MTF, by line pairs per mm.
        resolution: line pairs per mm at which it falls to so many percent; None if it does not.
        thickness: of a slice by the wire ramps, mm; None if the phantom has none.
        picture: the slice with the inserts, `(rows, columns)` in HU.
    """

    inserts: dict[str, list[float]]
    uniformity: dict[str, list[float]]
    noise: list[float]
    frequency: list[float]
    power: list[float]
    mtf: dict[float, float]
    resolution: dict[int, float | None]
    thickness: float | None
    picture: np.ndarray = field(repr=False)
