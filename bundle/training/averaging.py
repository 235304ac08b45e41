"""The running average of a training's weights, which translates better than any of its steps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch.optim.swa_utils import get_ema_multi_avg_fn


def warm_average(momentum: float) -> Callable[[Any, Any, Any], None]:
    """An exponential average for torch's `AveragedModel` that forgets its untrained start.

    After n steps the newest weights have a weight of 9 / (10 + n), and never less than the momentum. With the momentum
    alone, a third of the average would still be untrained after as many steps as it is long.

    Args:
        momentum: weight of the newest weights after the first steps.

    Raises:
        ValueError: If it is not above 0 and at most 1.
    """
    if not 0 < momentum <= 1:
        raise ValueError(f"momentum {momentum} of the average must be above 0 and at most 1; 1 averages nothing.")

    def update(averaged: Any, current: Any, number: Any) -> None:
        get_ema_multi_avg_fn(1 - max(momentum, 9 / (10 + int(number))))(averaged, current, number)

    return update
