"""Files and folders: atomic ones, which appear under their name only when they are whole; space, hashes.

::

    results/.part_k3x9/scan.nii   --flush, read back-->   results/scan.nii
"""

from __future__ import annotations

import errno
import hashlib
import os
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
from bundle.runtime.origins import archive_of, origin_of
from bundle.runtime.replace import replace

#: What the names of temporary folders begin with.
PART = ".part_"
#: What the system calls a full disk.
FULL = {
    errno.ENOSPC: "disk full",
    errno.EDQUOT: "disk quota used up",
    errno.EFBIG: "file larger than allowed (see 'ulimit -f')",
}

#: What a disk says that cannot flush a folder, as some network disks cannot.
UNFLUSHED = (errno.EINVAL, errno.ENOTSUP, errno.EACCES)


#: Called with what was written whole, before it gets its name.
_sealing: ContextVar[Callable[[Path], object] | None] = ContextVar("_sealing", default=None)
#: Whether nothing is to be written, see `trying`.
_trying: ContextVar[bool] = ContextVar("_trying", default=False)


class NotWrittenError(OSError):
    """A file or folder could not be written whole, and nothing of it is left."""


@contextmanager
def sealing(seal: Callable[[Path], object]) -> Iterator[None]:
    """Call a function with the next file or folder that `atomic` writes, before that gets its name.

    Args:
        seal: is given its temporary path; an error leaves what was there before.
    """
    token = _sealing.set(seal)
    try:
        yield
    finally:
        _sealing.reset(token)


@contextmanager
def trying() -> Iterator[None]:
    """Let `atomic` begin in the system's temporary folder, with room for all: to learn what is refused at the start.

    Nothing is written where the path says, nor removed there; what is written to the end gets no name.
    """
    token = _trying.set(True)
    try:
        yield
    finally:
        _trying.reset(token)


@contextmanager
def atomic(path: str | Path, needed: int = 0, verify: Callable[[Path], object] | None = None) -> Iterator[Path]:
    """Write a file or folder, which appears under its name only when it is whole.

    Args:
        path: of the file or folder; its parent is made if missing, and an earlier file or folder there is replaced.
        needed: bytes that it takes at least; 0 if not known.
        verify: is given the written file or folder before it gets its name; raises `OSError` if it is not whole.

    Yields:
        The path to write to, of the same name in a temporary folder beside ``path``, on the same disk.

    Raises:
        NotWrittenError: If the disk has less than the needed bytes free, before anything is written; or if the system
            refuses to write, to flush or to move it. Nothing is left then, and what was there before stays.
        FileExistsError: If a folder is there in place of the file, or a file in place of the folder.
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
    """Make a temporary folder in another, which is locked while it is in use and removed afterwards.

    Args:
        folder: made if missing.
        kind: what its name begins with besides.
    """
    holder = folder / f"{PART}{kind}{secrets.token_hex(4)}"
    with locked(holder):
        holder.mkdir(mode=0o700)
        try:
            yield holder
        finally:
            remove_folder(holder)


def remove_abandoned(folder: str | Path, kept: Callable[[Path], bool] = lambda _: False) -> None:
    """Remove the temporary folders that killed processes have left in a folder; those in use stay.

    Args:
        folder: nothing happens if it does not exist.
        kept: whether a temporary folder has to stay.
    """
    for entry in Path(folder).glob(f"{PART}*"):
        left = entry.with_name(entry.name.removesuffix(END))
        if entry.is_symlink() or kept(left) or (entry == left and not entry.is_dir()):
            continue
        with suppress(LockedError, OSError), locked(left):
            shutil.rmtree(left, ignore_errors=True)


def check_space(path: str | Path, needed: int) -> None:
    """Refuse what the disk has no room for.

    Args:
        path: of the file or folder that is to be written; it need not exist.
        needed: bytes that it takes at least.

    Raises:
        NotWrittenError: If less is free.
    """
    if needed > free_space(path):
        raise not_written(path, OSError(errno.ENOSPC, ""), needed, True)


def free_space(path: str | Path) -> int:
    """Bytes that are free on the disk of a path, which need not exist."""
    place = Path(path).absolute()
    while not place.exists():
        place = place.parent
    return shutil.disk_usage(place).free


def not_written(path: str | Path, error: Exception, needed: int = 0, full: bool = False) -> NotWrittenError:
    """The error of a file that could not be written: cause, file, what it needs, what is free, and the way out."""
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
    """Say in one line if the disk of a path is full, while something is written there bit by bit.

    Raises:
        NotWrittenError: If it is.
    """
    try:
        yield
    except OSError as error:
        if not isinstance(error, NotWrittenError) and _is_full(error):
            raise not_written(path, error, needed, True) from error
        raise


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files in a folder; 0 if there is none."""
    if path.is_dir():
        return sum(size_of(entry) for entry in path.iterdir())
    return path.stat().st_size if path.exists() else 0


def file_hash(path: str | Path) -> str:
    """The SHA-256 of a file, such as of weights."""
    digest = hashlib.sha256()
    with Path(path).open("rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()


def fingerprint(path: str | Path) -> str:
    """What changes when an image does: its place, and size and time of change of its files, or of its archive."""
    place, path = origin_of(path).resolve(), archive_of(path) or Path(path)
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    told = [f"{file.name} {file.stat().st_size} {file.stat().st_mtime_ns}" for file in files]
    return hashlib.sha256("\n".join([str(place), *told]).encode()).hexdigest()


def _code(error: BaseException | None) -> int | None:
    """The system's number of an error, or of what it was made from: pydicom's have none."""
    while isinstance(error, (OSError, RuntimeError)):
        if isinstance(error, OSError) and error.errno is not None:
            return error.errno
        error = error.__cause__
    return None


def remove_folder(folder: Path) -> None:
    """Remove a folder as far as the system lets us: the threads of a library (zarr) may still be writing into it."""
    stores = any(entry.is_dir() for entry in folder.glob("*"))
    shutil.rmtree(folder, ignore_errors=True)
    for pause in system.PAUSES:
        if not stores and not folder.exists():
            break
        time.sleep(pause)
        shutil.rmtree(folder, ignore_errors=True)


def _is_full(error: BaseException) -> bool:
    return _code(error) in FULL


def _flush(path: Path) -> None:
    """Have the system write a file, or a folder and all in it, to the disk, which tells if that fails."""
    if path.is_dir():
        for entry in path.iterdir():
            _flush(entry)
    _sync(path)


def _sync(path: Path) -> None:
    """Flush a file; a folder where the system and its disk can. Windows flushes what is open for writing alone."""
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


def stamp(path: str | Path) -> tuple[str, int, int]:
    """Return a file's path, size in bytes and time of change: another if it changes; of a link to nothing, its own."""
    path = Path(path)
    stat = path.stat() if path.exists() else path.lstat()
    return str(path), stat.st_size, stat.st_mtime_ns
