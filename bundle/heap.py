"""Freed memory that the C library keeps, handed back to the system in the course of a long walk."""

from __future__ import annotations

import ctypes
from collections.abc import Iterable, Iterator
from functools import cache
from typing import Any, TypeVar

Item = TypeVar("Item")


def giving_back(items: Iterable[Item], every: int = 8) -> Iterator[Item]:
    """Yield the items of a long walk; after every so many, hand back to the system what is freed (`give_back`).

    A C library keeps most of it, in pieces that a larger tensor does not fit into: over hundreds of tiles a process
    grows by that, although it holds no more. After each tile it would cost a third of the time.
    """
    for number, item in enumerate(items, 1):
        yield item
        if number % every == 0:
            give_back()


def give_back() -> None:
    """Hand freed memory back to the system, where the C library can (glibc)."""
    if trim := _trim():
        trim(0)


@cache
def _trim() -> Any:
    """The C library's own function, or nothing."""
    try:
        return ctypes.CDLL(None).malloc_trim
    except (OSError, TypeError, AttributeError):
        return None
