"""Check once more, where the stock app passes a request to a config, that no value of it would be evaluated.

The allow-lists of `rules` already refuse such values. This check still holds if a list has a gap.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from apps.label.values import EVALUATED, show

#: Keys that make `ConfigParser` build an object from a mapping.
BUILT = ("_target_", "_requires_", "_disabled_", "_mode_")


class EvaluatedError(ValueError):
    """A value that a config would evaluate."""


def check_evaluated(value: Any, name: str = "request") -> None:
    """Check a request recursively.

    Raises:
        EvaluatedError: If a text in it starts with ``$``, ``@`` or ``%``, or a mapping has a key such as ``_target_``.
    """
    if isinstance(value, dict):
        for key, entry in value.items():
            if str(key).startswith((*EVALUATED, *BUILT)):
                raise EvaluatedError(f"{name} has the key {show(key)}, which a config would evaluate; leave it out.")
            check_evaluated(entry, str(key))
    elif isinstance(value, (list, tuple)):
        for entry in value:
            check_evaluated(entry, name)
    elif isinstance(value, str) and value.lstrip().startswith(EVALUATED):
        raise EvaluatedError(
            f"{name} {show(value)} starts with $, @ or %, which a config would evaluate; leave it out."
        )


def checking(function: Callable[..., Any], argument: int) -> Callable[..., Any]:
    """Wrap a function of the stock app so that it checks its request first.

    Args:
        function: function of the app.
        argument: position of the request among its arguments.
    """

    @wraps(function)
    def checked(*args: Any, **kwargs: Any) -> Any:
        check_evaluated(args[argument : argument + 1])
        check_evaluated(kwargs)
        return function(*args, **kwargs)

    return checked
