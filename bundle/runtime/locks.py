"""Locks between processes on one machine, or on several machines that share a disk.

A lock is a file next to what it protects, and is removed on release. The system releases the locks of killed processes.
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

#: Error codes of disks without locks, such as some network disks: there, the existence of a file is the lock.
NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP)
#: Suffix of that file's name, after that of the lock.
HELD = ".held"
#: Suffix of the names of locks.
END = ".lock"
#: Beginning of the note that names the holder of a lock.
HOLDER = "process "


class LockedError(RuntimeError):
    """Another process holds a lock."""


@contextmanager
def locked(path: str | Path, wait: bool = False, task: str = "") -> Iterator[None]:
    """Hold the lock of a file or folder.

    Args:
        path: path of the file or folder to lock; it need not exist, and its parent is created if missing.
        wait: whether to print a line and wait if another process holds the lock, instead of raising.
        task: what the other process is doing, for the message.

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
        with suppress(OSError):  # Windows cannot remove an open file
            file.unlink()
        lock.release()
        if system.WINDOWS:
            with suppress(OSError):
                file.unlink(missing_ok=True)


class HeldLock:
    """A lock that is held until it is released or the process ends; takes the same arguments as `locked`.

    A process works on one image at a time. If it takes the same lock again, its earlier attempt failed, so the earlier
    lock is released.
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
        """Release the lock; releasing again does nothing."""
        self._release()


def _taken(file: Path, timeout: float) -> BaseFileLock:
    """Take a lock from the system or, if the disk has no locks, by another file that exists while the lock is held.

    Args:
        file: the file of the lock.
        timeout: seconds to wait for the lock; -1 waits without limit.
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
    """Write to a lock's file who holds it, unless the file already has content of another kind."""
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
