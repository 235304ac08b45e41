"""Linux made as strict as Windows: a file that is open is neither removed nor renamed, and folders cannot be opened.

What is run under it fails where Windows would refuse: for what cannot be run on Windows itself. `install` is for a
process of its own, and for good.
"""

from __future__ import annotations

import errno
import fcntl
import os
import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

OWN = Path("/proc/self")


def held(place: str) -> list[str]:
    """The files at or below a path that this process has open or mapped into its memory."""
    found = []
    for handle in os.listdir(OWN / "fd"):
        try:
            found.append(os.readlink(OWN / "fd" / handle))
        except OSError:  # that of the list itself
            continue
    for line in (OWN / "maps").read_text(errors="replace").splitlines():
        found.append(line.split(maxsplit=5)[-1])
    return [name for name in found if name == place or name.startswith(place + os.sep)]


def absolute(path: Any, folder: int | None) -> str:
    """Where a path of a system call leads; its last part is not followed."""
    base = os.getcwd() if folder is None else os.readlink(OWN / "fd" / str(folder))
    text = os.path.join(base, os.fsdecode(path))
    return os.path.join(os.path.realpath(os.path.dirname(text)), os.path.basename(text))


def install() -> None:
    """From now on, let this process be refused what Windows refuses."""
    from bundle.runtime import system

    system.WINDOWS = True
    real: dict[str, Callable[..., Any]] = {name: getattr(os, name) for name in ("unlink", "rename", "replace", "open", "fsync")}

    def refuse(path: str) -> None:
        if os.path.isfile(path) or os.path.isdir(path):
            inside = [name for name in held(path) if name != path or os.path.isfile(path)]
            if inside:
                raise PermissionError(errno.EACCES, "open elsewhere, as Windows says", inside[0])

    def unlink(path: Any, *, dir_fd: int | None = None) -> None:
        refuse(absolute(path, dir_fd))
        real["unlink"](path, dir_fd=dir_fd)

    def move(name: str) -> Callable[..., None]:
        def moved(source: Any, target: Any, *, src_dir_fd: int | None = None, dst_dir_fd: int | None = None) -> None:
            refuse(absolute(source, src_dir_fd))
            refuse(absolute(target, dst_dir_fd))
            if name == "rename" and os.path.lexists(target):
                raise FileExistsError(errno.EEXIST, "exists, as Windows says", os.fspath(target))
            real[name](source, target, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)

        return moved

    def opened(path: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        caller = sys._getframe(1).f_globals.get("__name__", "")
        if os.path.isdir(path) and caller.startswith("bundle."):
            raise PermissionError(errno.EACCES, "a folder, as Windows says", os.fspath(path))
        return real["open"](path, flags, mode, dir_fd=dir_fd)

    def fsync(handle: int) -> None:
        if fcntl.fcntl(handle, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
            raise OSError(errno.EBADF, "open for reading alone, as Windows says")
        real["fsync"](handle)

    os.unlink, os.remove, os.rename, os.replace = unlink, unlink, move("rename"), move("replace")  # type: ignore[assignment]
    os.open, os.fsync = opened, fsync  # type: ignore[assignment]


if __name__ == "__main__":
    install()
    sys.argv.pop(0)
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
