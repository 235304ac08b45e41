"""Where systems differ: what Windows and macOS do otherwise than Linux, in switches that a test can turn."""

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

#: Windows neither removes nor renames a file that is open, and does not open folders.
WINDOWS = os.name == "nt"
#: What Windows allows in no name; what follows a colon would become a hidden part of another file.
FORBIDDEN = '<>:"|?*'
#: Seconds after which what failed is tried again: a scanner for viruses opens each new file for a moment.
PAUSES = (0.02, 0.1, 0.3)


def patiently(action: Callable[[], Result]) -> Result:
    """Call what renames or removes a file; on Windows again after a pause, if another program has the file open."""
    for pause in PAUSES if WINDOWS else ():
        try:
            return action()
        except PermissionError:
            time.sleep(pause)
    return action()


def ignores_case(path: str | Path) -> bool:
    """Return whether capital and small letters are the same in names on the disk of a path, which need not exist.

    Nothing is written: something on the disk is looked for under its name with capitals and small letters exchanged.
    On a disk that holds nothing yet, they are the same where systems commonly have it so.
    """
    place = Path(path).absolute()
    while not place.exists():
        place = place.parent
    disk = place.stat().st_dev
    for folder in (place, *place.parents):
        if folder.stat().st_dev != disk:
            break
        with suppress(OSError):  # a folder that may be entered, and not listed
            names = {entry.name for entry in folder.iterdir()}
            for name in names:
                other = name.swapcase()
                if name.isascii() and other not in names:
                    return (folder / other).exists()
    return WINDOWS or sys.platform == "darwin"


def name_key(path: str | Path, case: bool) -> str:
    """Return what two paths have in common that name one file.

    Args:
        path: absolute.
        case: whether capital and small letters differ; where they do not, neither do the ways to write an accent.
    """
    return str(path) if case else unicodedata.normalize("NFC", str(path)).casefold()


def print_any_name() -> None:
    """From now on, print what the terminal or the file behind stdout has no letter for as a code, as stderr does."""
    for stream in (sys.stdout, sys.stderr):
        if getattr(stream, "errors", None) == "strict" and hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
