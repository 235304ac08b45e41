"""Measure the speedup by several processes, started by `torchrun`, and whether they write the same bytes as one.

Either the tiles of one volume (streamed) or the volumes of a folder are distributed over the processes. Each process
has one thread, so that all are alike; more processes than cores bring no further speedup.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter

from benchmarks.memory_inference import ROOT, SMALL
from benchmarks.speed import show
from bundle.examples.phantom.__main__ import write
from bundle.runtime.commands import run_command

PROVENANCE = ".provenance.json"


def command(ranks: int, small: bool) -> list[str]:
    """Return the command for a number of processes on this machine; a single one runs without `torchrun`."""
    python, bundle = [sys.executable, "-m"], ["monai.bundle", "run", "inference"]
    files = ["configs/inference.json"]
    if ranks > 1:
        here = ["--rdzv_backend", "c10d", "--rdzv_endpoint", "127.0.0.1:0", "--local_addr", "127.0.0.1"]
        python += ["bundle.runtime.torchrun", *here, "--nproc_per_node", str(ranks), "-m"]
        files.append("configs/multi_gpu_inference.json")
    files += [str(SMALL)] if small else []
    return [*python, *bundle, "--config_file", str(files)]


def run(images: str, folder: str, ranks: int, small: bool, streaming: bool) -> tuple[float, float, float]:
    """Translate images by several processes; return seconds, processor seconds, and seconds of the slowest image.

    Raises:
        RuntimeError: If the run fails; the message has its last lines.
    """
    keys = ["--dataset_dir", images, "--output_dir", folder, "--streaming", str(streaming), "--check_input", "off"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    before, start = os.times(), perf_counter()
    done = subprocess.run([*command(ranks, small), *keys], cwd=ROOT, env=environment, capture_output=True, text=True)
    seconds, after = perf_counter() - start, os.times()
    if done.returncode:
        raise RuntimeError(f"{ranks} processes ended with status {done.returncode}: {done.stderr[-2000:]}")
    spent = after.children_user + after.children_system - before.children_user - before.children_system
    told = [json.loads(file.read_text(encoding="utf-8")) for file in Path(folder).glob(f"*{PROVENANCE}")]
    return seconds, spent, max(each["seconds"] for each in told)


def hashes(folder: str) -> dict[str, str]:
    """Return the SHA-256 of each result in a folder, by name.

    Raises:
        RuntimeError: If the folder contains anything but results and their provenance.
    """
    files = sorted(path for path in Path(folder).iterdir() if not path.name.endswith(PROVENANCE))
    if strange := [path.name for path in files if not path.is_file() or path.name.startswith(".")]:
        raise RuntimeError(f"{strange} were left in {folder!r}; report this as a fault.")
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def measure(title: str, images: str, ranks: Sequence[int], small: bool, streaming: bool, work: str) -> list[list[str]]:
    """Return the rows of a table: the same images with each number of processes, compared with the first number.

    Raises:
        RuntimeError: If a run fails.
    """
    number = len(list(Path(images).iterdir())) if Path(images).is_dir() else 1
    rows, one, base = [], None, (0.0, 0.0, 0.0)
    for count in ranks:
        folder = f"{work}/{'streamed' if streaming else 'memory'}_{count}"
        times, made = run(images, folder, count, small, streaming), hashes(folder)
        base, one = (times, made) if one is None else (base, one)
        same = "every byte" if made == one else "**differ**"
        whole, spent, image = times
        faster = f"{base[0] / whole:.2f} x"
        inner = f"{image:.1f} ({base[2] / image:.2f} x)" if number == 1 else "-"
        results = f"{len(made)} of {number}, {same}"
        rows.append([title, str(count), f"{whole:.1f}", faster, inner, f"{spent:.1f}", results])
        print(rows[-1], file=sys.stderr, flush=True)
    return rows


def main(
    side: int = 512,
    volumes: int = 8,
    each: int = 128,
    ranks: Sequence[int] = (1, 2, 4),
    small: bool = False,
    folder: str | None = None,
) -> None:
    """Print the table.

    Args:
        side: side of the volume whose tiles are distributed; 0 for none.
        volumes: number of volumes in the folder; 0 for none.
        each: side of each of these volumes.
        ranks: numbers of processes; the others are compared with the first.
        small: whether to use `benchmarks/small_network.json`, untrained, instead of the shipped networks.
        folder: folder for images and results, which are removed again; by default the system's temporary folder.

    Raises:
        RuntimeError: If a run fails, or leaves anything but its results.
    """
    ranks = [ranks] if isinstance(ranks, int) else list(ranks)
    head = ["what is shared", "processes", "seconds", "faster by", "the image alone", "processor seconds", "results"]
    lines = [head, ["---"] * len(head)]
    with tempfile.TemporaryDirectory(dir=folder) as work:
        if side:
            image = write(f"{work}/one/image.nii", (side,) * 3, (0.7, 0.7, 0.7), noise=30.0)
            lines += measure(f"tiles of {side}^3", image, ranks, small, True, work)
        if volumes:
            for seed in range(volumes):
                write(f"{work}/many/{seed}.nii", (each,) * 3, (0.7, 0.7, 0.7), seed=seed, noise=30.0)
            lines += measure(f"{volumes} volumes of {each}^3", f"{work}/many", ranks, small, False, work)
    show(lines)
    print(f"{os.cpu_count()} cores, one thread a process")


if __name__ == "__main__":
    run_command(main)
