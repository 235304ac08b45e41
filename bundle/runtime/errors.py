"""End a failed run with one line that states the cause; the traceback goes to a file, or is printed on request."""

from __future__ import annotations

import re
import sys
import tempfile
import traceback
from contextlib import suppress
from types import TracebackType
from typing import Any

from bundle.runtime.origins import in_words
from bundle.runtime.ranks import EndedError, tell_launcher
from bundle.runtime.system import print_any_name

#: Beginnings of the errors in which MONAI wraps the error of a transform, an expression or a component.
WRAPPERS = ("applying transform ", "Failed to evaluate ", "Failed to instantiate ")


def cause_of(error: BaseException) -> BaseException:
    """Return the error inside MONAI's wrappers, or the error itself if it is not wrapped.

    If an expression of a config is itself wrong, such as one that names nothing, this is an error that names its key.
    """
    while isinstance(error, RuntimeError) and str(error).startswith(WRAPPERS) and error.__cause__:
        error = error.__cause__
    return _of_expression(error) or error


def last_line(error: BaseException) -> str:
    """Return the cause of an error in one line."""
    cause = cause_of(error)
    return f"error: {in_words(' '.join(str(cause).split())) or type(cause).__name__}"


def end_in_one_line() -> None:
    """From now on, end a failed run with one line that states the cause; the exit status remains 1.

    The traceback goes to a file in the temporary folder, whose path is printed. If MONAI's environment variable
    ``MONAI_DEBUG`` is set, it is printed instead. Names are printed even if the terminal lacks some of their letters.
    """
    print_any_name()
    before = sys.excepthook

    def report_error(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        from monai.utils import MONAIEnvVars  # a process that only decodes an image starts without MONAI

        if not isinstance(error, Exception) or MONAIEnvVars.debug():
            before(kind, error, trace)
        elif path := _logged(kind, error, trace):
            print(f"traceback: {path}", file=sys.stderr)
        if isinstance(error, Exception):
            print(last_line(error), file=sys.stderr, flush=True)
            if not isinstance(cause_of(error), EndedError):
                with suppress(OSError):
                    tell_launcher(last_line(error))

    if not getattr(before, "_ends_in_one_line", False):
        report_error._ends_in_one_line = True  # type: ignore[attr-defined]
        sys.excepthook = report_error


def _of_expression(error: BaseException) -> ValueError | None:
    """Return an error that names the expression that is wrong; None if something that an expression calls raised it."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    if not frames or not (isinstance(error, SyntaxError) or frames[-1].f_code.co_filename == "<string>"):
        return None
    evaluating = (frame.f_locals.get("self") for frame in reversed(frames) if frame.f_code.co_name == "evaluate")
    item: Any = next((one for one in evaluating if type(one).__name__ == "ConfigExpression"), None)  # MONAI's
    if item is None:
        return None
    text = re.sub(r"__local_refs\['(.+?)'\]", r"@\1", item.get_config())  # as MONAI writes references
    key, text = (each.replace("::", "#") for each in (item.get_id(), text))
    return ValueError(
        f"{key} {text!r} is an expression, as it begins with $, and cannot be evaluated: {error}; correct it, or the "
        "keys in it, or begin a text with another sign."
    )


def _logged(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> str:
    """Write a traceback to a new file; return its path, or an empty string if it cannot be written."""
    try:
        with tempfile.NamedTemporaryFile(
            "w", prefix="traceback_", suffix=".txt", delete=False, encoding="utf-8"
        ) as file:
            file.writelines(traceback.format_exception(kind, error, trace))
            return file.name
    except OSError:
        return ""
