"""Measurements of a phantom's series, as a class that does not need pylinac."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

PERCENT = (80, 50, 30, 10)  # levels of the MTF


@dataclass(frozen=True)
class Measured:
    """Measurements of a series.

    Args:
        inserts: HU of each insert, one value per slice.
        uniformity: HU of each region of the uniform module, one value per slice.
        noise: standard deviation in HU in the middle of the uniform module, one value per slice.
        frequency: frequencies of the noise power in cycles/mm.
        power: noise power in HU^2 mm^2, mean over the slices; pylinac does not measure it in the ACR phantom.
        mtf: relative MTF, by line pairs per mm.
        resolution: line pairs per mm at which the MTF falls to each level in percent; None if it does not.
        thickness: slice thickness in mm from the wire ramps; None if the phantom has none.
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
