"""Return freed memory to the system in a long run, so that the process does not grow (glibc's malloc)."""

from __future__ import annotations

import ctypes
from collections.abc import Iterable, Iterator
from functools import cache
from typing import TypeVar

Item = TypeVar("Item")

#: Parameters of glibc's `mallopt`.
TRIM_THRESHOLD, MMAP_THRESHOLD, ARENA_MAX = -1, -3, -8
#: Bytes from which a tensor gets its own pages, which go back to the system when it is freed.
LARGE = 4 * 2**20
#: Bytes that the heap keeps at its end when they are freed: without, the same pages are returned and requested again
#: for each small tensor.
KEPT = 64 * 2**20


def trim_malloc(items: Iterable[Item], every: int = 8) -> Iterator[Item]:
    """Yield the items of a long run while returning freed memory to the system (glibc).

    By default the C library keeps most freed memory, in one heap per thread, and adapts to keep even the largest
    tensors. The heap fragments more and more during a run. From the first call on, all threads of the process share one
    heap, and large tensors lie outside of it. The free part of the heap is returned after every ``every`` items; doing
    so after each item would cost a third of the time.
    """
    set_up_malloc()
    for number, item in enumerate(items, 1):
        yield item
        if number % every == 0:
            _call("malloc_trim", 0)


@cache
def set_up_malloc() -> None:
    """Keep large tensors out of the heap, and let all threads share one heap."""
    _call("mallopt", MMAP_THRESHOLD, LARGE)
    _call("mallopt", TRIM_THRESHOLD, KEPT)
    _call("mallopt", ARENA_MAX, 1)


def _call(name: str, *numbers: int) -> None:
    """Call a function of the C library, if it exists."""
    try:
        function = getattr(ctypes.CDLL(None), name)
    except (OSError, TypeError, AttributeError):
        return
    function(*numbers)
