"""The running average of a training's weights, which translates better than any of its steps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch.optim.swa_utils import get_ema_multi_avg_fn


def warm_average(momentum: float) -> Callable[[Any, Any, Any], None]:
    """What torch's `AveragedModel` takes: an exponential average that forgets its untrained start.

    After n steps the newest weights count for 9 / (10 + n), and never for less than the momentum. With the momentum
    alone, a training from scratch would be a third untrained after as many steps as the average is long.

    Args:
        momentum: share of the newest weights, once warm.

    Raises:
        ValueError: where it is not above 0 and at most 1.
    """
    if not 0 < momentum <= 1:
        raise ValueError(f"ema_momentum {momentum} must be above 0 and at most 1; 1 averages nothing.")

    def update(averaged: Any, current: Any, number: Any) -> None:
        get_ema_multi_avg_fn(1 - max(momentum, 9 / (10 + int(number))))(averaged, current, number)

    return update
