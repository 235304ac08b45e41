"""Rows that `benchmarks/gpu.sh` measures, each a function that returns plain data for JSON.

Volumes are cubes that repeat a phantom of `BLOCK` voxels per side, which is painted quickly.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks import calls, memory_inference, memory_training, speed
from bundle.cascade import CascadeInferer
from bundle.evaluation.methods import Windowed, WindowInferer, peak_memory
from bundle.geometry import pyramid, shapes
from bundle.images import create_image, held
from bundle.runtime import has_bfloat16

#: Side in voxels of the phantom that volumes repeat.
BLOCK = 128
#: Folder of volumes on disk, which is removed when its row ends for any reason.
VOLUMES = "gpu_volumes"
#: Number of slices to write at a time.
SLICES = 16
#: Sides of blocks without a halo to try for the limit; a GPU needs larger ones than a CPU.
BLOCKS = (64, 128, 192, 256)
#: Fraction of the device's memory in which training steps are run.
SHARE = 0.75
#: Functions that return the context managers in which all turns of a variant run.
Around = Sequence[Callable[[], AbstractContextManager[None]]]


@dataclass(frozen=True)
class Variant:
    """One way to translate a volume.

    Args:
        title: title in the table.
        budget: ``memory_budget``.
        call: function of the cascade and whether it computes in bfloat16, which returns the function that computes a
            tile; null for the cascade's own way.
        around: context managers that are active during all turns.
        half: whether networks compute in bfloat16, if the device supports it.
        there: whether volume and result are on the device from the start.
        slab: voxels that networks and sketches get at once; 0 for the cascade's own number.
        recorded: whether nothing may disturb the first turn, because graphs are recorded in it.
    """

    title: str
    budget: str = "2GiB"
    call: Callable[[Any, bool], calls.Call] | None = None
    around: Around = field(default=())
    half: bool = True
    there: bool = False
    slab: int = 0
    recorded: bool = False


def variants(backend: str = "inductor") -> dict[str, Variant]:
    """Return all variants by the name of their row.

    Args:
        backend: backend of `torch.compile`.
    """
    every: dict[str, Any] = {"around": (calls.overlapped, calls.trying_kernels), "slab": 2**24}
    return {
        "2GiB": Variant("as shipped"),
        "1GiB": Variant("as shipped, 1 GiB", budget="1GiB"),
        "slab_22": Variant("2^22 voxels at once, not 2^18", slab=2**22),
        "slab_24": Variant("2^24 voxels at once", slab=2**24),
        "unpinned": Variant("tiles not pinned", around=(calls.unpinned,)),
        "overlapped": Variant("copies overlapped with computing", around=(calls.overlapped,)),
        "there": Variant("volume and result on the GPU", budget="768MiB", there=True),
        "graphs": Variant("CUDA graphs", call=calls.Graphed, recorded=True),
        "compile": Variant("torch.compile", call=calls.compiled(backend)),
        "channels_first": Variant("not channels-last", around=(calls.channels_first,)),
        "benchmark": Variant("cuDNN tries its kernels", around=(calls.trying_kernels,)),
        "float32": Variant("float32, TF32 where the device has it", half=False),
        "full": Variant("float32 in full", half=False, around=(calls.no_tensor_cores,)),
        "together": Variant("overlapped, kernels tried, 2^24 voxels", **every),
        "together_graphs": Variant("the same with CUDA graphs", call=calls.Graphed, recorded=True, **every),
        "together_1GiB": Variant("overlapped, kernels tried, 2^24 voxels, 1 GiB", budget="1GiB", **every),
    }


def memory(device: torch.device) -> dict[str, float]:
    """Return PyTorch's peaks of allocated and reserved GiB, and those taken on the device; empty for a CPU."""
    if device.type != "cuda":
        return {}
    free, total = torch.cuda.mem_get_info(device)
    peaks = torch.cuda.max_memory_allocated(device), torch.cuda.max_memory_reserved(device), total - free
    return {name: size / 2**30 for name, size in zip(("allocated", "reserved", "taken"), peaks, strict=True)}


def reset(device: torch.device) -> None:
    """Reset the peaks and empty PyTorch's memory cache."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)


def translated(
    variant: Variant, side: int, device: torch.device, tile_size: int | None = None, turns: int = 3
) -> dict[str, Any]:
    """Return seconds and memory of a variant, and its largest difference from the cascade's own way, in HU.

    Args:
        variant: the variant.
        side: side of the volume in voxels.
        device: device to translate on.
        tile_size: tile size, instead of that from the budget.
        turns: number of runs, of which the shortest counts; an extra first run chooses, records or compiles kernels.
    """
    cascade, window = speed.shipped()
    cascade.to(device)
    half = variant.half and has_bfloat16(device)
    image = speed.volume(side, window, BLOCK)
    plain = CascadeInferer(progress=False, half=has_bfloat16(device))(image, cascade)
    if variant.slab:
        cascade.slab_voxels = variant.slab
        cascade.sketch.slab_voxels = variant.slab  # type: ignore[assignment]
    called = calls.Called(cascade, variant.call(cascade, half) if variant.call else None)
    inferer = calls.CalledInferer(tile_size, variant.budget, progress=False, half=half)
    reset(device)
    image = image.to(device) if variant.there else image
    turn = partial(timed, lambda: inferer(image, called), device)
    with ExitStack() as stack:
        for enter in variant.around:
            stack.enter_context(enter())
        with calls.one_thread() if variant.recorded else nullcontext():
            first, result = turn()
        called.clock.seconds()
        times, networks = [], []
        for _ in range(turns):
            del result  # so that only one is in memory
            seconds, result = turn()
            times.append(seconds)
            networks.append(called.clock.seconds())
    used = memory(device)
    worst = float((result.cpu() - plain).abs().max()) * (window[1] - window[0]) / 2
    told = {"seconds": min(times), "networks": min(networks), "first": first, "difference": worst}
    return {**told, **used, "times": times, "half": half}


def timed(work: Callable[[], Tensor], device: torch.device) -> tuple[float, Tensor]:
    """Return the seconds until some work has finished on the device, and its return value."""
    start = perf_counter()
    out = work()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return perf_counter() - start, out


def share(side: int, device: torch.device, turns: int = 3, blocks: Sequence[int] = BLOCKS) -> dict[str, Any]:
    """Return the seconds of each scale, and those without halos, sketches and upsampling with the best block size."""
    cascade, window = speed.shipped()
    cascade.to(device)
    half, image = has_bfloat16(device), speed.volume(side, window, BLOCK)
    own = speed.by_scale(image, cascade, partial(CascadeInferer, progress=False, half=half), device, turns)
    grids = shapes((side,) * 3, pyramid([speed.SPACING] * 3, cascade.num_scales - 1))
    limits = [speed.limit(cascade, grids, block, half) for block in blocks if block <= max(side, min(blocks))]
    return {"scales": own, "limit": min(limits, key=sum), "grids": [list(grid) for grid in grids]}


def sliding(side: int, device: torch.device) -> dict[str, Any]:
    """Return seconds and memory of MONAI's sliding window with the same networks."""
    cascade, window = speed.shipped()
    cascade.to(device)
    image, windows = (
        speed.volume(side, window, BLOCK),
        WindowInferer(Windowed.side, Windowed.overlap, Windowed.translate),
    )
    with torch.autocast(device.type, torch.bfloat16, enabled=has_bfloat16(device)):
        reset(device)
        seconds = speed.seconds(lambda: windows(image, cascade), device, turns=1)
    return {"seconds": seconds, **memory(device)}


def streamed(side: int, device: torch.device, folder: str) -> dict[str, Any]:
    """Return seconds and memory from file to file, streamed with 2 GiB; the caller removes the files (`VOLUMES`)."""
    work = Path(folder) / VOLUMES
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    image = write(f"{work}/image.nii", side)
    keys = {"device": str(device), "check_input": "off"}
    before, settings = peak_memory(), (False, "2GiB", None)
    host, _, seconds = memory_inference.translate(image, f"{work}/out", "ours, streamed", settings, keys)
    return {"seconds": seconds, "host": (host - before) / 2**30, **memory(device)}


def write(path: str, side: int) -> str:
    """Write a volume as int16 ``.nii`` in slabs; return its path."""
    voxels = speed.phantom(min(side, BLOCK))
    depth, number = voxels.shape[2], -(-side // voxels.shape[0])
    affine = np.diag([speed.SPACING] * 3 + [1.0])
    like = held(np.broadcast_to(np.zeros((), np.int16), (side,) * 3), affine)
    with create_image(path, like, np.dtype(np.int16)) as put:
        for start in range(0, side, SLICES):
            places = np.arange(start, min(start + SLICES, side)) % depth
            slab = np.tile(voxels[..., places], (number, number, 1))[:side, :side]
            put((slice(0, side), slice(0, side), slice(start, start + len(places))), slab)
    return path


def training(device: torch.device, limit: int | None = None) -> dict[str, Any]:
    """Return the rows of Fig. 2 as measured by `benchmarks.memory_training`.

    Args:
        device: device to train on.
        limit: memory limit in bytes; null for most of a GPU's memory, or on a CPU for what two small steps need.
    """
    if limit is None:
        limit = int(SHARE * torch.cuda.mem_get_info(device)[1]) if device.type == "cuda" else 2**25
    with torch.enable_grad():
        found = memory_training.rows(3, limit, device)
    return {"rows": [asdict(row) for row in found]}


def about(device: torch.device) -> dict[str, str]:
    """Return the names of the device and the versions of PyTorch and CUDA."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    return {"device": name, "torch": torch.__version__, "cuda": str(torch.version.cuda)}


@dataclass(frozen=True)
class Setting:
    """Settings of the measurements.

    Args:
        device: device, such as ``cuda``.
        side: side of the volume in voxels.
        large: side of the larger volume, which is streamed.
        tile_size: tile size, instead of that from the budget.
        backend: backend of `torch.compile`.
        turns: number of runs, of which the shortest counts.
        folder: folder for volumes on disk.
    """

    device: str = "cuda"
    side: int = 512
    large: int = 1024
    tile_size: int | None = None
    backend: str = "inductor"
    turns: int = 3
    folder: str = "output/benchmarks"


def rows(setting: Setting) -> dict[str, Callable[[], dict[str, Any]]]:
    """Return all rows by name, the most important first."""
    device, side = torch.device(setting.device), setting.side
    ways = {
        name: partial(translated, variant, side, device, setting.tile_size, setting.turns)
        for name, variant in variants(setting.backend).items()
    }
    first = {name: ways.pop(name) for name in ("2GiB", "1GiB")}
    return {
        **first,
        "share": partial(share, side, device, setting.turns),
        "sliding": partial(sliding, side, device),
        "training": partial(training, device),
        **ways,
        "streamed": partial(streamed, side, device, setting.folder),
        "streamed_large": partial(streamed, setting.large, device, setting.folder),
    }


def measured(name: str, setting: Setting) -> dict[str, Any]:
    """Measure a row by its name.

    Raises:
        KeyError: If the row does not exist.
    """
    Path(setting.folder).mkdir(parents=True, exist_ok=True)
    with torch.set_grad_enabled(False):
        found = rows(setting)[name]()
    return {**found, **about(torch.device(setting.device))}
