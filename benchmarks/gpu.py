"""Measure the cascade on a GPU (`benchmarks/gpu.sh`), in rows that each run in a short process with a time limit.

The outcome of each row is appended to a JSON lines file, so that the same command continues where it was stopped;
finally, all outcomes are printed as the tables of `docs/benchmarks.md`. On a CPU and with small sides the same rows
take seconds: `benchmarks/gpu.sh --device cpu --side 48 --large 64`.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import signal
import traceback
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from time import monotonic
from typing import Any

from benchmarks.gpu_rows import VOLUMES, Setting, measured, rows, variants
from benchmarks.memory_training import Row, draw, table
from benchmarks.speed import SLIDING, show
from bundle import __version__
from bundle.runtime.commands import run_command

#: Time limits in seconds of rows that differ from `LIMIT`.
LIMITS = {"training": 150, "compile": 150, "streamed_large": 300, "sliding": 90}
LIMIT = 60
#: Text in a table for a missing outcome.
UNKNOWN = "not measured"

Outcomes = dict[str, dict[str, Any]]


def outcomes(file: Path, setting: Setting) -> Outcomes:
    """Return the last outcome of each row of a setting; an incomplete last line is ignored."""
    found: Outcomes = {}
    for line in file.read_text(encoding="utf-8").splitlines() if file.exists() else []:
        with suppress(json.JSONDecodeError):
            told = json.loads(line)
            if told["setting"] == asdict(setting):
                found[told["row"]] = told
    return found


def outcome(name: str, setting: Setting, limit: float, log: Path) -> dict[str, Any]:
    """Return the outcome of a row within a time limit; if it fails or is killed, the reason as ``error``.

    It is measured in a child process, forked from this one, which has imported everything but computed nothing.

    Args:
        name: name of the row.
        setting: settings of the measurement.
        limit: time limit in seconds.
        log: file to which its output is appended.
    """
    start, context = monotonic(), multiprocessing.get_context("fork")
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=_measure, args=(name, setting, there, log))
    process.start()
    there.close()
    told: dict[str, Any] = {"error": f"not done within {limit:.0f} s"}
    if here.poll(limit):
        try:
            told = here.recv()
        except EOFError:
            process.join()
            told = {"error": f"ended with status {process.exitcode}"}
    with suppress(ProcessLookupError):
        os.killpg(process.pid or 0, signal.SIGKILL)  # with its children
    process.kill()
    process.join()
    shutil.rmtree(Path(setting.folder) / VOLUMES, ignore_errors=True)
    return {**told, "took": monotonic() - start}


def _measure(name: str, setting: Setting, answer: Any, log: Path) -> None:
    os.setsid()
    with log.open("a", encoding="utf-8") as lines:
        print(f"--- {name} {setting}", file=lines, flush=True)
        os.dup2(lines.fileno(), 1)
        os.dup2(lines.fileno(), 2)
    try:
        answer.send(measured(name, setting))
    except Exception as error:
        traceback.print_exc()
        answer.send({"error": f"{type(error).__name__}: {' '.join(str(error).split())}"})


def run(
    file: Path, setting: Setting, names: Sequence[str], minutes: float, again: bool = False, limit: float | None = None
) -> Outcomes:
    """Measure the rows that have no outcome yet until the time is up; return all outcomes."""
    end, found = monotonic() + 60 * minutes, {} if again else outcomes(file, setting)
    file.parent.mkdir(parents=True, exist_ok=True)
    missing = [name for name in names if name not in found]
    for place, name in enumerate(missing):
        own, left = limit or LIMITS.get(name, LIMIT), end - monotonic()
        told = outcome(name, setting, min(own, left), file.with_suffix(".log")) if left > 0 else {}
        if not told or ("error" in told and left < own and told["took"] >= left):
            print(f"stopped after {minutes} minutes; the same command goes on with {', '.join(missing[place:])}")
            break
        found[name] = {"row": name, "setting": asdict(setting), "version": __version__, **told}
        with file.open("a", encoding="utf-8") as lines:
            lines.write(json.dumps(found[name]) + "\n")
        print(f"{name}: {told.get('error') or 'measured'}, {told['took']:.0f} s", flush=True)
    return found


def cells(found: dict[str, Any] | None, keys: Sequence[str]) -> list[str]:
    """Return the cells of an outcome: its values, the error of a failed row, or that the row was not measured."""
    if found is None or "error" in found:
        return [UNKNOWN if found is None else f"failed: {found['error'][:80]}", *["-"] * (len(keys) - 1)]
    return [f"{found[key]:.3g}" if key in found else "-" for key in keys]


def tables(found: Outcomes, setting: Setting) -> None:
    """Print all tables with the outcomes so far."""
    keys: Sequence[str] = ("seconds", "networks", "first", "allocated", "reserved", "difference")
    side, large = setting.side, setting.large
    head = [f"{side}^3", "seconds", "in networks", "first turn", "GiB allocated", "GiB reserved", "HU from as shipped"]
    lines = [head, ["---"] * len(head)]
    lines += [[each.title, *cells(found.get(name), keys)] for name, each in variants().items()]
    lines.append([SLIDING, *cells(found.get("sliding"), keys)])
    show(lines)

    lines = [["scale", "seconds", "without halo", "share of the limit"], ["---"] * 4]
    shares = found.get("share")
    if shares is None or "error" in shares:
        lines.append(["all", *cells(shares, ("seconds", "limit", "share"))])
    else:
        for name, own, bound in [
            *((str(i), *pair) for i, pair in enumerate(zip(shares["scales"], shares["limit"], strict=True))),
            ("all", sum(shares["scales"]), sum(shares["limit"])),
        ]:
            lines.append([name, f"{own:.3f}", f"{bound:.3f}", f"{bound / own:.0%}"])
    show(lines)

    head = ["file to file, streamed", "seconds", "GiB allocated", "GiB reserved", "GiB of the host above idle"]
    keys = ("seconds", "allocated", "reserved", "host")
    lines = [head, ["---"] * len(head)]
    for name, number in (("streamed", side), ("streamed_large", large)):
        lines.append([f"{number}^3", *cells(found.get(name), keys)])
    show(lines)

    trained = found.get("training")
    if trained is None or "error" in trained:
        show([["Fig. 2", "GiB"], ["---"] * 2, ["measured", *cells(trained, ("GiB",))]])
    else:
        print(table([Row(**row) for row in trained["rows"]]) + "\n")
    made = (told for told in found.values() if "torch" in told)
    print(*sorted({f"{told['device']}, torch {told['torch']}, CUDA {told['cuda']}" for told in made}))


def main(
    device: str = Setting.device,
    side: int = Setting.side,
    large: int = Setting.large,
    minutes: float = 9,
    only: str | Sequence[str] | None = None,
    again: bool = False,
    limit: float | None = None,
    outcomes_file: str = "output/benchmarks/gpu.jsonl",
    figure: str = "output/benchmarks/memory_training_gpu.png",
    tile_size: int | None = Setting.tile_size,
    backend: str = Setting.backend,
    turns: int = Setting.turns,
    folder: str = Setting.folder,
) -> None:
    """Measure what has no outcome yet, and print the tables.

    Args:
        device: ``cuda`` or ``cpu``.
        side: side of the volume in voxels.
        large: side of the larger volume, which is streamed.
        minutes: minutes after which no row is started and the current one is killed; 0 only prints the tables.
        only: the rows to measure, one or a list; null for all.
        again: also measure rows that have an outcome.
        limit: time limit of a row in seconds; null for its own limit.
        outcomes_file: JSON lines file to which each outcome is appended.
        figure: file of Fig. 2, drawn if its row is measured.
        tile_size: side of a tile in voxels, instead of that from the budget.
        backend: backend of `torch.compile`.
        turns: number of runs, of which the shortest counts.
        folder: folder for volumes on disk, which are removed again: about 20 GiB with a side of 1024.

    Raises:
        ValueError: If a row is unknown.
    """
    setting = Setting(device, side, large, tile_size, backend, turns, folder)
    known = list(rows(setting))
    names = known if only is None else [only] if isinstance(only, str) else list(only)
    if strange := [name for name in names if name not in known]:
        raise ValueError(f"row {strange[0]!r} is not known; take one of {', '.join(known)}.")
    tables(run(Path(outcomes_file), setting, names, minutes, again, limit), setting)
    trained = outcomes(Path(outcomes_file), setting).get("training", {})
    if "rows" in trained:
        title = f"one step in 3D, batch 1, float32: counted (line), measured on {trained['device']} (cross)"
        draw(Path(figure), [Row(**each) for each in trained["rows"]], title)


if __name__ == "__main__":
    run_command(main)
