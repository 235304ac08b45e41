"""How much memory the training of a GAN needs, by the side of the image: Uzunova et al. 2019, section 3.1, Fig. 2.

One training step of generator and discriminator, batch 1, float32, without an optimizer.

- Counted: the bytes alive at the step's worst moment, parameters and gradients among them: a lower bound.
- Measured: the peak of the same step in a fresh process, wherever the bound is below the limit.
- Regressed, as in the paper: a constant and the cube of the side, fitted to the sides that its GPU would hold by count.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from concurrent.futures.process import BrokenProcessPool
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import fire
import numpy as np
import torch
from matplotlib.figure import Figure
from monai.bundle import ConfigParser
from torch import Tensor, nn

from benchmarks.baselines import GAN, dcgan, pggan, pix2pix, uzunova_coarse, uzunova_fine
from bundle.cascade import Cascade, live_bytes
from bundle.evaluation.methods import alone, peak_memory
from bundle.runtime import parse_bytes
from bundle.training import PrepareScaleBatch

SIDES = (16, 32, 64, 128, 256, 512)
LOW = 64  # the paper's side of scale 0
GPU = "12GiB"  # the paper's, a Titan XP
CONFIG = Path(__file__).parents[1] / "configs" / "train.json"

#: A training step and all that it needs, made on the device given.
Work = Callable[[torch.device], None]


@dataclass(frozen=True)
class Row:
    """What one architecture needs.

    Args:
        name: as the paper calls it.
        counted: bytes, for each of `SIDES`.
        measured: bytes, for each of `SIDES`; NaN where it was not run.
        regressed: bytes, for each of `SIDES`, from the number of voxels; none where that plays no part.
    """

    name: str
    counted: Sequence[float]
    measured: Sequence[float]
    regressed: Sequence[float] = ()


def step(
    generator: Callable[[Tensor], Tensor], discriminator: nn.Module, given: Tensor, seen: Tensor | None, real: Tensor
) -> None:
    """Forward and backward of both networks, in the order of MONAI's `AdversarialTrainer`.

    Args:
        generator: from ``given`` to an image of the shape of ``real``.
        discriminator: of an image, behind ``seen`` where that is given.
        given: what the generator sees.
        seen: what the discriminator sees beside the image.
        real: `(1, 1, *spatial)`.
    """

    def judge(image: Tensor) -> Tensor:
        logits = discriminator(image if seen is None else torch.cat([seen, image], 1))
        return logits[-1] if isinstance(logits, list) else logits

    fake = generator(given)
    (judge(fake) - 1).square().mean().backward()
    ((judge(real) - 1).square().mean() + judge(fake.detach()).square().mean()).backward()


def of_gan(make: Callable[[], GAN], device: torch.device) -> None:
    """A step of a GAN that is made on the spot."""
    with torch.device(device):
        gan = make()
        given, real = torch.randn(gan.given), torch.randn(gan.made)
    step(gan.generator, gan.discriminator, given, given if gan.conditional else None, real)


def of_scale(cascade: Cascade, discriminator: nn.Module, scale: int, side: int, device: torch.device) -> None:
    """A step of one scale, on an image or a patch of a side; as in training, all of the cascade is on the device."""
    cascade, discriminator = deepcopy(cascade).to(device), deepcopy(discriminator).to(device)
    batch = scale_batch(cascade, scale, side, device)
    real, _, _, seen = PrepareScaleBatch(cascade, scale)(batch, device)
    step(partial(cascade, scale=scale), discriminator, seen["condition"], seen["seen"], real)


def scale_batch(cascade: Cascade, scale: int, side: int, device: torch.device) -> dict[str, Tensor]:
    """A batch as `bundle.training.data.ScaleConditionsd` makes it in training, of an image of any size."""
    label = [side] * cascade.spatial_dims
    grown = [side + 2 * far for far in cascade.reach[scale]]
    shapes = {"label": label, "image": grown, **({"coarse": grown} if scale else {})}
    return {key: torch.randn(1, 1, *shape, device=device) for key, shape in shapes.items()}


def shipped(scale: int | str, spatial_dims: int) -> Work:
    """A step of one scale, a number or the config's expression of it, of the networks in `configs/train.json`."""
    parser = ConfigParser()
    parser.read_config(CONFIG)
    parser.update({"scale": scale, "spatial_dims": spatial_dims, "device": "cpu"})
    keys = ("network", "discriminator", "scale", "patch#patch_size")
    cascade, discriminator, number, patch = (parser.get_parsed_content(key) for key in keys)
    return partial(of_scale, cascade, discriminator, number, patch if number else LOW)


def peak(work: Work, device: torch.device) -> int:
    """Peak bytes of a step: of a GPU's allocator, or else resident, less what was so before the first network."""
    if device.type == "cuda":
        work(device)
        return torch.cuda.max_memory_allocated(device)
    before = peak_memory()
    work(device)
    return peak_memory() - before


def measured(work: Work, device: torch.device) -> float:
    """Peak bytes of a step in a fresh process; NaN where the memory is not enough."""
    try:
        return alone(peak, work, device)
    except (torch.OutOfMemoryError, BrokenProcessPool):
        return math.nan


def regression(counted: Sequence[float], memory: float, spatial_dims: int) -> list[float]:
    """Bytes for each of `SIDES`: a constant and a share of the voxels, least squares where the bytes fit a memory."""
    basis = np.array([[1.0, side**spatial_dims] for side in SIDES])
    fits = np.array(counted) < memory
    return list(basis @ np.linalg.lstsq(basis[fits], np.array(counted)[fits], rcond=None)[0])


def rows(spatial_dims: int, limit: int, device: torch.device) -> list[Row]:
    """Count every architecture at every side, and measure those below a limit in bytes."""

    def need(works: Sequence[Work]) -> tuple[list[float], list[float]]:
        counted = [float(live_bytes(work)) for work in works]
        return counted, [
            measured(work, device) if bound < limit else math.nan for work, bound in zip(works, counted, strict=True)
        ]

    found = []
    for name, make in {"DCGAN": dcgan, "Pix2Pix": pix2pix, "PGGAN": pggan}.items():
        counted, peaks = need([partial(of_gan, partial(make, spatial_dims, side)) for side in SIDES])
        found.append(Row(name, counted, peaks, regression(counted, parse_bytes(GPU), spatial_dims)))
    ours: dict[str, Work] = {
        "LR 64, authors' width": partial(of_gan, partial(uzunova_coarse, spatial_dims)),
        "HR 32, authors' width": partial(of_gan, partial(uzunova_fine, spatial_dims)),
        "LR 64, this bundle": shipped(0, spatial_dims),
        "HR 32, this bundle": shipped("$@network_def.num_scales - 1", spatial_dims),
    }
    for name, work in ours.items():
        (bound,), (most,) = need([work])
        found.append(Row(name, [bound] * len(SIDES), [most] * len(SIDES)))
    return found


def table(found: Sequence[Row]) -> str:
    """Counted / measured GiB in Markdown, and how far the regression is off at the largest side."""
    lines = [["GiB, counted / measured", *(f"{side}" for side in SIDES), f"{SIDES[-1]} by regression"]]
    lines.append(["---"] * len(lines[0]))
    for row in found:
        cells = [
            f"{bound / 2**30:.3g}" + ("" if math.isnan(most) else f" / {most / 2**30:.3g}")
            for bound, most in zip(row.counted, row.measured, strict=True)
        ]
        last = "-"
        if row.regressed:
            last = f"{row.regressed[-1] / 2**30:.3g} ({100 * (row.regressed[-1] / row.counted[-1] - 1):+.0f} %)"
        lines.append([row.name, *cells, last])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def draw(path: Path, found: Sequence[Row], title: str) -> None:
    """Draw Fig. 2: lines counted, crosses measured; dotted what is regressed, and ours below the side of scale 0."""
    figure = Figure((7.2, 4.8), layout="constrained")
    axes = figure.subplots()
    sides = np.array(SIDES)
    for i, row in enumerate(found):
        colour = f"C{i}"
        counted, most = (np.array(values) / 2**30 for values in (row.counted, row.measured))
        shown = sides >= (16 if row.regressed else LOW)
        # LR and HR need nearly the same: a thin line on a wide one
        width = 4 if i % 2 and not row.regressed else 1.5
        axes.plot(sides[shown], counted[shown], "o-", color=colour, lw=width, markersize=4, label=row.name)
        if row.regressed:
            axes.plot(sides, np.array(row.regressed) / 2**30, ":", color=colour)
        else:
            axes.plot(sides[sides <= LOW], counted[sides <= LOW], ":", color=colour)
            shown = sides == LOW
        axes.plot(sides[shown], most[shown], "x", color=colour, markersize=7)
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
    """Print the table, write the figure.

    Args:
        limit: a step is run where its bound is below so many bytes; a CPU takes up to half as much more and 0.25 GiB.
        spatial_dims: 2 or 3.
        device: to run on; the GPU where there is one.
        figure: the PNG.

    Raises:
        ValueError: on a limit that is no number of bytes.
    """
    where = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    found = rows(spatial_dims, parse_bytes(limit), where)
    print(table(found))
    draw(
        Path(figure),
        found,
        f"one step in {spatial_dims}D, batch 1, float32: counted (line), measured on {where.type.upper()} (cross),\n"
        f"a constant and the side to the power of {spatial_dims} fitted to what is below {GPU} (dotted)",
    )


if __name__ == "__main__":
    fire.Fire(main)
