"""Measure running time and peak memory of methods, each in a fresh process, so that memory is not shared."""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from time import perf_counter
from typing import Any, TypeVar

import torch
from bundle.evaluation.methods.method import Method
from bundle.runtime import host_memory

T = TypeVar("T")


@dataclass(frozen=True)
class Cost:
    """Cost of a translation, from file to file.

    Args:
        seconds: wall time, without starting Python and building networks.
        gibibytes: peak resident memory of the whole process, including Python and its libraries; NaN if not known.
    """

    seconds: float
    gibibytes: float


def measured(method: Method, source: Path, destination: Path, fresh: bool = True) -> Cost:
    """Run a method on a file and return its cost.

    Args:
        method: the method to run.
        source: image to translate.
        destination: path of the result.
        fresh: run in a fresh process with as many threads as this one; otherwise in this process, without measuring
            memory.
    """
    if not fresh:
        return Cost(timed(method, source, destination), math.nan)
    return alone(_cost, method, source, destination)


def alone(function: Callable[..., T], *arguments: Any) -> T:
    """Call a function in a fresh process, with as many threads as this one, and return what it returns.

    Args:
        function: function at the top level of a module, so that the process can import it.
        arguments: its arguments, which must be picklable.
    """
    with ProcessPoolExecutor(
        1, mp_context=get_context("spawn"), initializer=torch.set_num_threads, initargs=(torch.get_num_threads(),)
    ) as pool:
        return pool.submit(function, *arguments).result()


def timed(method: Method, source: Path, destination: Path) -> float:
    """Run a method on a file and return the wall time in seconds."""
    work = method.job(source, destination)
    start = perf_counter()
    work()
    return perf_counter() - start


def peak_memory() -> float:
    """Return the peak memory of this process in bytes; NaN if the system does not provide it."""
    return float(host_memory.peak_memory() or math.nan)


def _cost(method: Method, source: Path, destination: Path) -> Cost:
    seconds = timed(method, source, destination)
    return Cost(seconds, peak_memory() / 2**30)
