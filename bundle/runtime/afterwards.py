"""What is done when all images are done, so that it keeps none of them waiting."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

_waiting: list[Callable[[], object]] | None = None


def afterwards(task: Callable[[], object]) -> None:
    """Do something when all images are done; at once, if nobody waits for that (`all_images`).

    Args:
        task: it tells of its own failures (`bundle.runtime.fault`).
    """
    if _waiting is None:
        task()
    else:
        _waiting.append(task)


@contextmanager
def all_images() -> Iterator[None]:
    """Keep what is to be done afterwards until the block ends, and do it then, in order; not if it is interrupted."""
    global _waiting
    tasks: list[Callable[[], object]] = []
    _waiting = tasks
    try:
        yield
    except (KeyboardInterrupt, SystemExit):
        tasks.clear()
        raise
    finally:
        _waiting = None
        for task in tasks:
            task()
