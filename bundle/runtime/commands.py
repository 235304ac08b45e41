"""Run functions from the command line by python-fire, after all options are known to fit.

python-fire calls a function first, and refuses the options that it did not take afterwards: a misspelt option would end
with an error, and leave what was written with the default.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any

import fire
from bundle.runtime.errors import end_in_one_line
from fire.core import FireExit


def run_command(component: Callable[..., Any] | Mapping[str, Callable[..., Any]]) -> None:
    """Run a function with the arguments of the command line; an error ends in one line.

    Args:
        component: the function, or several by name.

    Raises:
        SystemExit: With status 2 and nothing called, if an argument does not fit.
    """
    end_in_one_line()
    called: list[bool] = []

    def idle(function: Callable[..., Any]) -> Callable[..., None]:
        """Return a function of the same arguments that does nothing."""

        @wraps(function)
        def called_only(*_: Any, **__: Any) -> None:
            called.append(True)

        return called_only

    whole: Any = dict(component) if isinstance(component, Mapping) else component
    trial = {name: idle(each) for name, each in whole.items()} if isinstance(whole, dict) else idle(whole)
    try:
        fire.Fire(trial)
    except FireExit as error:
        if error.code:
            cause = error.trace.elements[-1].ErrorAsStr()
            print(f"error: {cause}; --help lists the arguments.", file=sys.stderr, flush=True)
        raise
    if called:
        fire.Fire(whole)
