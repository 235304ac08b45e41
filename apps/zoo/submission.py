"""An unpacked submission, the argument of all checks, and the error that a failed check raises."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any


class CheckFailed(ValueError):  # noqa: N818 - the result of a check
    """The zoo would not accept this; the message gives name, value, rule and remedy in one sentence."""


@dataclass(frozen=True)
class Submission:
    """A submission in the zoo's layout, and the project that it comes from.

    ::

        zoo/models/<name>/    the content of the archive
        zoo/ci/unit_tests/    the bundle's tests in the zoo's form

    Args:
        zoo: folder in the zoo's layout, which a check may write to.
        folder: the bundle's folder in it.
        root: the project's folder, for files that are not part of a submission: schema, requirements.
    """

    zoo: Path
    folder: Path
    root: Path

    @cached_property
    def metadata(self) -> dict[str, Any]:
        """Contents of `configs/metadata.json`."""
        return json.loads(self.text("configs/metadata.json"))

    def text(self, path: str) -> str:
        """Return a file's text.

        Raises:
            CheckFailed: If the file is missing or not text.
        """
        try:
            return (self.folder / path).read_text(encoding="utf-8")
        except (FileNotFoundError, UnicodeDecodeError) as error:
            raise CheckFailed(f"{path} is missing or not UTF-8 text; a submission needs it.") from error

    def run(self, *arguments: str, cwd: Path | None = None, path: Path | None = None) -> str:
        """Run Python in the bundle's folder, so that its code is found, and return its output.

        Args:
            arguments: arguments after ``python -m``.
            cwd: another folder to run in.
            path: another folder to search for modules.

        Raises:
            CheckFailed: If the process fails; the message is the end of its output.
        """
        process = subprocess.run(
            [sys.executable, "-m", *arguments],
            cwd=cwd or self.folder,
            env={**os.environ, "PYTHONPATH": str(path or ""), "PYTHONDONTWRITEBYTECODE": "1"},
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
        )
        if process.returncode:
            output = "\n".join(process.stdout.strip().splitlines()[-20:])
            raise CheckFailed(f"`python -m {' '.join(arguments)}` failed in the unpacked submission:\n{output}")
        return process.stdout
