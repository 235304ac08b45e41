"""Linux made as strict as Windows: a file that is open is neither removed nor renamed, and folders cannot be opened.

What is run under it fails where Windows would refuse: for what cannot be run on Windows itself. As a program it runs a
module so: ``python -m tests.like_windows monai.bundle run ...``.
"""

from __future__ import annotations

import errno
import os
import runpy
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

OWN = Path("/proc/self")


def held(place: Path) -> list[Path]:
    """The files at or below a path that this process has open or mapped into its memory."""
    found = []
    for handle in (OWN / "fd").iterdir():
        with suppress(OSError):  # that of the list itself
            found.append(handle.readlink())
    for line in (OWN / "maps").read_text(encoding="utf-8", errors="replace").splitlines():
        found.append(Path(line.split(maxsplit=5)[-1]))
    return [path for path in found if path.is_file() and path.is_relative_to(place)]


def absolute(path: Any, folder: int | None) -> Path:
    """Where a path of a system call leads; its last part is not followed."""
    whole = (Path.cwd() if folder is None else (OWN / "fd" / str(folder)).readlink()) / os.fsdecode(path)
    return whole.parent.resolve() / whole.name


def install(put: Callable[[Any, str, Any], object] = setattr) -> None:
    """From now on, let this process be refused what Windows refuses.

    Args:
        put: sets a name of a module, for good or, as pytest's does, for a while.
    """
    import fcntl

    from bundle.runtime import system

    names = ("unlink", "rename", "replace", "open", "fsync")
    real: dict[str, Callable[..., Any]] = {name: getattr(os, name) for name in names}

    def refuse(path: Path) -> None:
        if inside := held(path):
            raise PermissionError(errno.EACCES, "open elsewhere, as Windows says", str(inside[0]))

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
        if dir_fd is None and Path(path).is_dir() and caller.startswith("bundle."):
            raise PermissionError(errno.EACCES, "a folder, as Windows says", os.fspath(path))
        return real["open"](path, flags, mode, dir_fd=dir_fd)

    def fsync(handle: int) -> None:
        if fcntl.fcntl(handle, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
            raise OSError(errno.EBADF, "open for reading alone, as Windows says")
        real["fsync"](handle)

    put(system, "WINDOWS", True)
    for name, function in {"unlink": unlink, "remove": unlink, "open": opened, "fsync": fsync}.items():
        put(os, name, function)
    for name in ("rename", "replace"):
        put(os, name, move(name))


if __name__ == "__main__":
    install()
    sys.argv.pop(0)
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
