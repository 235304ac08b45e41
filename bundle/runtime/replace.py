"""Give what was written its name; a folder that has it already changes places with it in one step, where that can be.

::

    results/.part_k3x9/scan  <-- exchanged -->  results/scan

Linux exchanges two names at once. Elsewhere, and on disks that cannot, an earlier folder steps aside by a first rename,
and the new one comes by a second; `put_back` makes good what a process that was killed between the two has left.
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

#: What the name of an earlier folder begins with that has stepped aside.
ASIDE = ".aside_"
#: Of Linux: names are relative to the working folder; exchange them.
AT_FDCWD, RENAME_EXCHANGE = -100, 2
#: What the system says where a disk, or the system itself, cannot exchange names.
CANNOT = (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EPERM)


def replace(part: Path, path: Path) -> None:
    """Move a file or folder to its place; what was there before goes only when that has worked.

    Args:
        part: what is moved; in place of an earlier folder, that may lie there afterwards.
        path: its place, on the same disk.

    Raises:
        FileExistsError: If a folder is there in place of a file, or a file in place of a folder.
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
    """Where an earlier folder lies while the new one takes its place."""
    return path.with_name(f"{ASIDE}{hashlib.sha256(os.fsencode(path.name)).hexdigest()[:12]}")


def put_back(path: Path) -> None:
    """Give an earlier folder its name again if nothing has taken its place; else remove it.

    To be called by one process at a time.
    """
    if not aside(path).is_dir():
        return
    if path.exists():
        shutil.rmtree(aside(path), ignore_errors=True)
    else:
        aside(path).rename(path)


def exchange(one: Path, other: Path) -> bool:
    """Exchange the names of two files or folders in one step, which is seen whole or not at all.

    Returns:
        False if system or disk cannot; nothing is changed then.

    Raises:
        OSError: If it fails for another reason.
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
    """The system's call, of Linux since 3.15 by a C library since glibc 2.28 or musl 1.2.5; or nothing."""
    if not sys.platform.startswith("linux"):
        return None
    call = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if call is not None:
        call.argtypes = [ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint]
    return call
