"""Hashes that tell whether files have changed."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

from bundle.runtime.origins import archive_of, origin_of


def file_hash(path: str | Path) -> str:
    """Return the SHA-256 of a file, such as a checkpoint."""
    digest = hashlib.sha256()
    with Path(path).open("rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()


def fingerprint(path: str | Path, files: Sequence[Path] = ()) -> str:
    """Return a hash that changes with a file or folder: of its path, and of size and mtime of its files or its archive.

    Args:
        path: file or folder; both may have been unpacked from an archive.
        files: its files; none for the path itself.
    """
    archive = archive_of(path)
    stamps = map(stamp, [archive] if archive else sorted(files) or [Path(path)])
    told = [(os.path.relpath(name, archive or path), size, changed) for name, size, changed in stamps]
    return hashlib.sha256(repr((str(origin_of(path).resolve()), told)).encode(errors="surrogateescape")).hexdigest()


def stamp(path: str | Path) -> tuple[str, int, int]:
    """Return a file's path, size in bytes and mtime, to detect changes; for a broken link, those of the link itself."""
    path = Path(path)
    stat = path.stat() if path.exists() else path.lstat()
    return str(path), stat.st_size, stat.st_mtime_ns
