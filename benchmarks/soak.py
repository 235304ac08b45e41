"""Many runs, killed runs, and runs at the same time: whether every result is right, and nothing is left behind.

::

    volumes    one process translates many small volumes: memory, open files, every result
    kills      a run is killed, and the same command is run again
    pairs      two runs at once write into one folder

Each run is what ``python -m monai.bundle run inference`` does, in a forked child of a process that has imported all it
needs; the networks are those of `small_network.json`, whose weights are drawn by a seed. A result is right if it holds
byte for byte what an undisturbed run has written::

    python -m benchmarks.soak --volumes 200 --kills 300 --pairs 100
"""

from __future__ import annotations

import multiprocessing
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import warnings
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import fire
import monai.bundle
import monai.engines
import monai.handlers
import monai.networks.nets  # imported here once, so that no child has to
import numpy as np
import torch

from benchmarks.speed import show
from bundle.evaluation import run as _evaluation  # noqa: F401 - likewise
from bundle.examples.phantom import ThoraxPhantom
from bundle.images.provenance import content_hash, owned, provenance_path
from bundle.runtime.errors import last_line
from tests.dicom_series import write_series
from tests.golden_inputs import write_itk, write_nifti, write_ome_zarr

ROOT = Path(__file__).parents[1]
SHAPE, AFFINE = (44, 40, 26), np.diag([3.0, 3.0, 5.0, 1.0])
#: Formats of volumes, by what the names end in.
FORMATS = (".nii", ".nii.gz", ".mha", ".nrrd", ".ome.zarr", "")
#: Keys of all runs.
KEYS: dict[str, Any] = {"match_kernel": False, "check_input": "off", "tile_size": 20, "amp": False, "device": "cpu"}
#: Settings that give another result.
OTHER = {"edges": [20.0, 60.0]}
#: Events of Python's audit at which a run is killed: what changes the file system.
EVENTS = ("os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.chmod", "shutil.rmtree", "os.truncate", "os.link")
#: Longest that one run may take, in seconds.
LIMIT = 120


@dataclass
class Run:
    """A run of the command in a forked child.

    Args:
        source: an image, or a folder of them.
        folder: of the results.
        log: a file for what it prints.
        keys: of the config.
        die_at: the event of the file system at which it kills itself; 0 for none.
    """

    source: Path
    folder: Path
    log: Path
    keys: Mapping[str, Any] = field(default_factory=dict)
    die_at: int = 0

    def start(self) -> Run:
        """Start it."""
        self.begun = time.monotonic()
        self.process = multiprocessing.get_context("fork").Process(target=self._run, daemon=True)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # threads of NumPy's, which are idle
            self.process.start()
        return self

    def end(self) -> int | None:
        """Wait for its end and return its status: negative if it was killed, nothing if it hangs."""
        self.process.join(LIMIT)
        self.seconds = time.monotonic() - self.begun
        if self.process.is_alive():
            self.process.kill()
            self.process.join()
            return None
        return self.process.exitcode

    def kill(self) -> None:
        """Kill it, if it has not ended yet."""
        if self.process.pid and self.process.is_alive():
            os.kill(self.process.pid, signal.SIGKILL)

    @cached_property
    def said(self) -> str:
        """Its last line."""
        return (self.log.read_text(errors="replace").strip().splitlines() or [""])[-1]

    @cached_property
    def events(self) -> int:
        """How many events of the file system it has told of."""
        lines = self.log.read_text(errors="replace").splitlines()
        return next((int(line.split()[1]) for line in lines if line.startswith("events: ")), 0)

    def _run(self) -> None:
        """In the child: run the command, whose errors end in one line and status 1."""
        handle = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        for stream in (1, 2):
            os.dup2(handle, stream)
        torch.set_num_threads(1)  # of so small a network more threads make less
        count, folder, active = 0, str(self.folder), True

        def watch(event: str, given: tuple[Any, ...]) -> None:
            nonlocal count
            changes = event in EVENTS or (event == "open" and isinstance(given[2], int) and given[2] & 3)
            if (
                active
                and changes
                and any(isinstance(name, (str, os.PathLike)) and folder in str(name) for name in given)
            ):
                count += 1
                if count == self.die_at:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(watch)
        configs = [str(ROOT / "configs" / "inference.json"), str(ROOT / "benchmarks" / "small_network.json")]
        given = {"dataset_dir": str(self.source), "output_dir": str(self.folder), "bundle_root": str(ROOT)}
        status = 0
        try:
            monai.bundle.run(run_id="inference", config_file=configs, **given, **{**KEYS, **self.keys})
        except SystemExit as error:
            status = int(error.code or 0)
        except Exception as error:
            print(last_line(error), file=sys.stderr)
            status = 1
        active = False
        if not status:
            print(f"events: {count}", flush=True)
        os._exit(status)


def forked(function: Any, *arguments: Any) -> None:
    """Call a function in a process of its own: one that has used ITK or threads cannot be forked."""
    process = multiprocessing.get_context("fork").Process(target=function, args=arguments)
    process.start()
    process.join()
    if process.exitcode:
        raise RuntimeError(f"{function.__name__} failed with status {process.exitcode}")


def write_volume(path: Path, seed: int) -> None:
    """Write a phantom; the name tells the format."""
    path.parent.mkdir(parents=True, exist_ok=True)
    voxels = np.asarray(ThoraxPhantom(SHAPE, seed=seed, noise=20)[...]).astype(np.int16)
    if path.name.endswith((".nii", ".gz")):
        write_nifti(path, voxels, AFFINE)
    elif path.name.endswith(".zarr"):
        write_ome_zarr(path, voxels, AFFINE)
    elif path.suffix:
        write_itk(path, voxels, AFFINE)
    else:
        write_series(path, voxels, AFFINE, series=f"1.2.3.{seed + 1}")


class Soak:
    """The tries, in a folder.

    Args:
        folder: for sources, results and logs.
        seed: of what is drawn.
        minutes: after which no other try is begun.
    """

    def __init__(self, folder: Path, seed: int, minutes: float) -> None:
        self.folder, self.random, self.end = folder, random.Random(seed), time.monotonic() + 60 * minutes
        self.counts: dict[str, Counter[str]] = defaultdict(Counter)
        self.faults: list[str] = []
        self._known: dict[Any, tuple[str, float, int]] = {}

    def source(self, end: str, seed: int) -> Path:
        """A volume of a format; those of different seeds have one name, in different folders."""
        path = self.folder / f"source_{seed}{end or '_dicom'}" / f"scan{end}"
        if not path.exists():
            forked(write_volume, path, seed)
        return path

    def result(self, folder: Path, end: str) -> Path:
        """Where the result of such a volume lies."""
        return folder / f"scan_translated{end}"

    def reference(self, end: str, seed: int, keys: Mapping[str, Any]) -> tuple[str, float, int]:
        """Hash of the result of an undisturbed run, its seconds, and its events of the file system."""
        key = end, seed, str(keys)
        if key not in self._known:
            folder = self.fresh("reference")
            run = Run(self.source(end, seed), folder, self.folder / "log", keys).start()
            if run.end():
                raise RuntimeError(f"an undisturbed run failed: {run.said}")
            self._known[key] = content_hash(self.result(folder, end)), run.seconds, run.events
        return self._known[key]

    def fresh(self, name: str) -> Path:
        """A folder that is not there."""
        shutil.rmtree(self.folder / name, ignore_errors=True)
        return self.folder / name

    def left(self, folder: Path, end: str) -> list[str]:
        """What lies in a folder besides a result and its provenance."""
        result = self.result(folder, end)
        kept = {result.name, provenance_path(result).name}
        return sorted(entry.name for entry in folder.iterdir() if entry.name not in kept)

    def count(self, table: str, outcome: str, told: str = "") -> None:
        """Count what became of a try."""
        self.counts[table][outcome] += 1
        if outcome not in ("right", "refused"):
            self.faults.append(f"{table}: {outcome}: {told}")

    def due(self) -> bool:
        """Whether the time is up."""
        return time.monotonic() > self.end

    def check(self, table: str, folder: Path, end: str, expected: set[str], told: str) -> bool:
        """Whether a result is one of those expected, known as the bundle's own, and alone."""
        result = self.result(folder, end)
        if not result.exists():
            self.count(table, "lost", told)
        elif content_hash(result) not in expected:
            self.count(table, "wrong", told)
        elif owned(result) is None:
            self.count(table, "unknown", f"{told}: provenance and result do not fit")
        elif left := self.left(folder, end):
            self.count(table, "left behind", f"{told}: {left}")
        else:
            return True
        return False

    def kill(self) -> None:
        """Kill a run once or several times, by time or at an event, and run it to its end."""
        end, streaming = self.random.choice(FORMATS), self.random.random() < 0.5
        keys = {"streaming": streaming}
        known, seconds, events = self.reference(end, 0, keys)
        folder, told = self.fresh("killed"), f"{end or 'DICOM'}, {'streamed' if streaming else 'in memory'}"
        if self.random.random() < 0.3:  # over an earlier result of the same image and other settings
            Run(self.source(end, 0), folder, self.folder / "log", {**keys, **OTHER}).start().end()
            told += ", over another result"
        for _ in range(self.random.choice((1, 1, 2))):
            by_event = self.random.random() < 0.5
            at = self.random.randint(1, events) if by_event else 0
            run = Run(self.source(end, 0), folder, self.folder / "log", keys, at).start()
            if not by_event:
                time.sleep(self.random.uniform(0.2, 1.05) * seconds)
                run.kill()
            run.end()
            told += f", event {at}" if by_event else ", by time"
            if owned_or_none(self.result(folder, end)) is False:
                self.count("kills", "wrong", f"{told}: after the kill a result lies there that is not known")
                return
        run = Run(self.source(end, 0), folder, self.folder / "log", keys).start()
        if status := run.end():
            self.count("kills", "refused" if status == 1 else "failed", f"{told}: {run.said}")
            self.faults.append(f"kills: the second run did not end well: {told}: {run.said}")
        elif self.check("kills", folder, end, {known}, told):
            self.count("kills", "right")

    def pair(self) -> None:
        """Two runs at once into one folder, and one more afterwards."""
        end = self.random.choice(FORMATS)
        kind = self.random.choice(("same settings", "other settings", "other image", "one is killed"))
        table, folder = f"pairs: {kind}", self.fresh("pair")
        jobs = []
        for number in range(2):
            keys: dict[str, Any] = {"streaming": self.random.random() < 0.5}
            keys |= OTHER if number and kind == "other settings" else {}
            image = int(number and kind == "other image")
            jobs.append((self.source(end, image), keys, self.reference(end, image, keys)))
        told = f"{end or 'DICOM'}, streamed {[job[1]['streaming'] for job in jobs]}"
        runs = []
        for number, (source, keys, _) in enumerate(jobs):
            runs.append(Run(source, folder, self.folder / f"log_{number}", keys).start())
            time.sleep(0 if number else self.random.choice((0, self.random.uniform(0, 1.1))) * jobs[0][2][1])
        if kind == "one is killed":
            time.sleep(self.random.uniform(0.1, 1) * jobs[0][2][1])
            runs[0].kill()
        status = [run.end() for run in runs]
        told += f", status {status}, said {[run.said for run, end in zip(runs, status, strict=True) if end]}"
        good = {job[2][0] for job, end in zip(jobs, status, strict=True) if end == 0}
        result = self.result(folder, end)
        if None in status:
            self.count(table, "failed", f"{told}: one hangs")
        elif any(end == 1 and not run.said.startswith("error: ") for run, end in zip(runs, status, strict=True)):
            self.count(table, "failed", f"{told}: no error in one line")
        elif good and not result.exists():
            self.count(table, "lost", told)
        elif good and content_hash(result) not in good:
            self.count(table, "wrong", told)
        elif kind == "other image" and status == [0, 0]:
            self.count(table, "lost", f"{told}: both claim success, and one result is there")
        elif not good and kind != "one is killed":
            self.count(table, "failed", f"{told}: neither has made a result")
        else:
            last = Run(jobs[1][0], folder, self.folder / "log", jobs[1][1]).start()
            after = last.end()
            allowed = {job[2][0] for job in jobs[:1]} if after and kind == "other image" else {jobs[1][2][0]}
            if after and kind != "other image":
                self.count(table, "failed", f"{told}, the next run: {last.said}")
            elif self.check(table, folder, end, allowed, told):
                self.count(table, "refused" if 1 in status else "right")

    def volumes(self, count: int, streaming: bool) -> list[str]:
        """One process translates many volumes; returns the row of the table."""
        table = f"volumes, {'streamed' if streaming else 'in memory'}"
        inputs, folder = self.fresh("in"), self.fresh("out")
        inputs.mkdir()
        ends = [FORMATS[number % len(FORMATS)] for number in range(count)]
        keys = {"streaming": streaming}
        known = [self.reference(end, 0, keys)[0] for end in dict.fromkeys(ends)]
        for number, end in enumerate(ends):
            source = self.source(end, 0)
            (shutil.copytree if source.is_dir() else shutil.copyfile)(source, inputs / f"scan_{number:04d}{end}")
        run = Run(inputs, folder, self.folder / "log", keys).start()
        seen: dict[int, tuple[float, int]] = {}
        while run.process.is_alive():
            done = len(list(folder.glob("*.provenance.json")))
            try:
                pages = int(Path(f"/proc/{run.process.pid}/statm").read_text().split()[1])
                files = len(list(Path(f"/proc/{run.process.pid}/fd").iterdir()))
                if pages:
                    seen[done] = pages * os.sysconf("SC_PAGESIZE") / 2**20, files
            except OSError:
                break
            time.sleep(0.1)
        status = run.end()
        results = sorted(path for path in folder.glob("**/*translated*") if not path.name.endswith(".json"))
        results = [path for path in results if not any(parent in results for parent in path.parents)]
        for path in results:
            end = next((e for e in FORMATS if e and path.name.endswith(e)), "")
            right = owned(path) is not None and (end == ".ome.zarr" or content_hash(path) in known)
            self.count(table, "right" if right else "wrong", str(path))
        for _ in range(count - len(results)):
            self.count(table, "lost", f"status {status}: {run.said}")
        for left in folder.glob("**/.part_*"):
            self.count(table, "left behind", str(left))
        early = max((number for number in seen if number <= 10), default=0)
        late = max(seen, default=0)
        first, last = (f"{seen[n][0]:.0f} MiB, {seen[n][1]}" if n in seen else "-" for n in (early, late))
        return [table, str(count), f"after {early}: {first}", f"after {late}: {last}"]


def owned_or_none(result: Path) -> bool | None:
    """Whether a result is known as the bundle's own; nothing if there is none."""
    return owned(result) is not None if result.exists() else None


def main(
    volumes: int = 200, kills: int = 300, pairs: int = 100, minutes: float = 60, seed: int = 0, tmp: str = ""
) -> None:
    """Print what became of all runs.

    Args:
        volumes: that one process translates, once in memory and once streamed.
        kills: runs that are killed.
        pairs: of runs at once.
        minutes: after which no other try is begun.
        seed: of what is drawn.
        tmp: a folder for what is written; by default the system's.
    """
    with tempfile.TemporaryDirectory(prefix="soak_", dir=tmp or None) as scratch:
        soak = Soak(Path(scratch).resolve(), seed, minutes)
        rows = [soak.volumes(volumes, streaming) for streaming in (False, True) if volumes]
        for count, one in ((kills, soak.kill), (pairs, soak.pair)):
            for _ in range(count):
                if soak.due():
                    break
                one()
    outcomes = ("right", "refused", "lost", "wrong", "unknown", "left behind", "failed")
    lines = [
        [name, str(sum(row.values())), *(str(row[kind]) for kind in outcomes)]
        for name, row in sorted(soak.counts.items())
    ]
    show([["tries", "number", *outcomes], ["---"] * (2 + len(outcomes)), *lines])
    if rows:
        show([["process", "volumes", "resident, open files", "at the end"], ["---"] * 4, *rows])
    for line in soak.faults:
        print(line)


if __name__ == "__main__":
    fire.Fire(main)
