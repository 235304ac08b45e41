"""Write files and folders atomically, so that they get their name only when complete; check disk space.

::

    results/.part_k3x9/scan.nii   --flush, read back-->   results/scan.nii
"""

from __future__ import annotations

import errno
import os
import re
import secrets
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path

from bundle.runtime import system
from bundle.runtime.locks import END, LockedError, locked
from bundle.runtime.replace import replace

#: Prefix of the names of temporary folders.
PART = ".part_"
#: Names of temporary folders and locks: they end in a random number, or in the hash of a job or of a result's name.
OURS = re.compile(rf"{re.escape(PART)}(.*_)?([0-9a-f]{{8}}|[0-9a-f]{{12}})({re.escape(END)})?", re.DOTALL)
#: Names of the temporary folders of `atomic`.
HOLDER = re.compile(rf"{re.escape(PART)}[0-9a-f]{{8}}")
#: Error codes of a full disk, and what they mean.
FULL = {
    errno.ENOSPC: "disk full",
    errno.EDQUOT: "disk quota used up",
    errno.EFBIG: "file larger than allowed (see 'ulimit -f')",
}

#: Error codes of a disk that cannot flush a folder, as with some network disks.
UNFLUSHED = (errno.EINVAL, errno.ENOTSUP, errno.EACCES)


#: Called with the complete file or folder before it gets its name.
_sealing: ContextVar[Callable[[Path], object] | None] = ContextVar("_sealing", default=None)
#: Whether to write nothing to the given paths, see `trying`.
_trying: ContextVar[bool] = ContextVar("_trying", default=False)


class NotWrittenError(OSError):
    """A file or folder could not be written completely; nothing of it is left."""


class EnoughError(Exception):
    """Raised to leave `atomic` or `temporary_folder` on purpose, before any thread writes."""


@contextmanager
def sealing(seal: Callable[[Path], object]) -> Iterator[None]:
    """Call a function with the next file or folder that `atomic` writes, before it gets its name.

    Args:
        seal: called with the temporary path; if it raises, what was there before stays.
    """
    token = _sealing.set(seal)
    try:
        yield
    finally:
        _sealing.reset(token)


@contextmanager
def trying() -> Iterator[None]:
    """Make `atomic` write to the system's temporary folder, without space checks, to test what would be refused.

    Nothing is written to or removed from the given path, and what was written is discarded.
    """
    token = _trying.set(True)
    try:
        yield
    finally:
        _trying.reset(token)


@contextmanager
def atomic(path: str | Path, needed: int = 0, verify: Callable[[Path], object] | None = None) -> Iterator[Path]:
    """Write a file or folder that appears under its name only when it is complete.

    What killed processes have left of such writing in the same folder is removed.

    Args:
        path: path of the file or folder. Its parent is created if missing; an existing file or folder is replaced.
        needed: bytes that it takes at least; 0 if unknown.
        verify: called with the written file or folder before it gets its name; raises `OSError` if it is incomplete.

    Yields:
        The path to write to: the same name in a temporary folder next to ``path``, on the same disk.

    Raises:
        NotWrittenError: If the disk has less free space than needed, before anything is written; or if it cannot be
            written, flushed or moved. Nothing of it is left then, and what was there before stays.
        FileExistsError: If there is a folder at the path of a file, or a file at the path of a folder.
    """
    path = Path(path)
    if _trying.get():
        with tempfile.TemporaryDirectory(prefix=PART) as folder:
            yield Path(folder) / path.name
        return
    check_space(path, needed)
    full, seal = False, _sealing.get()
    token = _sealing.set(None)
    try:
        remove_abandoned(path.parent, lambda left: not HOLDER.fullmatch(left.name))
        with temporary_folder(path.parent) as holder:
            part = holder / path.name
            try:
                yield part
                _flush(part)
                if verify:
                    verify(part)
                if seal:
                    seal(part)
                replace(part, path)
                if os.name == "posix":
                    _sync(path.parent)
            except (OSError, RuntimeError) as error:
                full = _is_full(error) or needed - size_of(part) > shutil.disk_usage(holder).free
                raise
    except NotWrittenError:
        raise
    except (OSError, RuntimeError) as error:
        if full or _code(error) is not None:
            raise not_written(path, error, needed, full or _is_full(error)) from error
        raise
    finally:
        _sealing.reset(token)


@contextmanager
def temporary_folder(folder: Path, kind: str = "") -> Iterator[Path]:
    """Create a temporary folder inside a folder; it is locked while in use and removed afterwards.

    Args:
        folder: the parent folder; created if missing.
        kind: additional prefix of the temporary folder's name.
    """
    holder = folder / f"{PART}{kind}{secrets.token_hex(4)}"
    with locked(holder):
        holder.mkdir(mode=0o700)
        interrupted = True
        try:
            yield holder
            interrupted = False
        except EnoughError:
            interrupted = False
            raise
        finally:
            remove_folder(holder, interrupted)


def remove_abandoned(folder: str | Path, kept: Callable[[Path], bool] = lambda _: False) -> None:
    """Remove the temporary folders that killed processes have left in a folder; those in use stay.

    Args:
        folder: the folder to clean; it need not exist.
        kept: returns whether a temporary folder must stay.
    """
    for entry in Path(folder).glob(f"{PART}*"):
        if not OURS.fullmatch(entry.name):
            continue
        left = entry.with_name(entry.name.removesuffix(END))
        if entry.is_symlink() or kept(left) or (entry == left and not entry.is_dir()):
            continue
        with suppress(LockedError, OSError), locked(left):
            shutil.rmtree(left, ignore_errors=True)


def check_space(path: str | Path, needed: int) -> None:
    """Check that the disk has enough free space.

    Args:
        path: path of the file or folder to be written; it need not exist.
        needed: bytes that it takes at least.

    Raises:
        NotWrittenError: If less space is free.
    """
    if needed > free_space(path):
        raise not_written(path, OSError(errno.ENOSPC, ""), needed, True)


def free_space(path: str | Path) -> int:
    """Return the free bytes on the disk of a path, which need not exist."""
    place = Path(path).absolute()
    while not place.exists():
        place = place.parent
    return shutil.disk_usage(place).free


def not_written(path: str | Path, error: Exception, needed: int = 0, full: bool = False) -> NotWrittenError:
    """Return the error for a file that could not be written: cause, file, needed and free space, and what to do."""
    code = _code(error)
    if full:
        needs = f"needs at least {needed} bytes, and " if needed else "needs more; "
        cause = FULL.get(code or 0, FULL[errno.ENOSPC])
        text = f"{cause}: {str(path)!r} {needs}{free_space(path)} bytes are free on its disk. Free some space"
    else:
        why = " ".join(str(error).split())
        text = f"not written: {str(path)!r}: {why}. Check the disk and the permissions of its folder"
    told = NotWrittenError(f"{text}, or take another output_dir.")
    told.errno = code
    return told


@contextmanager
def telling_space(path: str | Path, needed: int = 0) -> Iterator[None]:
    """Turn the error of a full disk into a one-line message, while something is written to a path bit by bit.

    Raises:
        NotWrittenError: If the disk is full.
    """
    try:
        yield
    except OSError as error:
        if not isinstance(error, NotWrittenError) and _is_full(error):
            raise not_written(path, error, needed, True) from error
        raise


def size_of(path: Path) -> int:
    """Return the bytes of a file, or of all files in a folder; 0 if the path does not exist."""
    with suppress(FileNotFoundError):  # another process may be removing it
        return sum(map(size_of, path.iterdir())) if path.is_dir() else path.stat().st_size
    return 0


def _code(error: BaseException | None) -> int | None:
    """Return the system's code of an error or of one of its causes, as pydicom's errors have none; None if unknown."""
    while isinstance(error, (OSError, RuntimeError)):
        if isinstance(error, OSError) and error.errno is not None:
            return error.errno
        error = error.__cause__
    return None


def remove_folder(folder: Path, interrupted: bool = False) -> None:
    """Remove a folder as far as possible.

    Args:
        folder: the folder.
        interrupted: whether an exception ended the work on it, so that a library's threads (zarr) may still be writing.
    """
    awaited = interrupted and any(entry.is_dir() for entry in folder.glob("*"))
    shutil.rmtree(folder, ignore_errors=True)
    for pause in system.PAUSES:
        if not awaited and not folder.exists():
            break
        time.sleep(pause)
        shutil.rmtree(folder, ignore_errors=True)


def _is_full(error: BaseException) -> bool:
    return _code(error) in FULL


def _flush(path: Path) -> None:
    """Flush a file, or a folder with its contents, to the disk, so that a failure to write is noticed."""
    if path.is_dir():
        for entry in path.iterdir():
            _flush(entry)
    _sync(path)


def _sync(path: Path) -> None:
    """Flush a file, or a folder if system and disk can. Windows only flushes what is open for writing."""
    folder = path.is_dir()
    if folder and system.WINDOWS:
        return
    handle = os.open(path, os.O_RDWR if system.WINDOWS else os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if not folder or error.errno not in UNFLUSHED:
            raise
    finally:
        os.close(handle)
