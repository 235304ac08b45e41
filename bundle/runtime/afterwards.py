"""Postpone tasks until all images are done, so that no image has to wait for them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

_waiting: list[Callable[[], object]] | None = None


def afterwards(task: Callable[[], object]) -> None:
    """Run a task when all images are done, or immediately outside of `all_images`.

    Args:
        task: the task; reports its own failures (`bundle.runtime.fault`).
    """
    if _waiting is None:
        task()
    else:
        _waiting.append(task)


@contextmanager
def all_images() -> Iterator[None]:
    """Collect the tasks of `afterwards` and run them in order when the block ends, unless it was interrupted."""
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
