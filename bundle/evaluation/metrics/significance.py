"""The paired two-sided t-test of a method against ours."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence

import numpy as np
from scipy.stats import ttest_rel


def paired_p(ours: Sequence[float] | np.ndarray, other: Sequence[float] | np.ndarray) -> float:
    """The probability that values that belong together differ by chance; NaN for fewer than two of them.

    Where all differ by the same, it is 0, or 1 where they do not differ.
    """
    difference = np.asarray(ours, float) - np.asarray(other, float)
    if len(difference) < 2:
        return math.nan
    if np.ptp(difference) == 0:
        return float(difference[0] == 0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # scipy's, where nearly all values are the same
        return float(ttest_rel(ours, other).pvalue)


def p_text(p: float) -> str:
    """A probability as a table shows it."""
    return "-" if math.isnan(p) else "< 0.0001" if p < 1e-4 else f"{p:.2g}"
