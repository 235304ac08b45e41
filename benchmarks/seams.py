"""Measure how visible tiles are: tiled against whole results, and the seam metric, for ours and for the baselines.

The networks are the shipped ones; the last row has the same networks with instance normalization, which depends on the
tile.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from typing import cast

import torch
from matplotlib.figure import Figure
from monai.bundle import ConfigParser
from torch import Tensor, nn

from benchmarks.pairs import InMemory
from benchmarks.speed import CONFIG, SPACING, shipped, show, volume
from bundle.cascade import Cascade, CascadeInferer
from bundle.evaluation.methods import Patch, Windowed, WindowInferer
from bundle.evaluation.metrics import faces_of, grid, jumps, seam
from bundle.runtime.commands import run_command


class InstanceNorm(nn.Module):
    """Normalize features over the whole input, a tile or an image."""

    def forward(self, x: Tensor) -> Tensor:
        """Map `(batch, channels, *spatial)` to the same shape."""
        return nn.functional.instance_norm(x) * 0.1


def with_instance_norm(cascade: Cascade) -> Cascade:
    """Return the cascade with instance normalization after the first layer of each generator; its reach is kept."""
    out = deepcopy(cascade)
    for network in out.fine:
        cast("nn.Sequential", network.layers).insert(1, InstanceNorm())
    return out


def whole(cascade: Cascade, image: Tensor) -> Tensor:
    """Return the result of `Cascade.forward`."""
    with torch.no_grad():
        return cascade(image.as_subclass(Tensor), spacing=[SPACING] * 3)


def main(side: int = 144, tile: int = 48, patch_weights: str = "", figure: str = "output/benchmarks/seams.png") -> None:
    """Print the table and write the figure.

    Args:
        side: side of the volume, a phantom, in voxels.
        tile: side of tiles and windows in voxels.
        patch_weights: weights of the patch baseline; without them its row is left out.
        figure: PNG file to write, with the jumps along one axis.
    """
    torch.set_grad_enabled(False)
    cascade, window = shipped()
    image, hu = volume(side, window), (window[1] - window[0]) / 2
    target = whole(cascade, image)
    other = with_instance_norm(cascade)
    inferer = CascadeInferer(tile, progress=False)
    results: dict[str, tuple[Tensor, Tensor, int]] = {"ours": (inferer(image, cascade), target, tile)}
    for overlap in (0, tile // 4, tile // 2):
        result = WindowInferer(tile, overlap, Windowed.translate)(image, cascade)
        results[f"MONAI's sliding window, overlap {overlap / tile:.0%}"] = (result, target, tile - overlap)
    if patch_weights:
        parser = ConfigParser()
        parser.read_config(CONFIG)
        parser["conditioning"] = "sketch"
        patches = parser.get_parsed_content("network").eval()
        patches.load_state_dict(torch.load(patch_weights, map_location="cpu", weights_only=True))
        result = WindowInferer(Patch.side, Patch.overlap, Patch.translate)(image, patches)
        results["patch baseline, sketch"] = (result, result, Patch.side - Patch.overlap)
    results["ours, with instance normalisation"] = (inferer(image, other), whole(other, image), tile)

    lines = [["method", "largest difference to the whole, HU", "mean, HU", "seam"], ["---"] * 4]
    along: dict[str, Sequence[float]] = {}
    for name, (result, reference, step) in results.items():
        difference = (result - reference).abs() * hu
        images = (InMemory((part[0, 0] + 1) * hu + window[0], (SPACING,) * 3) for part in (result, target))
        own, beside = (jumps(part) for part in images)
        faces = faces_of(grid((side,) * 3, step), (side,) * 3)
        same = reference is not result
        cells = [f"{float(difference.max()):.2g}", f"{float(difference.mean()):.2g}"] if same else ["-", "-"]
        lines.append([name, *cells, f"{seam(own, beside, faces):.3f}"])
        along[name] = list(own[0] / beside[0])
    show(lines)
    picture = Figure((7.2, 4), layout="constrained")
    axes = picture.subplots()
    for name, values in along.items():
        axes.plot(values, label=name, lw=1)
    axes.set_xlabel("voxel along the first axis")
    axes.set_ylabel("jump to the next voxel, over that of the whole")
    axes.legend(fontsize=7)
    Path(figure).parent.mkdir(parents=True, exist_ok=True)
    picture.savefig(figure, dpi=110)


if __name__ == "__main__":
    run_command(main)
