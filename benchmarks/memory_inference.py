"""Measure the peak memory of inference by volume size: the complete `configs/inference.json`, from file to file.

Each cell is a fresh process. Its peak resident memory is counted above that of a process that only imports what is
needed and builds the network; on a GPU, the allocator's peak is shown next to it.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from monai.bundle import ConfigWorkflow
from monai.inferers import Inferer, PatchInferer, SlidingWindowSplitter, ZarrAvgMerger
from torch import Tensor

from benchmarks.speed import show
from bundle.cascade import footprint, on_meta, plan_tiles
from bundle.evaluation.methods import Windowed, WindowInferer, alone, peak_memory
from bundle.examples.phantom.__main__ import write
from bundle.geometry import pyramid, shapes, spacing_of
from bundle.runtime import parse_bytes
from bundle.runtime.commands import run_command

ROOT = Path(__file__).parents[1]
SMALL = ROOT / "benchmarks" / "small_network.json"


class MergedOnDisk(Inferer):
    """Run a cascade by MONAI's `PatchInferer`: overlapping windows are averaged in a zarr array, the result."""

    def __call__(self, inputs: Tensor, network: Callable[..., Tensor], *args: Any, **kwargs: Any) -> Tensor:
        """Translate `(1, 1, *spatial)`; the input is returned, because nothing here would write a zarr array."""
        spacing = spacing_of(inputs, 3)
        plain = torch.as_tensor(inputs).as_subclass(Tensor).float()
        sides = [min(Windowed.side, side) for side in plain.shape[2:]]
        with tempfile.TemporaryDirectory() as folder:
            splitter = SlidingWindowSplitter(sides, Windowed.overlap / Windowed.side)
            stores: dict[str, Any] = {name: f"{folder}/{name}.zarr" for name in ("store", "value_store", "count_store")}
            merged = PatchInferer(splitter, ZarrAvgMerger, preprocessing=None, **stores)
            merged(plain, lambda window: network(window, spacing=spacing))
        return plain


#: Methods to compare: keys of the config, and the inferer if it is not the config's.
METHODS: dict[str, tuple[dict[str, Any], Inferer | None]] = {
    "ours, streamed": ({"streaming": True}, None),
    "ours, in memory": ({}, None),
    "MONAI SlidingWindowInferer": ({}, WindowInferer(Windowed.side, Windowed.overlap, Windowed.translate)),
    "MONAI PatchInferer, ZarrAvgMerger": ({}, MergedOnDisk()),
}


#: Whether to use the small network; the memory budget; the tile size.
Settings = tuple[bool, str, int | None]


def workflow_arguments(image: str, folder: str, settings: Settings, keys: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments of a workflow for one image."""
    small, budget, tile_size = settings
    files = [str(ROOT / "configs" / "inference.json"), *([str(SMALL)] if small else [])]
    return {
        "config_file": files,
        "workflow_type": "infer",
        "bundle_root": str(ROOT),
        "dataset_dir": image,
        "output_dir": folder,
        "memory_budget": budget,
        "tile_size": tile_size,
        **keys,
    }


def idle(image: str, folder: str, settings: Settings) -> tuple[float, float, float]:
    """Return the peak bytes of a process that has built everything but translates nothing."""
    workflow = ConfigWorkflow(**workflow_arguments(image, folder, settings, {"streaming": True}))
    workflow.initialize()
    workflow.parser.get_parsed_content("evaluator")
    return float(peak_memory()), 0.0, 0.0


def translate(
    image: str, folder: str, method: str, settings: Settings, more: dict[str, Any] | None = None
) -> tuple[float, float, float]:
    """Return peak bytes of the host and of the GPU, and seconds, of one translation.

    Args:
        image: path of the image.
        folder: folder of the results.
        method: one of `METHODS`.
        settings: see `Settings`.
        more: further keys of the config.
    """
    keys, inferer = METHODS[method]
    keys = {**keys, **(more or {})}
    workflow = ConfigWorkflow(**workflow_arguments(image, folder, settings, keys))
    workflow.initialize()
    if inferer is not None:
        workflow.parser["inferer"] = inferer
    start = perf_counter()
    workflow.run()
    gpu = float(torch.cuda.max_memory_allocated()) if torch.cuda.is_available() else 0.0
    return float(peak_memory()), gpu, perf_counter() - start


def measured(function: Callable[..., tuple[float, float, float]], *arguments: Any) -> tuple[float, float, float]:
    """Return the measurements of a function in a fresh process; NaN if memory does not suffice."""
    try:
        return alone(function, *arguments)
    except (torch.OutOfMemoryError, BrokenProcessPool, MemoryError):
        return math.nan, math.nan, math.nan


def counted(sides: Sequence[int], settings: Settings) -> list[list[str]]:
    """Return rows with the minimum memory in float32, only counted, for sides that are too large to measure."""
    _, budget, tile_size = settings
    workflow = ConfigWorkflow(**workflow_arguments("", "", settings, {}))
    workflow.initialize()
    cascade = workflow.parser.get_parsed_content("network_def")
    network = on_meta(cascade)
    window = footprint(network, (1, 1, *[Windowed.side] * 3)).peak
    columns = []
    for side in sides:
        grids = shapes((side,) * 3, pyramid([0.7] * 3, cascade.num_scales - 1))
        plans = plan_tiles(cascade, grids, 1, tile_size, parse_bytes(budget), on_disk=True)
        reads = ([core + 2 * halo for core, halo in zip(plan.core, plan.halo, strict=True)] for plan in plans[1:])
        work = max(footprint(network, (1, 2, *read), scale=scale).peak for scale, read in enumerate(reads, 1))
        whole, scales = 4 * side**3, 4 * sum(map(math.prod, grids))
        columns.append((work, 2 * scales + work, 3 * whole + window))
    parts = "a tile", "all scales and a tile", "image, sum, count and a window"
    names = [f"{method}: {part}" for method, part in zip(METHODS, parts, strict=False)]
    rows = zip(names, zip(*columns, strict=True), strict=True)
    head = ["GiB, counted", *(f"{side}^3" for side in sides)]
    return [head, ["---"] * len(head), *([name, *(f"{size / 2**30:.2f}" for size in row)] for name, row in rows)]


def main(
    sides: Sequence[int] = (128, 256, 512),
    small: bool = False,
    budget: str = "500MiB",
    methods: Sequence[str] = tuple(METHODS),
    most: int = 512,
    tile_size: int | None = None,
    paper: Sequence[int] = (512, 1024, 2048),
    figure: str = "output/benchmarks/memory_inference.png",
) -> None:
    """Print the table and write the figure.

    Args:
        sides: sides of the volumes, phantoms of int16 in ``.nii``.
        small: whether to use `benchmarks/small_network.json`, untrained, instead of the shipped networks.
        budget: `memory_budget` of our methods.
        methods: methods to measure.
        tile_size: tile size of our methods, instead of that from the budget, which varies slightly with the volume.
        most: largest side for methods that keep the volume in memory.
        paper: sides for which the bytes are only counted.
        figure: PNG file to write.
    """
    sides = [sides] if isinstance(sides, int) else list(sides)
    settings = (small, budget, tile_size)
    peaks: dict[str, list[float]] = {}
    lines = [["GiB above idle (seconds)", *(f"{side}^3" for side in sides)]]
    lines.append(["---"] * len(lines[0]))
    with tempfile.TemporaryDirectory(dir=Path(figure).parent if Path(figure).parent.exists() else None) as folder:
        images = [write(f"{folder}/{side}.nii", (side,) * 3, (0.7, 0.7, 0.7), noise=30.0) for side in sides]
        base = measured(idle, images[0], f"{folder}/out", settings)[0]
        for method in methods:
            cells, peaks[method] = [], []
            for side, image in zip(sides, images, strict=True):
                if "streamed" not in method and side > most:
                    host, gpu, seconds = math.nan, math.nan, math.nan
                else:
                    host, gpu, seconds = measured(translate, image, f"{folder}/out_{side}", method, settings)
                peaks[method].append((host - base) / 2**30)
                device = f", {gpu / 2**30:.2f} of the GPU" if gpu else ""
                cells.append("-" if math.isnan(host) else f"{(host - base) / 2**30:.2f}{device} ({seconds:.0f} s)")
            lines.append([method, *cells])
    show(lines)
    setting = f"tile {tile_size}" if tile_size else f"memory_budget {budget}"
    print(f"idle: {base / 2**30:.2f} GiB; {setting}; {torch.get_num_threads()} threads\n")
    show(counted(paper, settings))
    draw(Path(figure), sides, peaks)


def draw(path: Path, sides: Sequence[int], peaks: dict[str, list[float]]) -> None:
    """Draw the memory of all methods, and the size of the volume itself."""
    figure = Figure((6.4, 4.4), layout="constrained")
    axes = figure.subplots()
    for method, values in peaks.items():
        axes.plot(sides, values, "o-", label=method)
    axes.plot(sides, 2 * np.array(sides, float) ** 3 / 2**30, ":", color="grey", label="the volume itself, int16")
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xticks(list(sides), [str(side) for side in sides])
    axes.set_xlabel("side of the volume, voxels")
    axes.set_ylabel("peak memory above idle, GiB")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    run_command(main)
