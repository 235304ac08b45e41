"""Seconds and peak memory of a method, each in a fresh process, so that none inherits what another has left."""

from __future__ import annotations

import math
import resource
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from time import perf_counter
from typing import Any, TypeVar

import torch
from bundle.evaluation.methods.method import Method

T = TypeVar("T")


@dataclass(frozen=True)
class Cost:
    """What a translation took, from file to file.

    Args:
        seconds: by the clock, without starting Python and building networks.
        gibibytes: most resident memory of the whole process, Python and its libraries counted; NaN where not known.
    """

    seconds: float
    gibibytes: float


def measured(method: Method, source: Path, destination: Path, fresh: bool = True) -> Cost:
    """Run a method on a file.

    Args:
        method: what to run.
        source: image to translate.
        destination: where the result goes.
        fresh: in a process of its own, with as many threads as this one; otherwise here, memory not measured.
    """
    if not fresh:
        return Cost(timed(method, source, destination), math.nan)
    return alone(_cost, method, source, destination)


def alone(function: Callable[..., T], *arguments: Any) -> T:
    """Call a function in a fresh process, with as many threads as this one, and return what it returns.

    Args:
        function: at the top level of a module, so that the process finds it.
        arguments: what pickle can carry over.
    """
    with ProcessPoolExecutor(
        1, mp_context=get_context("spawn"), initializer=torch.set_num_threads, initargs=(torch.get_num_threads(),)
    ) as pool:
        return pool.submit(function, *arguments).result()


def timed(method: Method, source: Path, destination: Path) -> float:
    """Run a method on a file and return the seconds."""
    work = method.job(source, destination)
    start = perf_counter()
    work()
    return perf_counter() - start


def peak_memory() -> int:
    """The most bytes of memory that this process has held."""
    status = Path("/proc/self/status")
    if status.exists():  # what getrusage says of a started process may be that of the one that started it
        lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
        if "VmHWM" in lines:
            return int(lines["VmHWM"].split()[0]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _cost(method: Method, source: Path, destination: Path) -> Cost:
    seconds = timed(method, source, destination)
    return Cost(seconds, peak_memory() / 2**30)
