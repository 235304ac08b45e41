"""How good a result is: measured in the lung window against the real thing, beside what a user has without this bundle.

``python -m bundle.evaluation SOURCE TARGET RESULT --tuning FOLDER`` prints one table. The competitors' free parameters
are tuned on simulated pairs of other scans, never on the pair that is measured.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import fire
import numpy as np
import torch
from monai.metrics import MAEMetric, MSEMetric, SSIMMetric
from monai.transforms import Compose, EnsureChannelFirst, LoadImage, Orientation
from scipy.ndimage import gaussian_filter
from skimage.restoration import denoise_nl_means
from torch import Tensor

from bundle import scanner
from bundle.lungs import lungs
from bundle.storage import ScanReader, find_images, read_window, spacing_of

WINDOW = (-1000.0, 200.0)
EMPHYSEMA = -950.0
SIGMAS = (0.4, 0.6, 0.8, 1.0, 1.2, 1.4, 1.7, 2.0)
STRENGTHS = (10.0, 20.0, 30.0, 45.0, 65.0, 90.0)


@dataclass(frozen=True)
class Scores:
    """One method against the target, in the lung window scaled to 0..1; `emphysema` in percent of the lung."""

    ssim: float
    mae: float
    mse: float
    emphysema: float


def load(path: str | Path) -> Tensor:
    """Read an image as `(1, *spatial)` in HU, oriented to RAS so that slices lie in the first two axes."""
    read = Compose([LoadImage(reader=ScanReader(), image_only=True), EnsureChannelFirst()])
    return Orientation("RAS", labels=None)(read(str(path)))


def scores(result: Tensor, target: Tensor, lung: Tensor) -> Scores:
    """Compare two images in HU, slice by slice, with MONAI's metrics.

    Args:
        result: `(1, x, y, z)`.
        target: the same shape.
        lung: boolean, the same shape.
    """

    def slices(image: Tensor) -> Tensor:
        scaled = (image.clamp(*WINDOW) - WINDOW[0]) / (WINDOW[1] - WINDOW[0])
        return scaled.as_subclass(Tensor).float().movedim(-1, 0)

    a, b = slices(result), slices(target)
    ssim = SSIMMetric(spatial_dims=2, data_range=1.0)
    mae, mse = MAEMetric(), MSEMetric()
    for i in range(len(a)):
        for metric in (ssim, mae, mse):
            metric(a[i : i + 1], b[i : i + 1])
    inside = torch.as_tensor(result)[lung]
    share = 100 * float((inside < EMPHYSEMA).float().mean())
    values = [float(torch.as_tensor(metric.aggregate()).mean()) for metric in (ssim, mae, mse)]
    return Scores(values[0], values[1], values[2], share)


def gaussian(image: Tensor, sigma: float) -> Tensor:
    """Smooth each slice by a Gaussian of ``sigma`` voxels."""
    return torch.from_numpy(gaussian_filter(np.asarray(image), (0, sigma, sigma, 0)))


def non_local_means(image: Tensor, strength: float) -> Tensor:
    """Denoise each slice by non-local means; ``strength``, in HU, is the filter's ``h``."""
    out = np.empty(image.shape, np.float32)
    for z, piece in enumerate(np.moveaxis(np.asarray(image, np.float32)[0], -1, 0)):
        out[0, ..., z] = denoise_nl_means(piece, 5, 6, h=strength, fast_mode=True)
    return torch.from_numpy(out)


def tuning_pairs(folder: str | Path, slices: int = 1, seed: int = 0) -> list[tuple[Tensor, Tensor]]:
    """Simulated sharp and soft slices of the scans in a folder, `(1, x, y, slices)` each; kernels and doses drawn."""
    generator = torch.Generator().manual_seed(seed)
    pairs = []
    for path in find_images(folder):
        image = load(path)
        depth = image.shape[-1]
        margin = scanner.reach(3)
        for part in (0.4, 0.6):
            start = min(int(part * depth), depth - slices)
            bounds = [(-m, size + m) for m, size in zip(margin[:2], image.shape[1:], strict=False)]
            piece = read_window(torch.as_tensor(image).as_subclass(Tensor)[None], [*bounds, (start, start + slices)])
            kernel = scanner.Kernel.random(generator)
            dose = float(15 * (1000 / 15) ** torch.rand((), generator=generator))
            soft, sharp = scanner.acquire(piece, spacing_of(image, 3), (scanner.SOFT, kernel), dose, seed=seed)
            pairs.append((sharp[0], soft[0]))
    return pairs


def tune(
    method: Callable[[Tensor, float], Tensor], values: Sequence[float], pairs: Sequence[tuple[Tensor, Tensor]]
) -> float:
    """The value with the highest mean SSIM over the pairs."""

    def quality(value: float) -> float:
        found = [
            scores(method(sharp, value), soft, torch.ones_like(soft, dtype=torch.bool)).ssim for sharp, soft in pairs
        ]
        return float(np.mean(found))

    return max(values, key=quality)


def table(source: str, target: str, result: str, tuning: str) -> str:
    """Measure a real pair of kernels and return the table.

    Args:
        source: the sharp image.
        target: the soft image of the same acquisition.
        result: the sharp image translated.
        tuning: folder of other scans, on which the competitors' parameters are tuned through simulated pairs.

    Raises:
        ValueError: where the images are not of one shape.
    """
    sharp, soft, ours = load(source), load(target), load(result)
    if not sharp.shape == soft.shape == ours.shape:
        raise ValueError(
            f"source {tuple(sharp.shape)}, target {tuple(soft.shape)} and result {tuple(ours.shape)} must be of one "
            "shape; translate the source itself."
        )
    pairs = tuning_pairs(tuning)
    sigma, strength = tune(gaussian, SIGMAS, pairs), tune(non_local_means, STRENGTHS, pairs)
    best = max(SIGMAS, key=lambda value: scores(gaussian(sharp, value), soft, soft > 0).ssim)
    lung = lungs(soft) & (torch.as_tensor(soft) < -500)
    rows = {
        "source as it is": sharp,
        f"non-local means, h {strength:g} HU, tuned on simulated pairs": non_local_means(sharp, strength),
        f"Gaussian, sigma {sigma}, tuned on simulated pairs": gaussian(sharp, sigma),
        "this bundle": ours,
        f"Gaussian, sigma {best}, tuned on this very pair (ceiling)": gaussian(sharp, best),
        "target": soft,
    }
    lines = ["| method | SSIM | MAE | MSE | lung below -950 HU |", "|---|---|---|---|---|"]
    for name, image in rows.items():
        found = scores(image, soft, lung)
        lines.append(f"| {name} | {found.ssim:.4f} | {found.mae:.5f} | {found.mse:.6f} | {found.emphysema:.1f} % |")
    return "\n".join(lines)


if __name__ == "__main__":
    fire.Fire(table)
