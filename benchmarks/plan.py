"""Whether a plan comes true: what `configs/plan.json` tells of six runs, beside what they take.

Each plan and each run is a process of its own, one after the other, of the command that a user types; the images are
made anew. Runs and plans take turns, so that a busy machine is as busy for both.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import fire

ROOT = Path(__file__).parents[1]
#: What a plan may be off.
SECONDS, MEMORY = 0.35, 0.20


@dataclass(frozen=True)
class Case:
    """A run.

    Args:
        name: of the image, which tells its format.
        shape: of the image.
        streaming: whether its scales lie on disk.
        overlays: configs of an experiment.
        spacing: of the phantom, in mm.
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
    """Write the image of a case: a phantom of a thorax.

    Args:
        path: its suffix tells the format; none a DICOM series.
        shape: voxels per axis.
        spacing: mm.
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


def run(arguments: Sequence[str]) -> tuple[float, float]:
    """Run a command, and return its seconds and the peak of its resident memory in bytes.

    Raises:
        RuntimeError: If it fails.
    """
    begun, peak = time.perf_counter(), 0
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(arguments, cwd=ROOT, stdout=output, stderr=subprocess.STDOUT)
        while process.poll() is None:
            peak = max(peak, _peak(process.pid))
            time.sleep(0.02)
        seconds = time.perf_counter() - begun
        output.seek(0)
        if process.returncode:
            raise RuntimeError(output.read().decode(errors="replace").strip().splitlines()[-1])
    return seconds, peak


def _peak(process: int) -> int:
    """Bytes of a process's peak so far: of itself, which a process that has begun by copying another does not tell."""
    try:
        text = Path(f"/proc/{process}/status").read_text()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in text.splitlines() if line.startswith("VmHWM")), 0)


def command(run_id: str, case: Case, image: Path, folder: Path) -> list[str]:
    """Return the command of a run or a plan."""
    names = ["inference", *case.overlays, *(["plan"] if run_id == "planning" else [])]
    keys = {"dataset_dir": image, "output_dir": folder / "output", "streaming": case.streaming, **case.keys}
    if run_id == "planning":
        keys["plan_file"] = folder / "plan.json"
    given = [word for key, value in keys.items() for word in (f"--{key}", str(value))]
    files = str([f"configs/{name}.json" for name in names])
    return [sys.executable, "-m", "monai.bundle", "run", run_id, "--config_file", files, *given]


def measured(case: Case, folder: Path, turns: int) -> dict[str, float]:
    """Return medians of what was planned and what was taken, in seconds and bytes."""
    image = folder / case.name
    script = f"from benchmarks.plan import make; make({str(image)!r}, {case.shape}, {case.spacing})"
    run([sys.executable, "-c", script])
    found: dict[str, list[float]] = {"seconds": [], "memory": [], "own_seconds": [], "own_memory": [], "ratio": []}
    for _ in range(turns):
        run(command("planning", case, image, folder))
        total = json.loads((folder / "plan.json").read_text())["total"]
        seconds, peak = run(command("inference", case, image, folder))
        for key, value in zip(
            found, (total["seconds"], total["host_memory"], seconds, peak, total["seconds"] / seconds), strict=True
        ):
            found[key].append(value)
    return {key: median(values) for key, values in found.items()}


def main(turns: int = 3, only: str = "", folder: str | None = None, figure: str = "") -> None:
    """Print the table.

    Args:
        turns: plans and runs of each case, of which the medians count.
        only: the name of one case's image; empty for all.
        folder: where images and results lie; null for a temporary one.
        figure: not used; `make bench` gives it.

    Raises:
        SystemExit: With status 1, if a plan is off by more than 35 % of the seconds or 20 % of the memory.
    """
    del figure
    rows = [["image", "voxels", "way", "seconds: plan", "run", "off", "GiB: plan", "run", "off"], ["---"] * 9]
    missed = []
    for case in CASES:
        if only not in ("", case.name):
            continue
        with tempfile.TemporaryDirectory(dir=folder) as place:
            found = measured(case, Path(place), turns)
        off = found["ratio"] - 1, found["memory"] / found["own_memory"] - 1
        missed += [case.name] if abs(off[0]) > SECONDS or abs(off[1]) > MEMORY else []
        rows.append(
            [
                case.name,
                "x".join(map(str, case.shape)),
                "streamed" if case.streaming else "in memory",
                f"{found['seconds']:.1f}",
                f"{found['own_seconds']:.1f}",
                f"{off[0]:+.0%}",
                f"{found['memory'] / 2**30:.2f}",
                f"{found['own_memory'] / 2**30:.2f}",
                f"{off[1]:+.0%}",
            ]
        )
        print(rows[-1], file=sys.stderr, flush=True)
    print("\n".join("| " + " | ".join(row) + " |" for row in rows))
    print(f"\n{turns} turns, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} in the last minute")
    if missed:
        print(f"error: the plan of {', '.join(missed)} is off by more than {SECONDS:.0%} or {MEMORY:.0%}.")
        raise SystemExit(1)


if __name__ == "__main__":
    fire.Fire(main)
