"""Simulate a CT scanner, and estimate, convert and undo the reconstruction kernels of real scans.

- `kernel`: parametric transfer functions; `filters`: filters of bounded reach for them;
- `acquisition`: simulates one acquisition with several kernels; `projections`: object-dependent noise for it;
- `transfer`: measured transfer functions; `kernels`: a catalogue of them and its file format;
- `edge_spread`: profiles across a scan's skin; `skin`: what they show besides the kernel; `flat`: noise in flat soft
  tissue; `finding`: the kernel that fits all; `gains`: the gain that turns one kernel into another;
- `conversion`: applies a calibrated conversion between kernels; `calibration`: fits it to a pair of scans;
  `uncertainty`: estimates how uncertain a conversion is;
- `matching`: undoes a scan's kernel; `clipping`: restores, in the mean, values clipped at -1024 HU; `padding`: finds
  and fills what lies outside a round field of view; `squares`: finds what else a scan is filled up with.
"""

from bundle.scanner.acquisition import HU_RANGE, acquire, acquisition_margin
from bundle.scanner.calibration import Calibration, calibrate, calibrated
from bundle.scanner.clipping import FLOOR, unclipped
from bundle.scanner.conversion import Conversion, converted
from bundle.scanner.edge_spread import EdgeSpread, crossed_slices, edge_spread, filled_body, largest_part
from bundle.scanner.filters import RADIUS
from bundle.scanner.finding import FoundTransfer, find_kernel, find_transfer, fitted_kernel, found_transfer
from bundle.scanner.flat import (
    FILTER_RANGE,
    SIDE,
    FlatNoise,
    Slices,
    flat_noise,
    mean_power,
    searched_slices,
    spread_slices,
    tissue_patches,
)
from bundle.scanner.kernel import NOISE_POWER, SHARP, SOFT, Kernel, frequencies, noise_power, ratio
from bundle.scanner.matching import matched, matched_window
from bundle.scanner.projections import Beam, projection_noise
from bundle.scanner.transfer import Transfer, TransferFunction

__all__ = [
    "FILTER_RANGE",
    "FLOOR",
    "HU_RANGE",
    "NOISE_POWER",
    "RADIUS",
    "SHARP",
    "SIDE",
    "SOFT",
    "Beam",
    "Calibration",
    "Conversion",
    "EdgeSpread",
    "FlatNoise",
    "FoundTransfer",
    "Kernel",
    "Slices",
    "Transfer",
    "TransferFunction",
    "acquire",
    "acquisition_margin",
    "calibrate",
    "calibrated",
    "converted",
    "crossed_slices",
    "edge_spread",
    "filled_body",
    "find_kernel",
    "find_transfer",
    "fitted_kernel",
    "flat_noise",
    "found_transfer",
    "frequencies",
    "largest_part",
    "matched",
    "matched_window",
    "mean_power",
    "noise_power",
    "projection_noise",
    "ratio",
    "searched_slices",
    "spread_slices",
    "tissue_patches",
    "unclipped",
]
