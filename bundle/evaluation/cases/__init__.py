"""Prepare the pairs to evaluate.

`pairs`: real pairs; `simulated`: pairs simulated from one CT; `find`: find the pairs for a config; `one_acquisition`:
check two scans for a calibration.
"""

from bundle.evaluation.cases.find import find_cases, tuning_cases
from bundle.evaluation.cases.one_acquisition import check_one_acquisition
from bundle.evaluation.cases.pairs import Case, Pair, RealCase, central, check_names, pair_in
from bundle.evaluation.cases.simulated import Acquisition, SimulatedCase

__all__ = [
    "Acquisition",
    "Case",
    "Pair",
    "RealCase",
    "SimulatedCase",
    "central",
    "check_names",
    "check_one_acquisition",
    "find_cases",
    "pair_in",
    "tuning_cases",
]
