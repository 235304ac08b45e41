"""Compare the plans of `configs/plan.json` for six runs with the time and memory that the runs take.

Each plan and each run is a separate process with the command that a user types, one after the other, on newly made
images. Plans and runs alternate, so that the machine is equally busy for both. In addition to wall time, processor time
is compared, which other processes on the machine affect less: a second plan measures by that clock.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from bundle.runtime.commands import run_command

#: A program that replaces the wall clock by the processor's clock and then runs ``python -m monai.bundle``.
BY_PROCESSOR = """
import runpy, sys, time
sys.path.insert(0, "")
import bundle.runtime.process
time.perf_counter = bundle.runtime.process.age = time.process_time
runpy.run_module("monai.bundle", run_name="__main__", alter_sys=True)
"""
ROOT = Path(__file__).parents[1]
#: Largest allowed relative errors of a plan.
SECONDS, MEMORY = 0.35, 0.20


@dataclass(frozen=True)
class Case:
    """A run to plan and measure.

    Args:
        name: name of the image, which tells its format.
        shape: shape of the image.
        streaming: whether the scales are kept on disk.
        overlays: configs of an experiment.
        spacing: voxel spacing of the phantom in mm.
    """

    name: str
    shape: tuple[int, ...]
    streaming: bool
    overlays: tuple[str, ...] = ()
    spacing: float | None = None
    keys: dict[str, str] = field(default_factory=dict)


CASES = (
    Case("small.nii.gz", (96, 96, 96), False),
    Case("middle.nii.gz", (256, 256, 128), False),
    Case("middle.nii", (320, 320, 160), True),
    Case("large.nii", (384, 384, 240), True),
    Case("series", (256, 256, 64), False),
    Case("xray.png", (2048, 2048), False, ("xray_2d",), 0.2),
)


def make(path: str, shape: Sequence[int], spacing: float | None) -> None:
    """Write the image of a case, a thorax phantom.

    Args:
        path: path whose suffix tells the format; without suffix, a DICOM series.
        shape: number of voxels per axis.
        spacing: voxel spacing in mm.
    """
    import numpy as np
    from PIL import Image

    from bundle.examples.phantom import ThoraxPhantom
    from bundle.examples.phantom.__main__ import write
    from tests.dicom_series import write_series

    if path.endswith((".nii", ".nii.gz")):
        write(path, tuple(shape), spacing, noise=30.0)
        return
    phantom = ThoraxPhantom(tuple(shape), None if spacing is None else (spacing,) * len(shape), noise=30.0)
    if path.endswith(".png"):
        grey = (phantom[...].clip(-1000, 200) + 1000) * (255 / 1200)
        Image.fromarray(np.ascontiguousarray(grey.round().astype(np.uint8).T)).save(path)
    else:
        write_series(Path(path), phantom[...].astype(np.int16), phantom.affine)


@dataclass(frozen=True)
class Taken:
    """Wall time, processor time and peak memory in bytes of a process."""

    seconds: float
    processor: float
    memory: float


def run(arguments: Sequence[str]) -> Taken:
    """Run a command and measure it.

    Raises:
        RuntimeError: If the command fails.
    """
    begun, used, peak = time.perf_counter(), _used(), 0
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(arguments, cwd=ROOT, stdout=output, stderr=subprocess.STDOUT)
        while process.poll() is None:
            peak = max(peak, _peak(process.pid))
            time.sleep(0.02)
        seconds = time.perf_counter() - begun
        output.seek(0)
        if process.returncode:
            raise RuntimeError(output.read().decode(errors="replace").strip().splitlines()[-1])
    return Taken(seconds, _used() - used, peak)


def _used() -> float:
    """Return the processor seconds of all child processes that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _peak(process: int) -> int:
    """Return the peak memory of a process so far in bytes, without that of the process it was forked from."""
    try:
        text = Path(f"/proc/{process}/status").read_text()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in text.splitlines() if line.startswith("VmHWM")), 0)


def command(run_id: str, case: Case, image: Path, folder: Path, by_processor: bool = False) -> list[str]:
    """Return the command of a run or plan; a plan may measure by the processor's clock."""
    names = ["inference", *case.overlays, *(["plan"] if run_id == "planning" else [])]
    keys = {"dataset_dir": image, "output_dir": folder / "output", "streaming": case.streaming, **case.keys}
    if run_id == "planning":
        keys["plan_file"] = folder / "plan.json"
    given = [word for key, value in keys.items() for word in (f"--{key}", str(value))]
    files = str([f"configs/{name}.json" for name in names])
    program = ["-c", BY_PROCESSOR] if by_processor else ["-m", "monai.bundle"]
    return [sys.executable, *program, "run", run_id, "--config_file", files, *given]


def measured(case: Case, folder: Path, turns: int) -> tuple[list[Taken], list[Taken]]:
    """Return the planned and the measured values, turn by turn."""
    image = folder / case.name
    script = f"from benchmarks.plan import make; make({str(image)!r}, {case.shape}, {case.spacing})"
    run([sys.executable, "-c", script])
    plans, runs = [], []
    for _ in range(turns):
        totals = []
        for by_processor in (True, False):
            run(command("planning", case, image, folder, by_processor))
            totals.append(json.loads((folder / "plan.json").read_text())["total"])
        plans.append(Taken(totals[1]["seconds"], totals[0]["seconds"], totals[1]["host_memory"]))
        runs.append(run(command("inference", case, image, folder)))
    return plans, runs


def compared(plans: Sequence[Taken], runs: Sequence[Taken], name: str) -> tuple[float, float, float]:
    """Return the medians of plans, of runs, and of the relative errors of the plans."""
    pairs = [(getattr(plan, name), getattr(run, name)) for plan, run in zip(plans, runs, strict=True)]
    return median(a for a, _ in pairs), median(b for _, b in pairs), median(a / b - 1 for a, b in pairs)


def main(turns: int = 3, only: str = "", folder: str | None = None, figure: str = "") -> None:
    """Print the table.

    Args:
        turns: number of plans and runs of each case, of which the medians count.
        only: image name of a single case; empty for all.
        folder: folder for images and results; null for a temporary one.
        figure: not used; passed by `make bench`.

    Raises:
        SystemExit: With status 1, if a plan is off by more than 35 % of the seconds or 20 % of the memory.
    """
    del figure
    head = ["image", "voxels", "way", "seconds: plan", "run", "off"]
    rows = [[*head, "of the processor: plan", "run", "off", "GiB: plan", "run", "off"], ["---"] * 12]
    missed = []
    for case in CASES:
        if only not in ("", case.name):
            continue
        with tempfile.TemporaryDirectory(dir=folder) as place:
            plans, runs = measured(case, Path(place), turns)
        row = [case.name, "x".join(map(str, case.shape)), "streamed" if case.streaming else "in memory"]
        for name, unit, most in (("seconds", 1, SECONDS), ("processor", 1, SECONDS), ("memory", 2**30, MEMORY)):
            planned, taken, off = compared(plans, runs, name)
            row += [f"{planned / unit:.3g}", f"{taken / unit:.3g}", f"{off:+.0%}"]
            missed += [f"{case.name} ({name})"] if abs(off) > most else []
        rows.append(row)
        print(" ".join(row), f"load {os.getloadavg()[0]:.1f}", file=sys.stderr, flush=True)
    print("\n".join("| " + " | ".join(row) + " |" for row in rows))
    print(f"\n{turns} turns, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} in the last minute")
    if missed:
        print(f"error: off by more than {SECONDS:.0%} of seconds or {MEMORY:.0%} of memory: {', '.join(missed)}.")
        raise SystemExit(1)


if __name__ == "__main__":
    run_command(main)
