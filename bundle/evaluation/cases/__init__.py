"""Prepare the pairs to evaluate.

`pairs`: real pairs; `simulated`: pairs simulated from one CT; `find`: find the pairs for a config.
"""

from bundle.evaluation.cases.find import find_cases, tuning_cases
from bundle.evaluation.cases.pairs import Case, Pair, RealCase, central, check_names
from bundle.evaluation.cases.simulated import Acquisition, SimulatedCase

__all__ = [
    "Acquisition",
    "Case",
    "Pair",
    "RealCase",
    "SimulatedCase",
    "central",
    "check_names",
    "find_cases",
    "tuning_cases",
]
