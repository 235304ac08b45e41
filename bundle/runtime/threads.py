"""Threads: some items at once, or none beside the caller's."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

import torch

Item = TypeVar("Item")
Result = TypeVar("Result")


def side_by_side(
    items: Iterable[Item], read: Callable[[Item], Any], compute: Callable[[Any], Result], threads: int
) -> Iterator[Result]:
    """Compute what is read of each item in threads, and yield the results in the items' order.

    Args:
        items: each is requested when there is room for it.
        read: called in the caller's thread.
        compute: called in any thread.
        threads: how many items are held at most; 1 computes in the caller's thread.
    """
    if threads < 2:
        yield from (compute(read(item)) for item in items)
        return
    with ThreadPoolExecutor(threads, "compute") as pool:
        held: deque[Future[Result]] = deque()
        for item in items:
            held.append(pool.submit(compute, read(item)))
            if len(held) == threads:
                yield held.popleft().result()
        while held:
            yield held.popleft().result()


@contextmanager
def one_thread() -> Iterator[int]:
    """Keep PyTorch from sharing out small arrays, for which threads take longer than the work; give how many it had.

    On a machine whose cores are busy each waits for the other: `exp` of 5000 numbers took 4 ms in place of 20 us.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield before
    finally:
        torch.set_num_threads(before)
