"""Translate in a child process, for when this process has already loaded another package called ``bundle``."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def by_child(source: str | Path, result: str | Path, overlays: Sequence[str], keys: Mapping[str, Any]) -> list[Path]:
    """Translate files in a child process and return the paths of the results, sorted.

    Args:
        source: the images.
        result: folder of the results.
        overlays: config files that follow the base config.
        keys: keys of the config and their values.

    Raises:
        ValueError: If the child fails; the message is its last line.
    """
    places = [str(Path(__file__).resolve().parents[1]), os.environ.get("PYTHONPATH", "")]
    with tempfile.TemporaryDirectory(prefix="child_") as folder:
        told = Path(folder) / "paths.json"
        task = {"source": source, "result": result, "experiment": ",".join(overlays), "keys": dict(keys), "told": told}
        done = subprocess.run(
            [sys.executable, "-m", __name__],
            input=json.dumps(task, default=str),
            env={**os.environ, "PYTHONIOENCODING": "utf-8", "PYTHONPATH": os.pathsep.join(filter(None, places))},
            capture_output=True,
            encoding="utf-8",
            check=False,
        )
        if done.returncode:
            lines = done.stderr.strip().splitlines() or [f"the child ended with status {done.returncode}"]
            raise ValueError(lines[-1].removeprefix("error: "))
        return list(map(Path, json.loads(told.read_text(encoding="utf-8"))))


def main() -> int:
    """Do the task on standard input and write the paths of the results; return the exit status."""
    from ct_kernel_translation_gan.translating import Translator

    task = json.load(sys.stdin)
    try:
        paths = Translator(task["experiment"], **task["keys"]).files(task["source"], task["result"])
    except Exception as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    Path(task["told"]).write_text(json.dumps(list(map(str, paths))), encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
