"""Translate a volume far larger than memory from file to file: write, stream, kill midway, and resume.

A phantom is written as ``.nii`` in slices, and translated by the complete `configs/inference.json` with the small,
untrained network, or with the shipped one (``--small False``), in a process that is killed when half of the result's
slices are finished; the same command then resumes. Peak resident memory is counted above that of a process that has
built everything but translates nothing; disk usage is monitored all the time. All files are removed in the end::

    python -m benchmarks.large_volume --sides 512,2048

writes 2048^3 voxels, 16 GiB, and needs about 60 GB of disk and hours on one core. A side such as 2048x2048x128 is not a
cube: how much memory a slice takes shows in a few of them. The exit status is 1 if memory or disk usage exceeds the
limits, or if the memory peaks differ by more than a tenth.
"""

from __future__ import annotations

import math
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from monai.bundle import ConfigWorkflow

from benchmarks.memory_inference import Settings, idle, measured, workflow_arguments
from benchmarks.speed import show
from bundle.examples.phantom.__main__ import write
from bundle.images import open_image
from bundle.runtime import file_hash
from bundle.runtime.commands import run_command
from bundle.transforms.finish import FINISHED

ROOT = Path(__file__).parents[1]
#: Limits: bytes of memory above idle; bytes per voxel on disk of source, scratch and result, and of scratch alone.
MEMORY, DISK, SCRATCH = 2**30, 7.0, 3.0
#: Fewest voxels for the limits of the disk; in larger volumes a row of tiles is a smaller fraction.
LARGE = 2048**3
#: Most voxels of a volume whose result is compared with that of a single run.
COMPARED = 512**3
#: Largest relative difference of the memory peaks of two volumes.
ALIKE = 0.1
#: Seconds between two checks of the disk.
PAUSE = 0.2


@dataclass
class Run:
    """Peak bytes and seconds of a process, and whether it was killed."""

    memory: int = 0
    scratch: int = 0
    disk: int = 0
    seconds: float = 0.0
    killed: bool = False


def translated(image: str, folder: str, settings: Settings, keep: bool | None) -> None:
    """Translate an image in this process, streamed."""
    keys = {"streaming": True, "preparing#keep": keep}
    workflow = ConfigWorkflow(**workflow_arguments(image, folder, settings, keys))
    workflow.initialize()
    workflow.run()


def watched(source: Path, folder: Path, arguments: Sequence[object], until: float) -> Run:
    """Run `translated` in a child process, monitor its memory and the disk, and kill it midway.

    Args:
        source: path of the image.
        folder: folder of the result.
        arguments: further arguments of `translated`.
        until: fraction of the result's slices that are finished when the process is killed; 1 to let it finish.

    Raises:
        RuntimeError: If the process fails.
    """
    call = f"from benchmarks import large_volume as l; l.translated({str(source)!r}, {str(folder)!r}, *{arguments!r})"
    run, begun, slices = Run(), time.perf_counter(), open_image(source).shape[-1]
    with tempfile.TemporaryFile() as told:
        process = subprocess.Popen([sys.executable, "-c", call], cwd=ROOT, stdout=subprocess.DEVNULL, stderr=told)
        try:
            while process.poll() is None:
                run.memory = max(run.memory, peak_of(process.pid))
                scratch, all_of_it = on_disk(folder)
                run.scratch, run.disk = max(run.scratch, scratch), max(run.disk, all_of_it + source.stat().st_size)
                if until < 1 and finished(folder) >= until * slices:
                    run.killed = True
                    break
                time.sleep(PAUSE)
        finally:
            process.kill()
            process.wait()
        run.seconds = time.perf_counter() - begun
        told.seek(0)
        if process.returncode and not run.killed:
            last = told.read().decode(errors="replace").strip().splitlines() or ["no message"]
            raise RuntimeError(f"{source} was not translated: {last[-1]}")
    return run


def peak_of(process: int) -> int:
    """Return the peak memory of a process in bytes; 0 if it has ended."""
    try:
        lines = Path(f"/proc/{process}/status").read_text(encoding="utf-8").splitlines()
    except OSError:
        return 0
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM")), 0)


def on_disk(folder: Path) -> tuple[int, int]:
    """Return the bytes of scratch files in a folder of results, and those of all files."""
    scratch = other = 0
    for path, _, files in os.walk(folder):
        for name in files:
            try:
                size = 512 * (Path(path) / name).stat().st_blocks
            except OSError:  # removed meanwhile
                continue
            within = Path(path).relative_to(folder).parts
            if name.endswith(".nii"):
                other += size
            elif within:
                scratch += size
    return scratch, scratch + other


def finished(folder: Path) -> int:
    """Return the first slice of the last finished slab of the result; 0 if none is finished."""
    return max((int(file.stem) for file in folder.glob(f".part_*/{FINISHED}/*.npy")), default=0)


def one(shape: Sequence[int], settings: Settings, kill: float, keep: bool | None, place: Path) -> list[Run]:
    """Write a phantom, translate it in two runs, and compare with a single run if the volume is small.

    Raises:
        RuntimeError: If a run fails, if the first run was not killed, or if the results differ.
    """
    voxels, title = math.prod(shape), named(shape)
    needed, free = int((DISK - 0.5) * voxels), shutil.disk_usage(place).free
    if needed > free:
        raise RuntimeError(f"{title} voxels need about {needed} bytes of disk, and {free} are free at {place}.")
    with tempfile.TemporaryDirectory(dir=place, prefix="large_volume_") as name:
        folder, arguments = Path(name), (settings, keep)
        source = Path(write(f"{name}/scan.nii", shape, (0.7, 0.7, 0.7), noise=30.0))
        runs = [watched(source, folder / "out", arguments, kill)] if kill < 1 else []
        if runs and not runs[0].killed:
            raise RuntimeError(f"{title}: the first go had ended before it was killed; take an earlier 'kill'.")
        runs.append(watched(source, folder / "out", arguments, 1))
        (result,) = (folder / "out").glob("*.nii")
        if voxels <= COMPARED and len(runs) > 1:
            watched(source, folder / "again", arguments, 1)
            if file_hash(result) != file_hash(folder / "again" / result.name):
                raise RuntimeError(f"{title}: the result of two goes is not that of one.")
        if open_image(result).shape != tuple(shape):
            raise RuntimeError(f"{title}: the result has the shape {open_image(result).shape}.")
        return runs


def shapes_of(sides: int | str | Sequence[int | str]) -> list[tuple[int, ...]]:
    """Return the shape of each volume: of a cube from its side, any other from text such as ``2048x2048x128``."""
    several = sides.split(",") if isinstance(sides, str) else [sides] if isinstance(sides, int) else sides
    return [tuple(map(int, str(side).split("x"))) if "x" in str(side) else (int(side),) * 3 for side in several]


def named(shape: Sequence[int]) -> str:
    """Return a shape as it is written: ``512^3`` or ``2048 x 2048 x 128``."""
    return f"{shape[0]}^3" if len(set(shape)) == 1 else " x ".join(map(str, shape))


def main(
    sides: int | str | Sequence[int | str] = (512, 2048),
    budget: str = "500MiB",
    tile_size: int | None = 128,
    kill: float = 0.5,
    keep: bool | None = False,
    small: bool = True,
    folder: str = "output/benchmarks",
) -> None:
    """Print the table; results of at most 512^3 voxels are compared with those of a single run.

    Args:
        sides: sides of the volumes in voxels, or shapes (`shapes_of`).
        budget: `memory_budget`.
        tile_size: tile size, instead of that from the budget.
        kill: fraction of the slices that are finished when the first process is killed; 1 for no kill.
        keep: see `bundle.transforms.PrepareImaged`.
        small: whether to use the small network; otherwise the shipped one.
        folder: folder for all temporary files.
    """
    settings = (small, budget, tile_size)
    place = Path(folder)
    place.mkdir(parents=True, exist_ok=True)
    head = ["volume", "GiB above idle", "scratch, bytes a voxel", "all on disk, bytes a voxel", "GB", "seconds"]
    lines, peaks, faults = [head, ["---"] * len(head)], [], []
    with tempfile.TemporaryDirectory() as name:
        tiny = write(f"{name}/scan.nii", (16,) * 3, (0.7, 0.7, 0.7))
        base = measured(idle, tiny, f"{name}/out", settings)[0]
    for shape in shapes_of(sides):
        runs = one(shape, settings, kill, keep, place)
        memory = max(run.memory for run in runs) - base
        scratch, disk = (max(getattr(run, key) for run in runs) for key in ("scratch", "disk"))
        peaks.append(memory)
        voxels, title, took = math.prod(shape), named(shape), " + ".join(f"{run.seconds:.0f}" for run in runs)
        shares = f"{scratch / voxels:.2f}", f"{disk / voxels:.2f}"
        lines.append([title, f"{memory / 2**30:.3f}", *shares, f"{disk / 1e9:.2f}", took])
        if memory > MEMORY:
            faults.append(f"{title} takes {memory / 2**30:.2f} GiB of memory, more than {MEMORY / 2**30:.0f}")
        if voxels >= LARGE and (scratch > SCRATCH * voxels or disk > DISK * voxels):
            faults.append(f"{title} takes more disk than {SCRATCH} bytes a voxel of scratch, or {DISK} of all")
    if len(peaks) > 1 and not math.isclose(max(peaks), min(peaks), rel_tol=ALIKE):
        faults.append(f"memory differs by more than {ALIKE:.0%}")
    show(lines)
    print(f"idle: {base / 2**30:.2f} GiB; tile {tile_size}, memory_budget {budget}; killed at {kill:.0%} of the slices")
    if faults:
        sys.exit(f"error: {'; '.join(faults)}.")


if __name__ == "__main__":
    run_command(main)
