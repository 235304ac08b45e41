"""A simulated CT scanner, and what is known of a real one from its noise.

`kernel`: transfer functions; `filters`: filters of bounded reach made of them; `noise`: noise by position;
`flat`: noise in flat soft tissue;
`acquisition`: one acquisition seen through several kernels; `matching`: a scan's kernel found and undone; `clipping`:
what the scanner cut off at -1024 HU, put back in the mean.
"""

from bundle.scanner.acquisition import HU_RANGE, acquire, reach
from bundle.scanner.clipping import FLOOR, unclipped
from bundle.scanner.filters import RADIUS
from bundle.scanner.flat import SIDE, TISSUE, mean_power, spread_slices
from bundle.scanner.kernel import NOISE_POWER, SHARP, SOFT, Kernel, frequencies, noise_power, ratio
from bundle.scanner.matching import find_kernel, matched, matched_window

__all__ = [
    "FLOOR",
    "HU_RANGE",
    "NOISE_POWER",
    "RADIUS",
    "SHARP",
    "SIDE",
    "SOFT",
    "TISSUE",
    "Kernel",
    "acquire",
    "find_kernel",
    "frequencies",
    "matched",
    "matched_window",
    "mean_power",
    "noise_power",
    "ratio",
    "reach",
    "spread_slices",
    "unclipped",
]
