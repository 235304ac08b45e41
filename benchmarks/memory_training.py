"""Measure the memory for training GANs by image size: Uzunova et al. 2019, section 3.1, Fig. 2.

Each measurement is one training step of generator and discriminator, batch 1, float32, without an optimizer.

- Counted: live bytes at the peak of the step, with parameters and gradients: a lower bound.
- Measured: peak of the same step in a fresh process, if the bound is below the limit.
- Regressed, as in the paper: a constant plus a multiple of the cubed side, fitted to the sides whose counted bytes fit
  the paper's GPU.
"""

from __future__ import annotations

import gc
import math
from collections.abc import Callable, Sequence
from concurrent.futures.process import BrokenProcessPool
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from monai.bundle import ConfigParser
from torch import Tensor, nn

from benchmarks.baselines import GAN, dcgan, pggan, pix2pix, uzunova_coarse, uzunova_fine
from bundle.cascade import Cascade, LiveBytes
from bundle.evaluation.methods import alone, peak_memory
from bundle.runtime import parse_bytes
from bundle.runtime.commands import run_command
from bundle.training import PrepareScaleBatch

SIDES = (16, 32, 64, 128, 256, 512)
LOW = 64  # side of scale 0 in the paper
GPU = "12GiB"  # memory of the paper's GPU, a Titan XP
CONFIG = Path(__file__).parents[1] / "configs" / "train.json"

#: A training step that creates everything it needs on a device.
Work = Callable[[torch.device], None]


@dataclass(frozen=True)
class Row:
    """Memory of one architecture.

    Args:
        name: name in the paper.
        counted: bytes for each of `SIDES`.
        measured: bytes for each of `SIDES`; NaN if the step was not run.
        regressed: bytes for each of `SIDES` from the number of voxels; empty if they do not depend on it.
    """

    name: str
    counted: Sequence[float]
    measured: Sequence[float]
    regressed: Sequence[float] = ()


def live_bytes(work: Work) -> int:
    """Return the peak bytes of all live tensors that a training step creates.

    Parameters, gradients and tensors saved for the backward pass count; workspaces of libraries do not. No device can
    run the same operations with less: this is the lower bound of Uzunova et al. 2019, section 3.1.
    """
    with LiveBytes() as count:
        work(torch.device("meta"))
    return count.peak


def step(
    generator: Callable[[Tensor], Tensor],
    discriminator: nn.Module,
    inputs: Tensor,
    condition: Tensor | None,
    real: Tensor,
) -> None:
    """Run forward and backward of both networks, in the order of MONAI's `AdversarialTrainer`.

    Args:
        generator: maps ``inputs`` to an image of the shape of ``real``.
        discriminator: network that sees an image, with ``condition`` before it if there is one.
        inputs: inputs of the generator.
        condition: what the discriminator sees besides the image; null for nothing.
        real: real image, `(1, 1, *spatial)`.
    """

    def judge(image: Tensor) -> Tensor:
        logits = discriminator(image if condition is None else torch.cat([condition, image], 1))
        return logits[-1] if isinstance(logits, list) else logits

    fake = generator(inputs)
    (judge(fake) - 1).square().mean().backward()
    ((judge(real) - 1).square().mean() + judge(fake.detach()).square().mean()).backward()


def of_gan(make: Callable[[], GAN], device: torch.device) -> None:
    """Run a step of a newly created GAN."""
    with torch.device(device):
        gan = make()
        inputs, real = torch.randn(gan.input_shape), torch.randn(gan.image_shape)
    step(gan.generator, gan.discriminator, inputs, inputs if gan.conditional else None, real)


def of_scale(cascade: Cascade, discriminator: nn.Module, scale: int, side: int, device: torch.device) -> None:
    """Run a step of one scale, on an image or a patch; as in training, the whole cascade is on the device."""
    cascade, discriminator = deepcopy(cascade).to(device), deepcopy(discriminator).to(device)
    batch = scale_batch(cascade, scale, side, device)
    real, _, _, conditions = PrepareScaleBatch(cascade, scale)(batch, device)
    step(partial(cascade, scale=scale), discriminator, conditions["condition"], conditions["seen"], real)


def scale_batch(cascade: Cascade, scale: int, side: int, device: torch.device) -> dict[str, Tensor]:
    """Return a batch like those of `bundle.training.data.ScaleConditionsd` in training, for an image of any size."""
    label = [side] * cascade.spatial_dims
    grown = [side + 2 * reach for reach in cascade.reach[scale]]
    shapes = {"label": label, "image": grown, **({"coarse": grown} if scale else {})}
    return {key: torch.randn(1, 1, *shape, device=device) for key, shape in shapes.items()}


def shipped(scale: int | str, spatial_dims: int) -> Work:
    """Return a step of one scale, a number or a config expression, with the networks of `configs/train.json`."""
    parser = ConfigParser()
    parser.read_config(CONFIG)
    parser.update({"scale": scale, "spatial_dims": spatial_dims, "device": "cpu"})
    keys = ("network", "discriminator", "scale", "patch#patch_size")
    cascade, discriminator, number, patch = (parser.get_parsed_content(key) for key in keys)
    return partial(of_scale, cascade, discriminator, number, patch if number else LOW)


def peak(work: Work, device: torch.device) -> int:
    """Return the peak bytes of a step: by a GPU's allocator, or else resident memory above that before the step."""
    if device.type == "cuda":
        gc.collect()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
        work(device)
        return torch.cuda.max_memory_allocated(device)
    before = peak_memory()
    work(device)
    return int(peak_memory() - before)


def measured(work: Work, device: torch.device) -> float:
    """Return the peak bytes of a step; NaN if memory does not suffice.

    On a CPU the step runs in a fresh process; a GPU's allocator reports the peak of each step.
    """
    try:
        return float(peak(work, device) if device.type == "cuda" else alone(peak, work, device))
    except (torch.OutOfMemoryError, BrokenProcessPool):
        return math.nan


def regression(counted: Sequence[float], memory: float, spatial_dims: int) -> list[float]:
    """Return the bytes for each of `SIDES`: a constant plus a multiple of the voxels, fitted to sides that fit."""
    basis = np.array([[1.0, side**spatial_dims] for side in SIDES])
    fits = np.array(counted) < memory
    return list(basis @ np.linalg.lstsq(basis[fits], np.array(counted)[fits], rcond=None)[0])


def rows(spatial_dims: int, limit: int, device: torch.device) -> list[Row]:
    """Count each architecture at each side, and measure those below a limit in bytes."""

    def need(works: Sequence[Work]) -> tuple[list[float], list[float]]:
        counted = [float(live_bytes(work)) for work in works]
        return counted, [
            measured(work, device) if bound < limit else math.nan for work, bound in zip(works, counted, strict=True)
        ]

    out = []
    for name, make in {"DCGAN": dcgan, "Pix2Pix": pix2pix, "PGGAN": pggan}.items():
        counted, peaks = need([partial(of_gan, partial(make, spatial_dims, side)) for side in SIDES])
        out.append(Row(name, counted, peaks, regression(counted, parse_bytes(GPU), spatial_dims)))
    ours: dict[str, Work] = {
        "LR 64, authors' width": partial(of_gan, partial(uzunova_coarse, spatial_dims)),
        "HR 32, authors' width": partial(of_gan, partial(uzunova_fine, spatial_dims)),
        "LR 64, this bundle": shipped(0, spatial_dims),
        "HR 32, this bundle": shipped("$@network_def.num_scales - 1", spatial_dims),
    }
    for name, work in ours.items():
        (bound,), (most,) = need([work])
        out.append(Row(name, [bound] * len(SIDES), [most] * len(SIDES)))
    return out


def table(rows: Sequence[Row]) -> str:
    """Return a Markdown table of counted / measured GiB, and the error of the regression at the largest side."""
    lines = [["GiB, counted / measured", *(f"{side}" for side in SIDES), f"{SIDES[-1]} by regression"]]
    lines.append(["---"] * len(lines[0]))
    for row in rows:
        cells = [
            f"{bound / 2**30:.3g}" + ("" if math.isnan(most) else f" / {most / 2**30:.3g}")
            for bound, most in zip(row.counted, row.measured, strict=True)
        ]
        last = "-"
        if row.regressed:
            last = f"{row.regressed[-1] / 2**30:.3g} ({100 * (row.regressed[-1] / row.counted[-1] - 1):+.0f} %)"
        lines.append([row.name, *cells, last])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def draw(path: Path, rows: Sequence[Row], title: str) -> None:
    """Draw Fig. 2: lines are counted, crosses measured; dotted lines are regressions, and ours below scale 0's side."""
    figure = Figure((7.2, 4.8), layout="constrained")
    axes = figure.subplots()
    sides = np.array(SIDES)
    for i, row in enumerate(rows):
        colour = f"C{i}"
        counted, most = (np.array(values) / 2**30 for values in (row.counted, row.measured))
        visible = sides >= (16 if row.regressed else LOW)
        # LR and HR need nearly the same memory: draw a thin line on a wide one
        width = 4 if i % 2 and not row.regressed else 1.5
        axes.plot(sides[visible], counted[visible], "o-", color=colour, lw=width, markersize=4, label=row.name)
        if row.regressed:
            axes.plot(sides, np.array(row.regressed) / 2**30, ":", color=colour)
        else:
            axes.plot(sides[sides <= LOW], counted[sides <= LOW], ":", color=colour)
            visible = sides == LOW
        axes.plot(sides[visible], most[visible], "x", color=colour, markersize=7)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xticks(sides, [str(side) for side in sides])
    axes.set_xlabel("side of the image, voxels")
    axes.set_ylabel("memory of a training step, GiB")
    axes.set_title(title, fontsize=9)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def main(
    limit: int | str = "4GiB",
    spatial_dims: int = 3,
    device: str | None = None,
    figure: str = "output/benchmarks/memory_training.png",
) -> None:
    """Print the table and write the figure.

    Args:
        limit: bytes below which a step's bound must be for the step to run; a CPU needs up to 50 % more and 0.25 GiB.
        spatial_dims: 2 or 3.
        device: device to run on; by default the GPU, if there is one.
        figure: PNG file to write.

    Raises:
        ValueError: If the limit is not a number of bytes.
    """
    device_ = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    results = rows(spatial_dims, parse_bytes(limit), device_)
    print(table(results))
    draw(
        Path(figure),
        results,
        f"one step in {spatial_dims}D, batch 1, float32: counted (line), measured on {device_.type.upper()} (cross),\n"
        f"a constant and the side to the power of {spatial_dims} fitted to the sides below {GPU} (dotted)",
    )


if __name__ == "__main__":
    run_command(main)
