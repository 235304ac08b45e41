"""Compare time, memory, seams and errors of ours, MONAI, nnU-Net and KonfAI, running one network over one volume.

`benchmarks.peers_methods` has the methods. Each runs in a fresh process, one after the other; only ratios are
meaningful. The common inputs (sketch, image and previous scale of the finest scale) are made once; the reference is the
unpadded network on the whole volume. Linux only: other systems cannot reset the peak memory of a process.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from time import perf_counter, process_time
from typing import Any, TypeVar

import numpy as np
import torch
from matplotlib.figure import Figure
from monai.utils import ensure_tuple_rep
from torch import Tensor

from benchmarks.pairs import InMemory
from benchmarks.peers_methods import (
    CONDITIONS,
    DATASET,
    SCRATCH,
    Faces,
    Finest,
    Method,
    Settings,
    finest,
    konfai,
    monai,
    nnunet,
    ours,
    ours_on_disk,
    plan,
)
from benchmarks.speed import SPACING, shipped, show, volume
from bundle.cascade import CascadeInferer
from bundle.cascade.scratch import create_array, open_group
from bundle.evaluation.metrics import jumps, seam
from bundle.geometry import crop, extend, pyramid, region, tiles, upsample
from bundle.runtime import host_memory
from bundle.runtime.commands import run_command

T = TypeVar("T")
#: Number of slices at once for methods that take whole slices.
SLICES = 8
#: Number of slices of the conditions that are made at once.
SLAB = 32
#: Smallest side in voxels for a comparison.
LEAST = 8
#: Overlap of KonfAI's patches, the network's reach on both sides; the slice axis comes first.
EXACT = (0, 24, 24)
METHODS = (
    Method("ours", "tiles from memory_budget", ours),
    Method("ours, on disk", "the same, from and to zarr arrays", ours_on_disk, "zarr"),
    Method("MONAI", "overlap 25 %, constant", monai),
    Method("MONAI, Gaussian", "overlap 50 %, gaussian", monai, options={"overlap": 0.5, "mode": "gaussian"}),
    Method("MONAI, buffered", "overlap 25 %, constant, buffer_steps 1", monai, options={"buffer_steps": 1}),
    Method("MONAI, slices", f"{SLICES} whole slices, no overlap", monai, options={"slices": SLICES, "overlap": 0.0}),
    Method("nnU-Net", "tile_step_size 0.5, Gaussian", nnunet, "nnunetv2"),
    Method(
        "nnU-Net, slices",
        f"{SLICES} whole slices, tile_step_size 1, no Gaussian",
        nnunet,
        "nnunetv2",
        {"slices": SLICES, "step": 1.0, "gaussian": False},
    ),
    Method("KonfAI", "overlap 20 %, Cosinus", konfai, "konfai"),
    Method("KonfAI, Trim", "overlap 24 in the slice, Trim", konfai, "konfai", {"overlap": EXACT, "combine": "Trim"}),
    Method(
        "KonfAI, slices",
        f"{SLICES} whole slices, no overlap",
        konfai,
        "konfai",
        {"slices": SLICES, "overlap": (0, 0, 0), "combine": None},
    ),
)
NAMES = tuple(method.name for method in METHODS)
WHOLE, RESULT = "whole.npy", "measured.npy"


@dataclass(frozen=True)
class Measured:
    """Measurements of one method.

    Args:
        seconds: wall time of the work alone.
        busy: processor time of all threads together.
        host: peak resident memory in bytes above that of the process after building everything.
        device: PyTorch's peak memory on the GPU in bytes; 0 on a CPU.
        faces: where its windows meet.
    """

    seconds: float
    busy: float
    host: float
    device: float
    faces: Faces


def fresh(function: Callable[..., T], *arguments: Any) -> T:
    """Call a function in a new process that has imported everything but done nothing; return its return value."""
    context = get_context("forkserver")
    context.set_forkserver_preload(["benchmarks.peers_methods", "benchmarks.seams"])
    threads = (torch.get_num_threads(),)
    with ProcessPoolExecutor(1, context, torch.set_num_threads, threads) as pool:
        return pool.submit(function, *arguments).result()


def prepare(folder: Path, shape: Sequence[int], settings: Settings, on_disk: bool, as_mha: bool) -> None:
    """Write the conditions of a phantom's finest scale, and the result of the network on the whole volume."""
    torch.set_grad_enabled(False)
    cascade, window = shipped()
    image = volume(shape, window)
    previous = CascadeInferer(progress=False, scales=cascade.num_scales - 1)(image, cascade)
    fine = upsample(previous, pyramid([SPACING] * 3, cascade.num_scales - 1)[0])
    parts = torch.empty((1, 3, *shape))
    parts[:, 2:] = fine[region(tuple(map(slice, shape)))]
    plain, margin = image.as_subclass(Tensor), cascade.margin
    for tile in tiles(shape, [*shape[:-1], min(SLAB, shape[-1])], margin):
        block = extend(plain[region(tile.read)], *([side[end] for side in tile.pad] for end in (0, 1)))
        parts[region((slice(0, 2), *tile.write))] = torch.cat(cascade.conditions(block, True), 1)[region(tile.keep)]
    np.save(folder / CONDITIONS, parts[0].numpy())
    network = Finest(cascade, padded=False, half=settings.half).eval()
    np.save(folder / WHOLE, network(extend(parts, network.reach, network.reach))[0, 0].numpy())
    if on_disk:
        group = open_group(folder / SCRATCH, {})
        chunks = plan(cascade, shape, settings, on_disk=True).chunks
        for channel in range(3):
            create_array(group, f"condition_{channel}", shape, chunks)
            _zarr(group / f"condition_{channel}")[...] = parts[0, channel].numpy()
    if as_mha:
        import SimpleITK as sitk  # noqa: N813

        case = folder / DATASET / "case"
        case.mkdir(parents=True)
        sitk.WriteImage(sitk.GetImageFromArray(parts[0].permute(3, 2, 1, 0).numpy(), isVector=True), case / "C.mha")


def _zarr(path: Path) -> Any:
    import zarr

    return zarr.open_array(store=str(path), mode="r+")


def measure(method: Method, folder: Path, shape: Sequence[int], settings: Settings) -> Measured:
    """Build a method, run it once, and write its result to the folder."""
    torch.set_grad_enabled(False)
    work = method.build(folder, shape, settings, **method.options)
    # libraries initialize on the first call
    finest(settings, padded=False)(torch.zeros((1, 3, 64, 64, 8), device=settings.device))
    base = host_memory.resident_memory() or math.nan
    with suppress(OSError):  # Linux: reset the peak memory
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    inputs = work.load()
    start, busy = perf_counter(), process_time()
    result = work.run(inputs)
    seconds, busy = perf_counter() - start, process_time() - busy
    host = (host_memory.peak_memory() or math.nan) - base
    device = float(torch.cuda.max_memory_allocated()) if settings.device != "cpu" else 0.0
    np.save(folder / RESULT, work.fetch(result))
    return Measured(seconds, busy, host, device, work.faces)


def compared(folder: Path, faces: Faces) -> tuple[float, float, float]:
    """Return the largest and the mean difference from the whole result, in HU, and the seam metric.

    The image's border is left out by the network's reach: there a padded network sees zeros, and ours sees the border
    repeated.
    """
    cascade, window = shipped()
    reach, hu = Finest(cascade, padded=False).reach, (window[1] - window[0]) / 2
    result, whole = (torch.from_numpy(np.load(folder / name, mmap_mode="r+")) for name in (RESULT, WHOLE))
    inner, target = (crop(part[None, None], reach)[0, 0] for part in (result, whole))
    difference = (inner - target).abs_() * hu
    own, beside = (jumps(InMemory((part + 1) * hu + window[0], (SPACING,) * 3)) for part in (inner, target))
    moved = [[face - side for face in axis] for axis, side in zip(faces, reach, strict=True)]
    return float(difference.max()), float(difference.mean()), seam(own, beside, moved)


def cells(method: Method, folder: Path, shape: Sequence[int], settings: Settings) -> tuple[list[str], Measured | None]:
    """Return the cells of a method's row, and the measurements; if a method cannot run, the cells say why."""
    if not method.installed:
        return [f"skipped: {method.needs} is not installed", *["-"] * 6], None
    try:
        measured = fresh(measure, method, folder, shape, settings)
    except Exception as error:  # the table shows whatever a peer raises
        lines = str(error).strip().splitlines() or [""]
        return [f"cannot: {type(error).__name__}: {lines[0]}".replace("|", "/"), *["-"] * 6], None
    largest, mean, seams = compared(folder, measured.faces)
    (folder / RESULT).unlink()
    device = f"{measured.device / 2**30:.2f}" if measured.device else "not measured"
    row = [f"{measured.seconds:.1f}", f"{measured.busy:.1f}", f"{measured.host / 2**30:.2f}", device]
    return [*row, f"{largest:.2g}", f"{mean:.2g}", "-" if math.isnan(seams) else f"{seams:.3f}"], measured


def main(
    sides: Any = (256, (512, 512, 300)),
    methods: Sequence[str] | str = NAMES,
    window: int = 128,
    budget: str = "2GiB",
    amp: bool = False,
    device: str = "cpu",
    folder: str = "output/benchmarks",
    figure: str = "output/benchmarks/peers.png",
) -> None:
    """Print a table for each volume and write the figure.

    Args:
        sides: sides of the volumes: one number, or one or several of numbers and triples.
        methods: names of the methods.
        window: side of the peers' windows in voxels, at most half of the volume's shortest side.
        budget: `memory_budget` of ours; KonfAI has one, too.
        amp: whether the network computes in bfloat16, for all methods.
        device: ``cpu`` or ``cuda``.
        folder: folder for the volumes during the measurements: about 40 bytes per voxel.
        figure: PNG file to write.

    Raises:
        ValueError: If nothing of a volume is left without the network's reach at its border.
    """
    by_name = {method.name: method for method in METHODS}
    chosen = [by_name[name] for name in ([methods] if isinstance(methods, str) else methods)]
    reach = Finest(shipped()[0], padded=False).reach
    results: dict[str, dict[str, Measured]] = {}
    for size in sides if isinstance(sides, (list, tuple)) else [sides]:
        shape = ensure_tuple_rep(size, 3)
        settings = Settings(min(window, min(shape) // 2), budget, amp, device)
        title = " x ".join(map(str, shape))
        if min(side - 2 * margin for side, margin in zip(shape, reach, strict=True)) < LEAST:
            raise ValueError(
                f"sides {title} leave less than {LEAST} voxels inside the network's reach of {max(reach)}; take "
                f"{2 * max(reach) + LEAST} or more."
            )
        results[title] = {}
        rows = [[title, "setting", "seconds", "processor seconds", "GiB of the host"], ["---"] * 9]
        rows[0] += ["GiB of the device", "largest difference to the whole, HU", "mean, HU", "seam"]
        Path(folder).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as place:
            files = Path(place)
            kinds = {method.build for method in chosen if method.installed}
            fresh(prepare, files, shape, settings, ours_on_disk in kinds, konfai in kinds)
            for method in chosen:
                row, measured = cells(method, files, shape, settings)
                rows.append([method.name, method.words, *row])
                print(" ".join(rows[-1]), flush=True)
                if measured:
                    results[title][method.name] = measured
        print()
        show(rows)
        print(
            f"windows of {settings.window} a side, {device}, {torch.get_num_threads()} threads, "
            f"{'bfloat16' if amp else 'float32'}\n",
            flush=True,
        )
    draw(Path(figure), results)


def draw(path: Path, results: dict[str, dict[str, Measured]]) -> None:
    """Draw seconds and memory of all methods, a row for each volume."""
    most = max(map(len, results.values()))
    figure = Figure((9, len(results) * (0.8 + 0.22 * max(most, 1))), layout="constrained")
    panels = figure.subplots(len(results), 2, squeeze=False, sharey="row")
    for (title, rows), (left, right) in zip(results.items(), panels, strict=True):
        names = list(rows)[::-1]
        colors = ["tab:blue" if name.startswith("ours") else "tab:gray" for name in names]
        for axes, values, label in (
            (left, [rows[name].busy for name in names], "processor seconds"),
            (right, [rows[name].host / 2**30 for name in names], "GiB of the host, above idle"),
        ):
            bars = axes.barh(names, values, color=colors)
            axes.bar_label(bars, fmt="{:.3g}", padding=2, fontsize=7)
            axes.set_xlabel(label, fontsize=8)
            axes.tick_params(labelsize=8)
            axes.margins(x=0.12)
        left.set_title(title, fontsize=9, loc="left")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    run_command(main)
