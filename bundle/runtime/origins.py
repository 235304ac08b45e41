"""Map files in a temporary folder to the archive they were unpacked from, for names, hashes and messages.

::

    results/.part_zip_1f/scan/SE1/IM7   --origin_of-->   scan.zip/SE1/IM7

An origin is known until the process ends, even after its folder is removed, as an error may be reported later.
"""

from __future__ import annotations

import os
from pathlib import Path

_archives: dict[Path, Path] = {}


def add_origin(folder: str | Path, archive: str | Path) -> None:
    """Record that the contents of a folder were unpacked from an archive."""
    _archives[absolute(folder)] = Path(archive)


def archive_of(path: str | Path) -> Path | None:
    """Return the archive that a file or folder was unpacked from; None if there is none."""
    return next((archive for folder, archive in _archives.items() if _inner(path, folder) is not None), None)


def origin_of(path: str | Path) -> Path:
    """Return the archive that a path was unpacked from, followed by its path inside; else the path itself."""
    for folder, archive in _archives.items():
        inner = _inner(path, folder)
        if inner is not None:
            return archive / inner
    return Path(path)


def in_words(text: str) -> str:
    """Return the text with each temporary folder replaced by the archive that was unpacked there."""
    for folder, archive in _archives.items():
        for place in {str(folder), str(folder.resolve())}:
            text = text.replace(place, str(archive))
    return text


def absolute(path: str | Path) -> Path:
    """Return the absolute path, without ``..``; symbolic links are not followed."""
    return Path(os.path.abspath(path))  # noqa: PTH100 - which would follow links


def _inner(path: str | Path, folder: Path) -> Path | None:
    """Return the path relative to a folder; None if it lies outside."""
    whole = absolute(path)
    return whole.relative_to(folder) if whole.is_relative_to(folder) else None
