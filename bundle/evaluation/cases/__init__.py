"""The pairs to compare.

`pairs`: real ones, on disk; `simulated`: simulated from one CT; `find`: those that a config asks for.
"""

from bundle.evaluation.cases.find import find_cases, tuning_cases
from bundle.evaluation.cases.pairs import Case, Pair, RealCase, central
from bundle.evaluation.cases.simulated import Acquisition, SimulatedCase

__all__ = ["Acquisition", "Case", "Pair", "RealCase", "SimulatedCase", "central", "find_cases", "tuning_cases"]
