"""What is compared: pairs of images on disk, real (`pairs`) or simulated of one CT (`simulated`), found by `find`."""

from bundle.evaluation.cases.find import find_cases, tuning_cases
from bundle.evaluation.cases.pairs import Case, Pair, RealCase, central
from bundle.evaluation.cases.simulated import Acquisition, SimulatedCase

__all__ = ["Acquisition", "Case", "Pair", "RealCase", "SimulatedCase", "central", "find_cases", "tuning_cases"]
