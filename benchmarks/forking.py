"""Run work in a forked child, so that the process itself can still be forked."""

from __future__ import annotations

import multiprocessing
from typing import Any


def forked(function: Any, *arguments: Any) -> None:
    """Call a function in a child process, because a process that has used ITK or threads cannot be forked.

    Raises:
        RuntimeError: If the function fails.
    """
    process = multiprocessing.get_context("fork").Process(target=function, args=arguments)
    process.start()
    process.join()
    if process.exitcode:
        raise RuntimeError(f"{function.__name__} failed with status {process.exitcode}")
