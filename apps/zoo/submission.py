"""What a check is given, an unpacked submission, and how it says no."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any


class RefusedError(ValueError):
    """The zoo would not take this: name, value, rule and way out in one sentence."""


@dataclass(frozen=True)
class Submission:
    """A submission as it lies in the zoo, and the project that it comes from.

    ::

        zoo/models/<name>/    what the archive holds
        zoo/ci/unit_tests/    the bundle's tests in the zoo's form

    Args:
        zoo: folder in the zoo's layout, in which a check may write.
        folder: the bundle's folder in it.
        house: the project's folder, for what is no part of a submission: schema, requirements.
    """

    zoo: Path
    folder: Path
    house: Path

    @cached_property
    def metadata(self) -> dict[str, Any]:
        """`configs/metadata.json`, parsed."""
        return json.loads(self.text("configs/metadata.json"))

    def text(self, path: str) -> str:
        """A file's text.

        Raises:
            RefusedError: If it is missing or is no text.
        """
        try:
            return (self.folder / path).read_text(encoding="utf-8")
        except (FileNotFoundError, UnicodeDecodeError) as error:
            raise RefusedError(f"{path} is missing or no UTF-8 text; a submission needs it.") from error

    def run(self, *arguments: str, cwd: Path | None = None, path: Path | None = None) -> str:
        """What Python prints, run on a module's name and arguments; in the bundle's folder, so that its code is found.

        Args:
            arguments: behind ``python -m``.
            cwd: folder to run in.
            path: folder that modules are searched in as well, the one run in aside.

        Raises:
            RefusedError: If it fails, with the last of what it said.
        """
        done = subprocess.run(
            [sys.executable, "-m", *arguments],
            cwd=cwd or self.folder,
            env={**os.environ, "PYTHONPATH": str(path or ""), "PYTHONDONTWRITEBYTECODE": "1"},
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
        )
        if done.returncode:
            said = "\n".join(done.stdout.strip().splitlines()[-20:])
            raise RefusedError(f"`python -m {' '.join(arguments)}` failed in the unpacked submission:\n{said}")
        return done.stdout
