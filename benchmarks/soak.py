"""Soak test of many runs, killed runs, and simultaneous runs: every result must be right, and nothing left behind.

::

    volumes    one process translates many small volumes: memory, open files, every result
    kills      a run is killed, and the same command is run again
    pairs      two simultaneous runs write into one folder

Each run does the same as ``python -m monai.bundle run inference``, in a forked child of a process that has imported
everything; the networks are those of `small_network.json`, with weights drawn by a seed. A result is right if it equals
that of an undisturbed run byte by byte. Each try is drawn by its number; its outcome is appended to a JSON lines file,
and the same command continues from there, as long as the bundle's code is the same::

    python -m benchmarks.soak --volumes 200 --kills 300 --pairs 100 --outcomes output/soak.jsonl
"""

from __future__ import annotations

import hashlib
import json
import random
import shutil
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from benchmarks.forking import forked
from benchmarks.soak_runs import ROOT, Run, write_volume
from benchmarks.speed import show
from bundle.images.provenance import content_hash, owned, provenance_path
from bundle.runtime.commands import run_command

#: A format whose results contain their name, except in the array of voxels.
ZARR = ".ome.zarr"
#: Formats of volumes, by suffix; DICOM series have none.
FORMATS = (".nii", ".nii.gz", ".mha", ".nrrd", ZARR, "")
#: Settings that give a different result.
OTHER = {"edges": [20.0, 60.0]}
#: Possible outcomes of a try; the first two are correct, except that a run after a kill must not be refused.
OUTCOMES = ("right", "refused", "lost", "wrong", "unknown", "left behind", "failed")


@cache
def code() -> str:
    """Return a hash of the code and configs that the runs use."""
    made = [*(ROOT / "bundle").rglob("*.py"), *(ROOT / "configs").glob("*.json"), *ROOT.glob("benchmarks/soak*.py")]
    return hashlib.sha256(b"".join(file.read_bytes() for file in sorted(made))).hexdigest()[:12]


class Soak:
    """Runs the tries in a folder.

    Args:
        folder: folder for sources, results and logs.
        seed: seed of the tries.
        minutes: minutes after which no further try is started.
        record: JSON lines file to which the outcome of each try is appended.
    """

    def __init__(self, folder: Path, seed: int, minutes: float, record: Path) -> None:
        self.folder, self.seed, self.end = folder, seed, time.monotonic() + 60 * minutes
        self.record, self.name, self.random = record, "", random.Random(seed)
        self._known: dict[Any, tuple[str, float, int]] = {}
        self._inner: dict[Any, str] = {}

    def source(self, end: str, seed: int) -> Path:
        """Return a volume of a format, written if missing; different seeds have the same name in different folders."""
        path = self.folder / f"source_{seed}{end or '_dicom'}" / f"scan{end}"
        if not path.exists():
            forked(write_volume, path, seed)
        return path

    def result(self, folder: Path, end: str) -> Path:
        """Return the path of the result for such a volume."""
        return folder / f"scan_translated{end}"

    def reference(self, end: str, seed: int, keys: Mapping[str, Any]) -> tuple[str, float, int]:
        """Return hash of the result, seconds, and number of file system events of an undisturbed run."""
        key = end, seed, str(keys)
        if key not in self._known:
            folder = self.fresh("reference")
            run = Run(self.source(end, seed), folder, self.folder / "log", keys).start()
            if run.end():
                raise RuntimeError(f"an undisturbed run failed: {run.said}")
            result = self.result(folder, end)
            self._known[key] = content_hash(result), run.seconds, run.events
            self._inner[key] = content_hash(result / "0") if end == ZARR else ""
        return self._known[key]

    def fresh(self, name: str) -> Path:
        """Return a folder that does not exist; it is removed if necessary."""
        shutil.rmtree(self.folder / name, ignore_errors=True)
        return self.folder / name

    def left(self, folder: Path, end: str) -> list[str]:
        """List what a folder contains besides a result and its provenance."""
        result = self.result(folder, end)
        kept = {result.name, provenance_path(result).name}
        return sorted(entry.name for entry in folder.iterdir() if entry.name not in kept)

    def begin(self, name: str) -> bool:
        """Begin a try, whose name seeds all that is drawn; return False if it is already done or the time is up."""
        self.name, self.random = name, random.Random(f"{self.seed}/{name}")
        return not self.due() and name not in {one["try"] for one in self.done()}

    def done(self) -> list[dict[str, str]]:
        """Return the outcomes of the tries with this seed and this code."""
        lines = self.record.read_text(encoding="utf-8").splitlines() if self.record.exists() else []
        told = [json.loads(line) for line in lines]
        return [one for one in told if (one["code"], one["seed"]) == (code(), self.seed)]

    def count(self, table: str, outcome: str, told: str = "") -> None:
        """Record the outcome of a try."""
        line = {"code": code(), "seed": self.seed, "try": self.name, "table": table, "outcome": outcome, "told": told}
        with self.record.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    def due(self) -> bool:
        """Return whether the time is up."""
        return time.monotonic() > self.end

    def check(self, table: str, folder: Path, end: str, expected: set[str], told: str) -> bool:
        """Return whether a result is one of those expected, recognized as the bundle's own, and alone in its folder."""
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
        """Kill a run once or twice, by time or at an event, then run it to its end."""
        end, streaming = self.random.choice(FORMATS), self.random.random() < 0.5
        keys = {"streaming": streaming}
        known, seconds, events = self.reference(end, 0, keys)
        folder, told = self.fresh("killed"), f"{end or 'DICOM'}, {'streamed' if streaming else 'in memory'}"
        if self.random.random() < 0.3:  # over an earlier result of the same image with other settings
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
        elif self.check("kills", folder, end, {known}, told):
            self.count("kills", "right")

    def pair(self) -> None:
        """Run two translations at once into one folder, and one more afterwards."""
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

    def volumes(self, count: int, streaming: bool) -> None:
        """Translate many volumes in one process."""
        table = f"volumes, {'streamed' if streaming else 'in memory'}"
        inputs, folder = self.fresh("in"), self.fresh("out")
        inputs.mkdir()
        ends = [FORMATS[number % len(FORMATS)] for number in range(count)]
        keys = {"streaming": streaming}
        known = {self.reference(end, 0, keys)[0] for end in ends}
        known |= {self._inner[end, 0, str(keys)] for end in ends if end == ZARR}
        for number, end in enumerate(ends):
            source = self.source(end, 0)
            (shutil.copytree if source.is_dir() else shutil.copyfile)(source, inputs / f"scan_{number:04d}{end}")
        run = Run(inputs, folder, self.folder / "log", keys).start()
        seen = run.watched(lambda: len(list(folder.glob("*.provenance.json"))))
        status = run.end()
        results = sorted(path for path in folder.glob("**/*translated*") if not path.name.endswith(".json"))
        results = [path for path in results if not any(parent in results for parent in path.parents)]
        for path in results:
            end = next((e for e in FORMATS if e and path.name.endswith(e)), "")
            right = owned(path) is not None and content_hash(path / "0" if end == ZARR else path) in known
            self.count(table, "right" if right else "wrong", str(path))
        for _ in range(count - len(results)):
            self.count(table, "lost", f"status {status}: {run.said}")
        for left in folder.glob("**/.*"):
            self.count(table, "left behind", str(left))
        early = max((number for number in seen if number <= 10), default=0)
        late = max(seen, default=0)
        first, last = (f"{seen[n][0]:.0f} MiB, {seen[n][1]}" if n in seen else "-" for n in (early, late))
        self.count(table, "memory", f"after {early}: {first} | after {late}: {last}")


def owned_or_none(result: Path) -> bool | None:
    """Return whether a result is recognized as the bundle's own; None if there is no result."""
    return owned(result) is not None if result.exists() else None


def main(
    volumes: int = 200,
    kills: int = 300,
    pairs: int = 100,
    minutes: float = 60,
    seed: int = 0,
    outcomes: str = "",
    tmp: str = "",
) -> None:
    """Print the outcomes of all runs.

    Args:
        volumes: number of volumes that one process translates, once in memory and once streamed.
        kills: number of runs that are killed.
        pairs: number of pairs of simultaneous runs.
        minutes: minutes after which no further try is started.
        seed: seed of the tries.
        outcomes: JSON lines file to which the outcome of each try is appended; tries recorded there with the same code
            are not repeated. Empty for none.
        tmp: folder for all files; by default the system's temporary folder.
    """
    with tempfile.TemporaryDirectory(prefix="soak_", dir=tmp or None) as scratch:
        folder = Path(scratch).resolve()
        record = Path(outcomes).absolute() if outcomes else folder / "outcomes.jsonl"
        record.parent.mkdir(parents=True, exist_ok=True)
        soak = Soak(folder, seed, minutes, record)
        for streaming in (False, True):
            if volumes and soak.begin(f"{volumes} volumes, {'streamed' if streaming else 'in memory'}"):
                soak.volumes(volumes, streaming)
        for name, count, one in (("kill", kills, soak.kill), ("pair", pairs, soak.pair)):
            for number in range(count):
                if soak.begin(f"{name} {number}"):
                    one()
        report(soak.done())


def report(done: list[dict[str, str]]) -> None:
    """Print the tables of outcomes, and what went wrong."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for one in done:
        if one["outcome"] in OUTCOMES:
            counts[one["table"]][one["outcome"]] += 1
    rows = [
        [name, str(sum(row.values())), *(str(row[kind]) for kind in OUTCOMES)] for name, row in sorted(counts.items())
    ]
    show([["tries", "number", *OUTCOMES], ["---"] * (2 + len(OUTCOMES)), *rows])
    if memory := [
        [one["table"].removeprefix("volumes, "), *one["told"].split(" | ")]
        for one in done
        if one["outcome"] == "memory"
    ]:
        show([["process", "resident, open files", "at the end"], ["---"] * 3, *memory])
    for one in done:
        if one["outcome"] in OUTCOMES[2:] or (one["outcome"], one["table"]) == ("refused", "kills"):
            print(f"{one['try']}: {one['table']}: {one['outcome']}: {one['told']}")


if __name__ == "__main__":
    run_command(main)
