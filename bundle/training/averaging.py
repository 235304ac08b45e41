"""Average the weights over the training steps; the average translates better than the weights of any single step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch.optim.swa_utils import get_ema_multi_avg_fn


def warm_average(momentum: float) -> Callable[[Any, Any, Any], None]:
    """Return an exponential moving average for torch's `AveragedModel` that forgets the untrained initial weights.

    After n steps the newest weights count 9 / (10 + n), but never less than the momentum. With the momentum alone, a
    third of the average would still be untrained weights after 1 / momentum steps.

    Args:
        momentum: share of the newest weights in the average once the warm-up is over.

    Raises:
        ValueError: If ``momentum`` is not above 0 and at most 1.
    """
    if not 0 < momentum <= 1:
        raise ValueError(f"momentum {momentum} of the average must be above 0 and at most 1; 1 averages nothing.")

    def update(averaged: Any, current: Any, number: Any) -> None:
        get_ema_multi_avg_fn(1 - max(momentum, 9 / (10 + int(number))))(averaged, current, number)

    return update
