"""Find the environment in which pylinac is installed; needs only the standard library."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ".venv-qa"
HOW_TO_INSTALL = (
    "pylinac, which measures the phantom, is not installed here; it needs an environment of its own: say"
    " `make .venv-qa/.ready` in a clone, or `python -m venv qa` and `qa/bin/python -m pip install pylinac==3.49.0`"
    " anywhere, and name that by QA_PYTHON=/path/to/qa/bin/python."
)


def python(root: Path = ROOT) -> Path:
    """Return the Python of pylinac's environment: the one in `QA_PYTHON`, or else that of `.venv-qa`.

    Raises:
        FileNotFoundError: If there is none; the message tells how to install it.
    """
    scripts = ("Scripts", "python.exe") if sys.platform == "win32" else ("bin", "python")
    path = Path(os.environ.get("QA_PYTHON") or root.joinpath(FOLDER, *scripts))
    if not path.is_file():
        raise FileNotFoundError(HOW_TO_INSTALL)
    return path


def command(before: str, after: str, *options: str, root: Path = ROOT) -> Sequence[str]:
    """Return the command that compares two folders, to be run in the project's folder `root`.

    Args:
        before: folder with the DICOM series of a phantom.
        after: folder with its translation.
        options: further options, such as ``--phantom``, ``acr``; see ``python -m apps.qa --help``.
        root: the project's folder.

    Raises:
        FileNotFoundError: If the environment does not exist.
    """
    return (str(python(root)), "-m", "apps.qa", str(Path(before).resolve()), str(Path(after).resolve()), *options)
