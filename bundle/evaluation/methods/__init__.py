"""The methods to compare.

- `method`: the interface; `cost`: seconds and memory of one;
- `cascades`: ours, and the paper's baselines; `filters`, `radial`: baselines without a network, with their `tuning`.
"""

from bundle.evaluation.methods.cascades import CoarsestInferer, Ours, Patch, Small, Translation, Windowed, WindowInferer
from bundle.evaluation.methods.cost import Cost, alone, measured, peak_memory, timed
from bundle.evaluation.methods.filters import Gaussian, NonLocalMeans, SpectrumMatch
from bundle.evaluation.methods.method import Ceiling, Filtered, Method, OnGrid
from bundle.evaluation.methods.radial import RadialFilter

__all__ = [
    "Ceiling",
    "CoarsestInferer",
    "Cost",
    "Filtered",
    "Gaussian",
    "Method",
    "NonLocalMeans",
    "OnGrid",
    "Ours",
    "Patch",
    "RadialFilter",
    "Small",
    "SpectrumMatch",
    "Translation",
    "WindowInferer",
    "Windowed",
    "alone",
    "measured",
    "peak_memory",
    "timed",
]
