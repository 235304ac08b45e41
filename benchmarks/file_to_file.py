"""Measure how much reading, matching and writing add to the networks' time from file to file, by format.

Each row is a fresh process that runs the complete `configs/inference.json` on one phantom, in memory or streamed;
imports and building before the first image are not counted. The networks' time is that of the same volume in memory, in
the same processes::

    python -m benchmarks.file_to_file --side 512
"""

from __future__ import annotations

import math
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import perf_counter, process_time
from typing import Any

from monai.bundle import ConfigWorkflow
from torch import Tensor

from benchmarks.memory_inference import workflow_arguments
from benchmarks.plan import make
from benchmarks.speed import SPACING, show
from bundle.cascade import CascadeInferer
from bundle.evaluation.methods import alone
from bundle.runtime.commands import run_command

#: Names of the sources, which tell their formats.
SOURCES = ("volume.nii", "volume.nii.gz", "series")


@dataclass(frozen=True)
class Taken:
    """Seconds of one translation: before the cascade, in the cascade, after it, and of processor time."""

    before: float
    cascade: float
    after: float
    processor: float

    @property
    def all(self) -> float:
        """Seconds from the start of the first image to the end."""
        return self.before + self.cascade + self.after


def translate(image: str, folder: str, budget: str, keys: dict[str, Any]) -> Taken:
    """Translate an image in this process."""
    workflow = ConfigWorkflow(**workflow_arguments(image, folder, (False, budget, None), keys))
    workflow.initialize()
    workflow.parser.get_parsed_content("evaluator")
    marks, own = [], CascadeInferer.__call__

    def marked(self: CascadeInferer, *arguments: Any, **named: Any) -> Tensor:
        marks.append(perf_counter())
        result: Tensor = own(self, *arguments, **named)
        marks.append(perf_counter())
        return result

    CascadeInferer.__call__ = marked  # type: ignore[method-assign]
    start, busy = perf_counter(), process_time()
    workflow.run()
    end, busy = perf_counter(), process_time() - busy
    return Taken(marks[0] - start, marks[1] - marks[0], end - marks[1], busy)


def main(
    side: int = 512,
    sources: Sequence[str] | str = SOURCES,
    streaming: Sequence[bool] | bool = (False, True),
    turns: int = 1,
    budget: str = "2GiB",
    folder: str | None = None,
    **keys: Any,
) -> None:
    """Print the table.

    Args:
        side: side of the volume in voxels.
        sources: files to write and read.
        streaming: whether the scales are kept on disk; a row for each value.
        turns: number of runs of each row, alternating between rows; medians are printed.
        budget: `memory_budget`.
        folder: folder for the files, about 12 bytes per voxel.
        keys: keys of `configs/inference.json` for all rows.
    """
    names = [sources] if isinstance(sources, str) else list(sources)
    ways = [streaming] if isinstance(streaming, bool) else list(streaming)
    taken: dict[tuple[str, bool], list[Taken]] = {}
    with tempfile.TemporaryDirectory(dir=folder) as place:
        for name in names:
            make(f"{place}/{name}", (side,) * 3, SPACING)
        for _ in range(turns):
            for row in [(name, way) for name in names for way in ways]:
                result = Path(place, "results")
                more = {**keys, "streaming": row[1]}
                taken.setdefault(row, []).append(alone(translate, f"{place}/{row[0]}", str(result), budget, more))
                print(*row, taken[row][-1], flush=True)
                shutil.rmtree(result)
    in_memory = [each.cascade for (_, way), runs in taken.items() if not way for each in runs]
    networks = median(in_memory) if in_memory else math.nan
    rows = [["source", "scales", "seconds", "before", "cascade", "after", "processor seconds", "times the networks"]]
    rows.append(["---"] * len(rows[0]))
    for (name, way), runs in taken.items():
        numbers = [median(getattr(each, part) for each in runs) for part in ("all", "before", "cascade", "after")]
        busy = median(each.processor for each in runs)
        told = [f"{number:.1f}" for number in (*numbers, busy)]
        rows.append([name, "on disk" if way else "in memory", *told, f"{numbers[0] / networks:.2f}"])
    show(rows)
    print(f"networks alone, in memory: {networks:.1f} s")


if __name__ == "__main__":
    run_command(main)
