"""Tune one free parameter on pairs: find the value with the highest mean SSIM."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from bundle.evaluation.cases import Pair
from bundle.evaluation.methods.method import Filter, Filtered
from bundle.evaluation.metrics import compare
from bundle.images import Volume
from scipy.optimize import minimize_scalar

PRECISION = 0.05  # tolerance of the logarithm; the value is found within about 5 percent


def best_value(make: Callable[[float], Filter], bounds: tuple[float, float], pairs: Sequence[Pair]) -> float:
    """Return the value within bounds for which a filter's mean SSIM over the pairs is highest.

    Args:
        make: function that returns the filter for a value.
        bounds: smallest and largest value, positive; searched on a logarithmic scale.
        pairs: pairs of source and target, equally weighted.
    """

    def loss(logarithm: float) -> float:
        candidate = make(math.exp(logarithm))
        scores = []
        for pair in pairs:
            source = Volume(pair.source)
            scores.append(compare(Filtered(source, candidate.settled(source)), Volume(pair.target)).mean("ssim"))
        return -float(np.mean(scores))

    low, high = map(math.log, bounds)
    best = minimize_scalar(loss, bounds=(low, high), method="bounded", options={"xatol": PRECISION})
    return float(f"{math.exp(best.x):.3g}")
