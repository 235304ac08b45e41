"""The C library's heap in a long run: freed memory goes back to the system, so that the process does not grow."""

from __future__ import annotations

import ctypes
from collections.abc import Iterable, Iterator
from functools import cache
from typing import TypeVar

Item = TypeVar("Item")

#: Parameters of glibc's `mallopt`.
MMAP_THRESHOLD, ARENA_MAX = -3, -8
#: Bytes from which a tensor lies in pages of its own, which go back to the system when it is freed.
LARGE = 4 * 2**20


def trim_malloc(items: Iterable[Item], every: int = 8) -> Iterator[Item]:
    """Yield the items of a long run while freed memory goes back to the system (glibc).

    By default the C library keeps most of it, in one heap per thread, and learns to keep even the largest tensors: in
    pieces that others do not fit into, more of them the longer the run. Here, and from then on in the whole process,
    threads share one heap, and large tensors lie outside of it. After every so many items the free part of the heap is
    returned; doing so after each would cost a third of the time.
    """
    set_up()
    for number, item in enumerate(items, 1):
        yield item
        if number % every == 0:
            _call("malloc_trim", 0)


@cache
def set_up() -> None:
    """Keep large tensors out of the heap, and let all threads share one."""
    _call("mallopt", MMAP_THRESHOLD, LARGE)
    _call("mallopt", ARENA_MAX, 1)


def _call(name: str, *numbers: int) -> None:
    """Call a function of the C library, if it has it."""
    try:
        function = getattr(ctypes.CDLL(None), name)
    except (OSError, TypeError, AttributeError):
        return
    function(*numbers)
