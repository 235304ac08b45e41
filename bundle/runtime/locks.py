"""Locks between processes, of one machine or of several that share a disk.

A lock is a file beside what it stands for, and is gone when it is free. The system frees what a killed process held.
"""

from __future__ import annotations

import errno
import os
import socket
import sys
import weakref
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import ClassVar
from weakref import WeakValueDictionary

from bundle.runtime import system
from filelock import BaseFileLock, FileLock, SoftFileLock, Timeout

#: What a disk says that knows no locks, as some network disks: a file that is there stands for a lock then.
NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP)
#: What its name ends in, behind that of the lock.
HELD = ".held"
#: What the name of a lock ends in.
END = ".lock"
#: What the note of a holder begins with.
HOLDER = "process "


class LockedError(RuntimeError):
    """Another process holds a lock."""


@contextmanager
def locked(path: str | Path, wait: bool = False, task: str = "") -> Iterator[None]:
    """Hold the lock of a file or folder.

    Args:
        path: of what is locked; it need not exist, its folder is made if missing.
        wait: wait for another process that holds it, and say so in a line; false: raise.
        task: what the other process does, for the message.

    Raises:
        LockedError: If another process holds the lock.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    file = path.with_name(path.name + END)
    try:
        lock = _taken(file, 0)
    except Timeout:
        told = f"{task or repr(str(path))} is being worked on by {_holder(file)}"
        if not wait:
            raise LockedError(f"{told}; wait until it has ended, or end it.") from None
        print(f"waiting: {told}", file=sys.stderr, flush=True)
        lock = _taken(file, -1)
    try:
        _sign(file)
        yield
    finally:
        with suppress(OSError):  # Windows keeps a file that is open
            file.unlink()
        lock.release()
        if system.WINDOWS:
            with suppress(OSError):
                file.unlink(missing_ok=True)


class HeldLock:
    """A lock that is held until it is released, or at the latest until the process ends; arguments as of `locked`.

    A process works on one image at a time: one that takes a lock again has failed before, and the earlier is released.
    """

    _mine: ClassVar[WeakValueDictionary[Path, HeldLock]] = WeakValueDictionary()

    def __init__(self, path: str | Path, wait: bool = False, task: str = "") -> None:
        place = Path(path).resolve()
        if earlier := self._mine.get(place):
            earlier.release()
        stack = ExitStack()
        stack.enter_context(locked(path, wait, task))
        self._release = weakref.finalize(self, stack.close)
        self._mine[place] = self

    def release(self) -> None:
        """Release it; once more does nothing."""
        self._release()


def _taken(file: Path, timeout: float) -> BaseFileLock:
    """Take the lock of a file, from the system, or else by another file that is there as long as the lock is held.

    Args:
        file: of the lock.
        timeout: seconds to wait for it; -1 for as long as it takes.
    """
    lock: BaseFileLock = FileLock(file)
    try:
        lock.acquire(timeout, 0.2)
    except Timeout:
        raise
    except (OSError, NotImplementedError) as error:
        if isinstance(error, OSError) and error.errno not in NO_LOCKS:
            raise
        lock = SoftFileLock(file.with_name(file.name + HELD))
        lock.acquire(timeout, 0.2)
    return lock


def _sign(file: Path) -> None:
    """Note who holds a lock, unless the lock's own way of working is such a note."""
    with suppress(OSError, UnicodeDecodeError):
        before = file.read_text(encoding="utf-8")
        if not before or before.startswith(HOLDER):
            file.write_text(f"{HOLDER}{os.getpid()} on {socket.gethostname()}\n", encoding="utf-8")


def _holder(file: Path) -> str:
    with suppress(OSError, UnicodeDecodeError):
        told = " ".join(file.read_text(encoding="utf-8").split())
        if told:
            return told
    return "another process"
