"""Differences between operating systems (Windows, macOS, Linux), as constants that a test can change."""

from __future__ import annotations

import os
import sys
import time
import unicodedata
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

Result = TypeVar("Result")

#: Windows can neither remove nor rename an open file, and does not open folders.
WINDOWS = os.name == "nt"
#: Characters that Windows forbids in names; after a colon, a name would denote a hidden stream of another file.
FORBIDDEN = '<>:"|?*'
#: Seconds to wait before each retry: a virus scanner opens every new file for a moment.
PAUSES = (0.02, 0.1, 0.3)


def patiently(action: Callable[[], Result]) -> Result:
    """Call a function that renames or removes a file; on Windows, retry if another program has the file open."""
    for pause in PAUSES if WINDOWS else ():
        try:
            return action()
        except PermissionError:
            time.sleep(pause)
    return action()


def ignores_case(path: str | Path) -> bool:
    """Return whether names are case-insensitive on the disk of a path, which need not exist.

    Nothing is written: an existing entry is looked up under its name with the case swapped. If there is none to look
    up, the default of the operating system is returned.
    """
    place = Path(path).absolute()
    while not place.exists():
        place = place.parent
    disk = place.stat().st_dev
    for folder in (place, *place.parents):
        if folder.stat().st_dev != disk:
            break
        with suppress(OSError):  # a folder that may be entered but not listed
            names = {entry.name for entry in folder.iterdir()}
            for name in names:
                other = name.swapcase()
                if name.isascii() and other not in names:
                    return (folder / other).exists()
    return WINDOWS or sys.platform == "darwin"


def name_key(path: str | Path, case: bool) -> str:
    """Return a key that is equal for two paths that name the same file.

    Args:
        path: an absolute path.
        case: whether names are case-sensitive; if not, Unicode normalisation forms are not distinguished either.
    """
    return str(path) if case else unicodedata.normalize("NFC", str(path)).casefold()


def print_any_name() -> None:
    """From now on, escape characters that stdout and stderr cannot encode, instead of raising."""
    for stream in (sys.stdout, sys.stderr):
        if getattr(stream, "errors", None) == "strict" and hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
