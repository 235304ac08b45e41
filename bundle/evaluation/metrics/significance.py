"""Paired two-sided t-test of a method against ours."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence

import numpy as np
from scipy.stats import ttest_rel


def paired_p(ours: Sequence[float] | np.ndarray, other: Sequence[float] | np.ndarray) -> float:
    """Return the p value of a paired t-test; NaN for fewer than two pairs.

    It is 0 if all differences are the same, and 1 if all pairs are equal.
    """
    difference = np.asarray(ours, float) - np.asarray(other, float)
    if len(difference) < 2:
        return math.nan
    if np.ptp(difference) == 0:
        return float(difference[0] == 0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # SciPy warns if nearly all values are equal
        return float(ttest_rel(ours, other).pvalue)


def p_text(p: float) -> str:
    """Format a p value for a table."""
    return "-" if math.isnan(p) else "< 0.0001" if p < 1e-4 else f"{p:.2g}"
