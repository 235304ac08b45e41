"""What is compared with what: `method` says what a method is; `filters` and `radial`, `tuning` of them; `cascades`."""

from bundle.evaluation.methods.cascades import CoarsestInferer, Ours, Patch, Small, Translation, Windowed, WindowInferer
from bundle.evaluation.methods.cost import Cost, alone, measured, peak_memory, timed
from bundle.evaluation.methods.filters import Gaussian, NonLocalMeans, SpectrumMatch
from bundle.evaluation.methods.method import Ceiling, Filtered, Method
from bundle.evaluation.methods.radial import RadialFilter, frequencies

__all__ = [
    "Ceiling",
    "CoarsestInferer",
    "Cost",
    "Filtered",
    "Gaussian",
    "Method",
    "NonLocalMeans",
    "Ours",
    "Patch",
    "RadialFilter",
    "Small",
    "SpectrumMatch",
    "Translation",
    "WindowInferer",
    "Windowed",
    "alone",
    "frequencies",
    "measured",
    "peak_memory",
    "timed",
]
