"""Work that goes on at the same time: the next is read, and the last written, while one is computed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

Item = TypeVar("Item")


def overlapped(
    items: Iterable[Item],
    read: Callable[[Item], Any],
    compute: Callable[[Item, Any], Any],
    write: Callable[[Item, Any], None],
    at_once: bool = True,
) -> Iterator[Item]:
    """Do all items in their order, each read, computed and written; yield it when it is computed.

    One item more is held that was read, and one that is being written. What either raises is raised here, and nothing
    is left running.

    Args:
        items: asked for one ahead.
        read: in a thread of its own, so it must not need the caller's (autograd and autocast are per thread).
        compute: in the caller's thread, from the item and what was read.
        write: in a thread of its own, from the item and what was computed.
        at_once: false does one after the other, all in the caller's thread.
    """
    if not at_once:
        for item in items:
            write(item, compute(item, read(item)))
            yield item
        return
    with ThreadPoolExecutor(1, "read") as reader, ThreadPoolExecutor(1, "write") as writer:
        coming = ((item, reader.submit(read, item)) for item in items)
        now, going = next(coming, None), None
        while now:
            after = next(coming, None)
            item, given = now
            made = compute(item, given.result())
            if going:
                going.result()
            going = writer.submit(write, item, made)
            yield item
            now = after
        if going:
            going.result()
