"""Compare noise made in projections with that of real scans: where it is strong, and its spectrum.

    python -m docs.figures.projection_noise DATA

DATA holds ``lowdose/*_QD.nii.gz`` and ``*_FD.nii.gz``: the difference of two doses of a slice is nothing but noise. It
prints a table and writes ``docs/figures/projection_noise.png``. No number was fitted to these slices, but the usual bow
tie of `Beam` was chosen with their maps in view.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from scipy.ndimage import gaussian_filter

from benchmarks.real_doses import Slice, series
from bundle.runtime.commands import run_command
from bundle.scanner import Beam, projection_noise
from bundle.scanner.kernels import catalogue

SMOOTHING = 8.0  # voxels, of the maps
SHOWN = ("L096 D45f", "L192 D45f", "L192 B30f")
TITLES = ("target", "real noise", "simulated noise", "real, local deviation", "simulated, local deviation")


def noises(each: Slice, kernel: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the target, the real noise, and noise simulated for it through the kernel, scaled to the same power."""
    target = each.target[..., 0]
    real = (each.source - each.target)[..., 0].numpy()
    raw = projection_noise(target, each.spacing[:2], torch.Generator().manual_seed(0), Beam())[0]
    found = catalogue().find(kernel)
    assert found is not None
    size = raw.shape
    frequency = np.hypot(
        *np.meshgrid(*(np.fft.fftfreq(n, mm) for n, mm in zip(size, each.spacing, strict=False)), indexing="ij")
    )
    gain = found.transfer(torch.from_numpy(frequency)).numpy()
    made = np.fft.ifft2(np.fft.fft2(raw.numpy()) * gain).real
    image = target.numpy()
    return image, real, made * (real.std() / made.std())


def deviation(noise: np.ndarray) -> np.ndarray:
    """Return the local deviation."""
    return np.sqrt(gaussian_filter(noise**2, SMOOTHING))


def main(data: str) -> None:
    """Print the table and draw the figure.

    Args:
        data: folder that holds ``lowdose``.
    """
    found = series(Path(data, "lowdose"))
    if not found:
        print(f"skipped: there are no pairs in {Path(data, 'lowdose')}")
        return
    print("| slices | correlation of the maps | lung / tissue, real | simulated | air / tissue, real | simulated |")
    print("|---|---|---|---|---|---|")
    figure = Figure(figsize=(15, 9), layout="constrained")
    axes = figure.subplots(len(SHOWN), len(TITLES))
    for name, slices in found.items():
        rows = []
        for place, each in enumerate(slices):
            image, real, made = noises(each, name.split()[1])
            a, b = deviation(real), deviation(made)
            smooth = gaussian_filter(image, 3.0)
            body, tissue, air = smooth > -400, (smooth > -100) & (smooth < 150), smooth < -970
            lung = (smooth > -930) & (smooth < -700)
            ratios = [m[part].mean() / m[tissue].mean() for part in (lung, air) for m in (a, b)]
            rows.append([np.corrcoef(np.log(a[body]), np.log(b[body]))[0, 1], *ratios])
            if place == 0 and name in SHOWN:
                top = 2 * a[tissue].mean()
                pictures = [(image, -1000, 200), (real, -top, top), (made, -top, top), (a, 0, top), (b, 0, top)]
                for axis, title, (picture, low, high) in zip(axes[SHOWN.index(name)], TITLES, pictures, strict=True):
                    axis.imshow(picture.T, vmin=low, vmax=high, cmap="gray" if low < 0 else "viridis")
                    axis.set(title=f"{name}: {title}", xticks=[], yticks=[])
        print(f"| {name} ({len(slices)}) | " + " | ".join(f"{value:.2f}" for value in np.mean(rows, 0)) + " |")
    figure.savefig(Path(__file__).with_suffix(".png"), dpi=48)


if __name__ == "__main__":
    run_command(main)
