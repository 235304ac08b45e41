"""Compare the speed of the shipped cascade with its networks without halos, MONAI's sliding window and non-local means.

All run in one process on one volume, one after the other; only ratios are meaningful.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from functools import partial
from itertools import pairwise
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from monai.bundle import ConfigParser
from monai.data import MetaTensor
from monai.utils import ensure_tuple_rep
from torch import Tensor, nn

from bundle.cascade import Cascade, CascadeInferer, ResidualBlock
from bundle.evaluation.methods import NonLocalMeans, Windowed, WindowInferer
from bundle.examples.phantom import ThoraxPhantom
from bundle.geometry import channels_last, pyramid, shapes
from bundle.runtime import has_bfloat16
from bundle.runtime.commands import run_command

CONFIG = Path(__file__).parents[1] / "configs" / "inference.json"
SPACING = 0.7  # mm
SLIDING = f"MONAI's sliding window, {Windowed.side} voxels, {Windowed.overlap} overlap"
STRENGTH = 45.0  # HU, strength of non-local means; its time does not depend on it


def shipped() -> tuple[Cascade, tuple[float, float]]:
    """Return the networks of `configs/inference.json` with their weights, and its window."""
    parser = ConfigParser()
    parser.read_config(CONFIG)
    parser["bundle_root"] = str(CONFIG.parents[1])
    network, weights, window = (parser.get_parsed_content(key) for key in ("network", "weights", "window"))
    network.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
    return network.eval(), tuple(window)


def phantom(side: int | Sequence[int]) -> np.ndarray:
    """Return a noisy phantom, int16 in HU, with one side for all axes or three."""
    return ThoraxPhantom(ensure_tuple_rep(side, 3), (SPACING,) * 3, noise=30.0)[...]


def volume(side: int | Sequence[int], window: tuple[float, float], block: int | None = None) -> Tensor:
    """Return a noisy phantom as the cascade sees it, `(1, 1, *spatial)`.

    Args:
        side: side in voxels, of all axes or of each.
        window: window in HU.
        block: side in voxels of a phantom that is repeated, which is faster to paint; null for one large phantom.
    """
    shape = ensure_tuple_rep(side, 3)
    painted = phantom([min(size, block or size) for size in shape])
    number = [-(-size // own) for size, own in zip(shape, painted.shape, strict=True)]
    repeated = np.tile(painted.astype(np.float32), number)[tuple(map(slice, shape))]
    voxels = torch.from_numpy(np.ascontiguousarray(repeated))[None, None]
    low, high = window
    affine = torch.diag(torch.tensor([SPACING] * 3 + [1.0], dtype=torch.float64))
    return MetaTensor((voxels - low) / (high - low) * 2 - 1, affine=affine)


def without_halo(network: nn.Module) -> nn.Module:
    """Return a copy of a generator that pads instead of reading a halo: the minimum work per voxel."""
    padded = deepcopy(network)
    for layer in padded.modules():
        if isinstance(layer, (nn.Conv2d, nn.Conv3d)):
            layer.padding = tuple(side // 2 for side in layer.kernel_size)
        if isinstance(layer, ResidualBlock):
            layer.margin = [0] * len(layer.margin)
    return padded


def seconds(work: Callable[[], Any], device: torch.device, turns: int = 2) -> float:
    """Return the seconds of the shortest of a few runs, not counting the first."""
    times = []
    for _ in range(turns + 1):
        start = perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize()
        times.append(perf_counter() - start)
    return min(times[1:])


def limit(cascade: Cascade, grids: Sequence[Sequence[int]], block: int, half: bool) -> list[float]:
    """Return the seconds that each scale would take without halos, sketches and upsampling."""
    device = next(cascade.parameters()).device
    times = []
    with torch.no_grad(), torch.autocast(device.type, torch.bfloat16, enabled=half):
        for scale, grid in enumerate(grids):
            network = without_halo(cascade.fine[scale - 1]) if scale else cascade.coarse
            sides = [min(block, -(-side // cascade.divisor) * cascade.divisor) for side in grid]
            channels = next(p for p in network.parameters() if p.ndim > 2).shape[1]
            inputs = channels_last(torch.randn(1, channels, *sides, device=device))
            time = seconds(partial(network, inputs), device)
            times.append(time * torch.Size(grid).numel() / torch.Size(sides).numel())
    return times


def by_scale(
    image: Tensor, cascade: Cascade, inferer: Callable[..., CascadeInferer], device: torch.device, turns: int = 4
) -> list[float]:
    """Return the seconds of each scale of an image, coarsest first.

    Args:
        image: `(1, 1, *spatial)`.
        cascade: the networks.
        inferer: function that makes an inferer, given ``scales``.
        device: device of the networks.
        turns: number of runs, of which the shortest counts.
    """
    until = [0.0]
    for scales in range(1, cascade.num_scales + 1):
        until.append(seconds(partial(inferer(scales=scales), image, cascade), device, turns))
    return [after - before for before, after in pairwise(until)]


def main(
    side: int = 256,
    sides: Sequence[int] = (128, 256),
    tile_size: int | None = None,
    budget: str = "2GiB",
    amp: bool | None = None,
    block: int = 64,
    patch: int = 48,
    device: str | None = None,
    figure: str = "output/benchmarks/speed.png",
) -> None:
    """Print the tables and write the figure.

    Args:
        side: side of the volume measured in detail.
        sides: sides of the volumes that show the growth.
        tile_size: as in `configs/inference.json`.
        budget: ``memory_budget`` there.
        amp: whether the networks compute in bfloat16, also for MONAI; by default if the device supports it.
        block: side in voxels of the block without a halo; of 48 to 128, 64 was the fastest.
        patch: side in voxels of the cube on which non-local means are timed.
        device: device to run on; by default the GPU, if there is one.
        figure: PNG file to write.
    """
    device_ = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    torch.set_grad_enabled(False)
    cascade, window = shipped()
    cascade, amp = cascade.to(device_), has_bfloat16(device_) if amp is None else amp
    image = volume(side, window)
    voxels = side**3

    inferer = partial(CascadeInferer, tile_size, budget, progress=False, half=amp)

    def ours(volume: Tensor) -> float:
        return seconds(partial(inferer(), volume, cascade), device_, turns=4)

    scales = by_scale(image, cascade, inferer, device_)
    grids = shapes((side,) * 3, pyramid([SPACING] * 3, cascade.num_scales - 1))
    least = limit(cascade, grids, block, amp)
    lines = [["scale", "voxels", "seconds", "without halo", "share of the limit"], ["---"] * 5]
    for scale, (grid, own, bound) in enumerate(zip(grids, scales, least, strict=True)):
        lines.append([str(scale), "x".join(map(str, grid)), f"{own:.2f}", f"{bound:.2f}", f"{bound / own:.0%}"])
    whole = sum(scales)
    lines.append(["all", "", f"{whole:.2f}", f"{sum(least):.2f}", f"{sum(least) / whole:.0%}"])
    show(lines)

    windows = WindowInferer(Windowed.side, Windowed.overlap, Windowed.translate)
    with torch.autocast(device_.type, torch.bfloat16, enabled=amp):
        sliding = seconds(lambda: windows(image, cascade), device_, turns=1)
    cube = image.as_subclass(Tensor)[0, 0, :patch, :patch, :patch] * (window[1] - window[0]) / 2
    denoise = NonLocalMeans(strength=STRENGTH)
    means = seconds(lambda: denoise.filtered(cube, (SPACING,) * 3), torch.device("cpu"), turns=1) * voxels / patch**3
    rows = [["method", "voxels a second", "seconds for this volume", "ours is faster by"], ["---"] * 4]
    times = {"ours": whole, SLIDING: sliding, "non-local means 3D": means}
    for name, time in times.items():
        rows.append([name, f"{voxels / time / 1e6:.3f} M", f"{time:.1f}", f"{time / whole:.1f} x"])
    show(rows)

    growth = {size: whole if size == side else ours(volume(size, window)) for size in sides}
    show(
        [["side", "seconds", "M voxels a second"], ["---"] * 3]
        + [[str(size), f"{time:.2f}", f"{size**3 / time / 1e6:.3f}"] for size, time in growth.items()]
    )
    draw(
        Path(figure),
        growth,
        {
            "ours": voxels / whole,
            "no halo": voxels / sum(least),
            "sliding window": voxels / sliding,
            "non-local means": voxels / means,
        },
    )
    kind = "bfloat16" if amp else "float32"
    print(f"{device_.type}, {torch.get_num_threads()} threads, {kind}, tile {tile_size or budget}")


def show(lines: Sequence[Sequence[str]]) -> None:
    """Print a table in Markdown."""
    print("\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n")


def draw(path: Path, growth: dict[int, float], rates: dict[str, float]) -> None:
    """Draw voxels per second of all methods, and seconds by size."""
    figure = Figure((8, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.barh(list(rates), [rate / 1e6 for rate in rates.values()])
    left.set_xscale("log")
    left.set_xlabel("million voxels a second")
    right.plot(list(growth), list(growth.values()), "o-")
    right.set_xscale("log", base=2)
    right.set_yscale("log")
    right.set_xlabel("side of the volume, voxels")
    right.set_ylabel("seconds")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    run_command(main)
