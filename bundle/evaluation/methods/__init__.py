"""Methods to compare.

- `method`: the interface; `cost`: running time and peak memory of a method;
- `cascades`: our cascade and the paper's baselines; `filters`, `radial`, `bands`: baselines without a network;
  `tuning`: tune a baseline's parameter.
"""

from bundle.evaluation.methods.bands import BandEnergies, reference_energies
from bundle.evaluation.methods.cascades import CoarsestInferer, Ours, Patch, Small, Translation, Windowed, WindowInferer
from bundle.evaluation.methods.cost import Cost, alone, measured, peak_memory, timed
from bundle.evaluation.methods.filters import FixedGaussian, Gaussian, NonLocalMeans, SpectrumMatch
from bundle.evaluation.methods.method import Ceiling, Filtered, Method, OnGrid
from bundle.evaluation.methods.radial import RadialFilter

__all__ = [
    "BandEnergies",
    "Ceiling",
    "CoarsestInferer",
    "Cost",
    "Filtered",
    "FixedGaussian",
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
    "reference_energies",
    "timed",
]
