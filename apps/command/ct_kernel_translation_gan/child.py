"""Translate in a child process, for when this process has already loaded another package called ``bundle``."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

#: Prefix of the lines in which the command prints its results.
WRITTEN, SKIPPED = "written: ", "skipped: "
#: What follows the path of a result that existed.
EXISTS = " exists already, made from "


def by_child(source: str | Path, result: str | Path, overlays: Sequence[str], keys: Mapping[str, Any]) -> list[Path]:
    """Run the command ``translate`` and return the paths of the results, sorted.

    Args:
        source: the images.
        result: folder of the results.
        overlays: config files that follow the base config.
        keys: keys of the config and their values.

    Raises:
        ValueError: If the command fails; the message is its last line.
    """
    options = [f"--{key}={value}" for key, value in keys.items()]
    options += [f"--experiment={','.join(overlays)}"] if overlays else []
    places = [str(Path(__file__).resolve().parents[1]), os.environ.get("PYTHONPATH", "")]
    done = subprocess.run(
        [sys.executable, "-m", __package__, "translate", *options, "--", str(source), str(result)],
        env={**os.environ, "PYTHONIOENCODING": "utf-8", "PYTHONPATH": os.pathsep.join(filter(None, places))},
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"the command ended with status {done.returncode}"]
        raise ValueError(lines[-1].removeprefix("error: "))
    told = (line for line in done.stdout.splitlines() if line.startswith((WRITTEN, SKIPPED)))
    return sorted(Path(line.partition(": ")[2].partition(EXISTS)[0]) for line in told)
