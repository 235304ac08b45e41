"""Move a file or folder to its final name; an existing folder is exchanged with it in one step, where possible.

::

    results/.part_k3x9/scan  <-- exchanged -->  results/scan

Linux can exchange two names atomically. Elsewhere, and on disks that cannot, a first rename moves the existing folder
aside and a second one moves the new folder to its place; `put_back` repairs the state if a process was killed between.
"""

from __future__ import annotations

import ctypes
import errno
import hashlib
import os
import shutil
import sys
from functools import cache
from pathlib import Path
from typing import Any

from bundle.runtime import system

#: Prefix of the name of an earlier folder that was moved aside.
ASIDE = ".aside_"
#: Linux constants: names are relative to the working directory; exchange them.
AT_FDCWD, RENAME_EXCHANGE = -100, 2
#: Error codes if the disk or the system cannot exchange names.
CANNOT = (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EPERM)


def replace(part: Path, path: Path) -> None:
    """Move a file or folder to its place; what was there before is kept unless the move succeeds.

    Args:
        part: the file or folder to move; afterwards, an earlier folder may lie here.
        path: the new place, on the same disk.

    Raises:
        FileExistsError: If there is a folder at the place of a file, or a file at the place of a folder.
    """
    if path.exists() and path.is_dir() != part.is_dir():
        kind = "folder" if path.is_dir() else "file"
        raise FileExistsError(f"{str(path)!r} is a {kind}; move it away, or take another output_dir.")
    if not path.is_dir():
        system.patiently(lambda: part.replace(path))
    elif not exchange(part, path):
        put_back(path)
        before = system.patiently(lambda: path.rename(aside(path)))
        try:
            system.patiently(lambda: part.rename(path))
        except OSError:
            system.patiently(lambda: before.rename(path))
            raise
        system.patiently(lambda: before.rename(part))


def aside(path: Path) -> Path:
    """Return where an earlier folder lies while the new one takes its place."""
    return path.with_name(f"{ASIDE}{hashlib.sha256(os.fsencode(path.name)).hexdigest()[:12]}")


def put_back(path: Path) -> None:
    """Move an earlier folder back to its place if nothing has taken it; otherwise remove it.

    Must be called by one process at a time.
    """
    if not aside(path).is_dir():
        return
    if path.exists():
        shutil.rmtree(aside(path), ignore_errors=True)
    else:
        aside(path).rename(path)


def exchange(one: Path, other: Path) -> bool:
    """Exchange the names of two files or folders atomically.

    Returns:
        False if the system or the disk cannot; nothing has changed then.

    Raises:
        OSError: If the exchange fails for another reason.
    """
    call = None if system.WINDOWS else _renameat2()
    if call is None:
        return False
    if call(AT_FDCWD, os.fsencode(one), AT_FDCWD, os.fsencode(other), RENAME_EXCHANGE) == 0:
        return True
    code = ctypes.get_errno()
    if code in CANNOT:
        return False
    raise OSError(code, os.strerror(code), str(one), None, str(other))


@cache
def _renameat2() -> Any:
    """Return the system call, which needs Linux 3.15 and glibc 2.28 or musl 1.2.5; None if there is none."""
    if not sys.platform.startswith("linux"):
        return None
    call = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if call is not None:
        call.argtypes = [ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint]
    return call
