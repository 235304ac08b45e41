"""One last line: the cause of an error that ends a run, below what Python and MONAI print of where it happened."""

from __future__ import annotations

import sys
from types import TracebackType

#: What MONAI puts around the error of a transform, an expression, a component.
WRAPPERS = ("applying transform ", "Failed to evaluate ", "Failed to instantiate ")


def cause_of(error: BaseException) -> BaseException:
    """The error that MONAI has put others around, or the error itself."""
    while isinstance(error, RuntimeError) and str(error).startswith(WRAPPERS) and error.__cause__:
        error = error.__cause__
    return error


def last_line(error: BaseException) -> str:
    """The cause of an error in one line."""
    cause = cause_of(error)
    return f"error: {' '.join(str(cause).split()) or type(cause).__name__}"


def end_in_one_line() -> None:
    """From now on, let the last line of a run that fails tell the cause; the exit status is 1 as before."""
    before = sys.excepthook

    def told(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        before(kind, error, trace)
        if isinstance(error, Exception):
            print(last_line(error), file=sys.stderr, flush=True)

    if not getattr(before, "_ends_in_one_line", False):
        told._ends_in_one_line = True  # type: ignore[attr-defined]
        sys.excepthook = told
