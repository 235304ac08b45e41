"""One free parameter set to its best value on pairs: that of the highest mean SSIM."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from bundle.evaluation.cases import Pair
from bundle.evaluation.methods.method import Filter, Filtered
from bundle.evaluation.metrics import compare
from bundle.images import Volume
from scipy.optimize import minimize_scalar

PRECISION = 0.05  # of the logarithm: the value is found within about 5 percent


def best_value(make: Callable[[float], Filter], bounds: tuple[float, float], pairs: Sequence[Pair]) -> float:
    """The parameter within bounds with which a filter's mean SSIM over the pairs is highest.

    Args:
        make: a filter of the value.
        bounds: least and largest value, positive; searched on a logarithmic scale.
        pairs: each counts the same.
    """

    def loss(logarithm: float) -> float:
        used = make(math.exp(logarithm))
        found = []
        for pair in pairs:
            source = Volume(pair.source)
            found.append(compare(Filtered(source, used.settled(source)), Volume(pair.target)).mean("ssim"))
        return -float(np.mean(found))

    low, high = map(math.log, bounds)
    best = minimize_scalar(loss, bounds=(low, high), method="bounded", options={"xatol": PRECISION})
    return float(f"{math.exp(best.x):.3g}")
