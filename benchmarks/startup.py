"""Measure how long the command takes to its first voxel, compared with importing MONAI alone.

Processes alternate between importing `monai.bundle` and translating an image so small that the networks take almost no
time. Seconds are processor time, which other work on the machine affects less than wall time.
"""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from bundle.examples.phantom.__main__ import write
from bundle.runtime.commands import run_command

ROOT = Path(__file__).parents[1]


def seconds(*words: str) -> float:
    """Return the processor seconds of a Python process with one thread."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT / "apps" / "command")}
    subprocess.run([sys.executable, *words], env=environment, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def run(repeats: int = 5) -> None:
    """Print the table.

    Args:
        repeats: number of processes of each kind.
    """
    with tempfile.TemporaryDirectory() as folder:
        image = write(f"{folder}/image.nii", (32, 32, 16), noise=30.0)
        translate = ("-m", "ct_kernel_translation_gan", image, f"{folder}/results", "--check_input", "off")
        pairs = [(seconds("-c", "import monai.bundle"), seconds(*translate)) for _ in range(repeats)]
    imports, translations = (statistics.median(column) for column in zip(*pairs, strict=True))
    print("| process | processor seconds, median | times the import |")
    print("| --- | --- | --- |")
    print(f"| `import monai.bundle` | {imports:.2f} | 1.00 |")
    print(f"| the command, an image of 32 x 32 x 16 | {translations:.2f} | {translations / imports:.2f} |")


if __name__ == "__main__":
    run_command(run)
