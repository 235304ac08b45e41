"""Origins: what files in a temporary folder were taken out of, so that they keep their names, hashes and words.

::

    results/.part_zip_1f/scan/SE1/IM7   --origin_of-->   scan.zip/SE1/IM7

An origin is known until the process ends, also when its folder is gone: an error may be told afterwards.
"""

from __future__ import annotations

import os
from pathlib import Path

_archives: dict[Path, Path] = {}


def add_origin(folder: str | Path, archive: str | Path) -> None:
    """Note that what lies in a folder was taken out of an archive."""
    _archives[absolute(folder)] = Path(archive)


def archive_of(path: str | Path) -> Path | None:
    """Return the archive that a file or folder was taken out of; nothing if it was not."""
    return next((archive for folder, archive in _archives.items() if _inner(path, folder) is not None), None)


def origin_of(path: str | Path) -> Path:
    """Return the archive that a path was taken out of, with its place in there; the path itself if it was not."""
    for folder, archive in _archives.items():
        inner = _inner(path, folder)
        if inner is not None:
            return archive / inner
    return Path(path)


def in_words(text: str) -> str:
    """Return a text that names archives in place of the folders that they were unpacked to."""
    for folder, archive in _archives.items():
        for place in {str(folder), str(folder.resolve())}:
            text = text.replace(place, str(archive))
    return text


def absolute(path: str | Path) -> Path:
    """Return a path from the root on, without ``..``; links in it are not followed."""
    return Path(os.path.abspath(path))  # noqa: PTH100 - which would follow them


def _inner(path: str | Path, folder: Path) -> Path | None:
    """The place of a path in a folder."""
    whole = absolute(path)
    return whole.relative_to(folder) if whole.is_relative_to(folder) else None
