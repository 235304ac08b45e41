"""Compare the low-dose translation with filters on real quarter-dose and full-dose slices.

    python -m benchmarks.real_doses DATA [--only L096] [--weights FILE]

DATA holds ``lowdose/*_QD.nii.gz`` and ``*_FD.nii.gz``; a series is a patient and a kernel. Nothing is fitted to the
evaluated slice: the radial filter is fitted to the other slices of the series, and non-local means is tuned on them.
SSIM, MAE and MSE are in the lung window, on whole slices, followed by SSIM and MAE within the body.
"""

from __future__ import annotations

import shutil
import tempfile
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from skimage.restoration import denoise_nl_means
from torch import Tensor

from benchmarks.pairs import GAUSSIANS, blurred
from bundle.evaluation.methods import Translation
from bundle.evaluation.metrics import LUNG, maps, whole_and_body
from bundle.images import Volume
from bundle.runtime.commands import run_command
from bundle.scanner import calibrate, converted

STRENGTHS = (10.0, 20.0, 30.0, 45.0, 60.0, 80.0)  # HU, strengths of non-local means
CONFIGS = ("configs/inference.json", "configs/low_dose.json")


@dataclass(frozen=True)
class Slice:
    """A slice at both doses, `(x, y, 1)` in HU, and the voxel spacing in mm."""

    path: Path
    source: Tensor
    target: Tensor
    spacing: tuple[float, ...]


def series(folder: Path) -> dict[str, list[Slice]]:
    """Return the slices of each patient and kernel."""
    found = defaultdict(list)
    for path in sorted(folder.glob("*_QD.nii.gz")):
        low, high = Volume(path), Volume(path.with_name(path.name.replace("_QD", "_FD")))
        patient, kernel, *_ = path.name.split("_")
        found[f"{patient} {kernel}"].append(Slice(path, low.slab(0, 1), high.slab(0, 1), low.spacing))
    return dict(found)


def scores(result: Tensor, target: Tensor) -> list[float]:
    """Return SSIM, MAE and MSE of a slice, and SSIM and MAE within the body."""
    squared = maps(result.round(), target, LUNG)[2].double().nanmean()
    ssim, error, *inside = whole_and_body(result, target)
    return [ssim, error, float(squared), *inside]


def translated(slices: Sequence[Slice], weights: str | None, device: str) -> list[Tensor]:
    """Translate all slices as the experiment's inference does."""
    with tempfile.TemporaryDirectory() as folder:
        sources, results = Path(folder, "sources"), Path(folder, "results")
        sources.mkdir()
        for each in slices:
            shutil.copy(each.path, sources)
        parser = Translation(CONFIGS, weights=weights, device=torch.device(device)).parser()
        parser.update(
            {"dataset_dir": str(sources), "output_dir": str(results), "output_postfix": "", "output_ext": ".nii"}
        )
        parser.get_parsed_content("initialize")
        parser.get_parsed_content("evaluator").run()
        volumes = (Volume(results / each.path.name.replace(".nii.gz", ".nii")) for each in slices)
        return [volume.slab(0, 1) for volume in volumes]


def gaussian(slices: Sequence[Slice], sigma: float) -> list[Tensor]:
    """Filter each slice by a Gaussian with ``sigma`` in pixels."""
    return [blurred(each.source, sigma) for each in slices]


def radial(slices: Sequence[Slice]) -> list[Tensor]:
    """Filter each slice by the radial filter fitted to the other slices."""
    out = []
    for each in slices:
        others = [(other.source[..., 0], other.target[..., 0], None) for other in slices if other is not each]
        out.append(converted(each.source, each.spacing, calibrate(others, each.spacing)))
    return out


def non_local_means(slices: Sequence[Slice]) -> list[Tensor]:
    """Denoise each slice with the strength that has the highest SSIM on the other slices."""
    tried = [
        [torch.from_numpy(denoise_nl_means(each.source.numpy()[..., 0], 5, 6, h=h))[..., None] for each in slices]
        for h in STRENGTHS
    ]
    ssim = np.array([[scores(a, b.target)[0] for a, b in zip(row, slices, strict=True)] for row in tried])
    total = ssim.sum(1)
    return [tried[int((total - ssim[:, place]).argmax())][place] for place in range(len(slices))]


@torch.no_grad()
def main(data: str, only: str = "", weights: str | None = None, filters: bool = True, device: str = "cpu") -> None:
    """Print the table.

    Args:
        data: folder that contains ``lowdose``.
        only: part of the names of the series to evaluate.
        weights: weights of the low-dose networks; null for the shipped ones.
        filters: evaluate the filters, too.
        device: device of the networks.
    """
    rows: list[tuple[str, Callable[[list[Slice]], list[Tensor]]]] = []
    if filters:
        rows.append(("source", partial(gaussian, sigma=0.0)))
        rows += [(f"Gaussian of {sigma:g} px", partial(gaussian, sigma=sigma)) for sigma in GAUSSIANS]
        rows += [
            ("radial filter, fitted on the others", radial),
            ("non-local means, tuned on the others", non_local_means),
        ]
    rows.append(("**this bundle**", partial(translated, weights=weights, device=device)))
    print("| series, method | SSIM | MAE | MSE | SSIM in the body | MAE in the body |")
    print("|---|---|---|---|---|---|")
    found = series(Path(data, "lowdose"))
    if not found:
        print(f"skipped: there are no pairs in {Path(data, 'lowdose')}")
    for name, slices in found.items():
        if only not in name:
            continue
        for title, make in rows:
            values = np.mean([scores(a, b.target) for a, b in zip(make(slices), slices, strict=True)], 0)
            cells = [f"{values[0]:.4f}", f"{values[1]:.4f}", f"{values[2]:.6f}", *(f"{v:.4f}" for v in values[3:])]
            print(f"| {name} ({len(slices)}), {title} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    run_command(main)
