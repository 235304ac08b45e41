"""Read the next item and write the previous one while an item is computed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

Item = TypeVar("Item")


def prefetch(
    items: Iterable[Item],
    read: Callable[[Item], Any],
    compute: Callable[[Item, Any], Any],
    write: Callable[[Item, Any], None],
    threads: bool = True,
) -> Iterator[Item]:
    """Read, compute and write all items in order; yield each item once it is computed.

    Besides the current item, at most one item that was read and one that is being written are held. Errors of both
    threads are raised here, and no thread is left running.

    Args:
        items: the items; each is requested one item ahead.
        read: called in its own thread, so it must not rely on state of the caller's (autograd and autocast are per
            thread).
        compute: called in the caller's thread, with the item and what was read.
        write: called in its own thread, with the item and what was computed.
        threads: if False, everything is done in turn in the caller's thread.
    """
    if not threads:
        for item in items:
            write(item, compute(item, read(item)))
            yield item
        return
    with ThreadPoolExecutor(1, "read") as reader, ThreadPoolExecutor(1, "write") as writer:
        ahead = ((item, reader.submit(read, item)) for item in items)
        current, writing = next(ahead, None), None
        while current:
            following = next(ahead, None)
            item, reading = current
            result = compute(item, reading.result())
            if writing:
                writing.result()
            writing = writer.submit(write, item, result)
            yield item
            current = following
        if writing:
            writing.result()
