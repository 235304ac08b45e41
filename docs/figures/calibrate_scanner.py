"""Calibrate the simulated scanner on two reconstructions, sharp and soft, of one real acquisition.

    python docs/figures/calibrate_scanner.py SHARP.nii.gz SOFT.nii.gz

Measured slice by slice, radially: the transfer ratio sharp/soft (cross spectrum over the soft image's power, all of
the body) and both noise powers (flat soft tissue). Fitted to them: the parameters of `SOFT` and `SHARP` and
`NOISE_POWER` in `bundle/scanner/kernel.py`, which hold the numbers printed here. The pair is a test case: nothing but
these few numbers is taken from it, and no image of it is trained on. Prints the fit and how near a sharpened soft
image comes to the real sharp one, and writes `scanner_calibration.png` beside this script.
"""

from __future__ import annotations

import math
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import nibabel as nib
import numpy as np
import torch
from monai.metrics import SSIMMetric
from scipy.ndimage import gaussian_filter, uniform_filter
from scipy.optimize import least_squares

sys.path.insert(0, str(Path(__file__).parents[2]))
from bundle import scanner
from bundle.scanner import Kernel, acquire, acquisition_margin, noise_power, ratio

BODY, FLAT = 128, 24  # side of the patches in voxels, for the ratio and for the noise
ROUNDING = 1 / 12  # HU^2: variance of rounding to whole HU
QUOTED = 0.82  # cycles/mm: above it the soft image is mostly rounding and noise of its own, and coherence is below 0.85


def patches(soft: np.ndarray, sharp: np.ndarray, size: int, step: int):
    """Yield the same square patch of both images, slice by slice, with the patch smoothed over 3 voxels."""
    for z in range(soft.shape[2]):
        smooth = gaussian_filter(soft[..., z], 3)
        for x in range(0, soft.shape[0] - size + 1, step):
            for y in range(0, soft.shape[1] - size + 1, step):
                at = np.s_[x : x + size, y : y + size]
                yield soft[..., z][at], sharp[..., z][at], smooth[at]


def spectra(pairs, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return mean power of soft and of sharp and their cross spectrum, Hann window, `(size, size)`, HU^2 voxel."""
    window = np.outer(np.hanning(size), np.hanning(size))
    transformed = [[np.fft.fft2(patch * window) for patch in pair] for pair in pairs]
    a, b = (np.array(side) for side in zip(*transformed, strict=True))
    scale = len(a) * (window**2).sum()
    return (abs(a) ** 2).sum(0) / scale, (abs(b) ** 2).sum(0) / scale, (b * a.conj()).sum(0).real / scale


def body_pairs(soft: np.ndarray, sharp: np.ndarray):
    """Yield patches with little air, less their mean."""
    for a, b, _ in patches(soft, sharp, BODY, BODY // 2):
        if (a < -950).mean() < 0.3:
            yield a - a.mean(), b - b.mean()


def flat_pairs(soft: np.ndarray, sharp: np.ndarray):
    """Yield patches of one soft tissue, less a parabola: what is left is noise."""
    x, y = (axis.ravel() - (FLAT - 1) / 2 for axis in np.mgrid[:FLAT, :FLAT])
    basis = np.linalg.qr(np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], 1))[0]
    for *pair, smooth in patches(soft, sharp, FLAT, FLAT // 2):
        if smooth.min() > -60 and smooth.max() < 160 and np.ptp(smooth) < 25 and pair[0].min() > -80:
            flat = [patch.ravel() - basis @ (basis.T @ patch.ravel()) for patch in pair]
            yield tuple(patch.reshape(FLAT, FLAT) for patch in flat)


def radial(values: np.ndarray, frequency: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Return the mean of `values` in each ring of `frequency`; NaN for an empty ring."""
    count, _ = np.histogram(frequency, edges)
    total, _ = np.histogram(frequency, edges, weights=values)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def unpack(numbers) -> tuple[Kernel, Kernel, float]:
    """Return soft kernel, sharp kernel and noise power from the fit's vector."""
    *kernels, log_noise = (float(n) for n in numbers)
    return Kernel(*kernels[:4]), Kernel(*kernels[4:]), math.exp(log_noise)


def fit(body, flat, pixel: float) -> tuple[Kernel, Kernel, float]:
    """Fit kernels and noise power to the logarithms of ratio and noise powers."""
    at_body, at_flat = (scanner.frequencies((pixel, pixel), size=size) for size in (BODY, FLAT))
    use_body = (at_body > 0.04) & (at_body < QUOTED)
    use_flat = (at_flat > 0.12) & (at_flat < 1.0)  # below, the patch is too small to tell noise from anatomy
    f = at_body[use_body]
    measured = torch.from_numpy(body[2] / body[0])[use_body].log()
    weight = 8 * (0.2 / f) * math.sqrt(int(use_flat.sum()) / len(f))  # anatomy lives at low frequencies

    def residuals(numbers):
        soft, sharp, noise = unpack(numbers)
        of_ratio = ratio(sharp, soft, f).log() - measured
        powers = [sum(noise_power(k, (pixel, pixel), FLAT)) * noise / scanner.NOISE_POWER for k in (soft, sharp)]
        of_noise = [
            torch.log((model + ROUNDING * pixel**2) / torch.from_numpy(power * pixel**2))[use_flat]
            for model, power in zip(powers, flat, strict=False)  # the third of `flat` is the cross spectrum
        ]
        return torch.cat([of_ratio * weight, *(r * 0.5 / at_flat[use_flat].sqrt() for r in of_noise)]).numpy()

    start = (0.4, 2.0, 0.05, 0.2, 0.8, 5.0, 0.4, 0.5, 7.0)
    bounds = ((0.1, 0.5, 0, 0.03, 0.3, 1, 0, 0.1, 4), (1, 4, 1, 0.6, 2, 9, 3, 1, 10))
    return unpack(least_squares(residuals, start, bounds=bounds, x_scale=start).x)


def report(soft: np.ndarray, sharp: np.ndarray, spacing: tuple[float, ...]) -> None:
    """Print how near the soft image, sharpened by the named instances, comes to the real sharp one."""
    margin = acquisition_margin(3)
    inner = tuple(slice(m, -m or None) for m in margin)
    simulated = acquire(torch.from_numpy(soft), spacing, [scanner.SHARP], dose=math.inf)[0].numpy()
    soft, sharp = soft[inner], sharp[inner]
    smooth = uniform_filter(soft, (9, 9, 1))
    spread = np.sqrt(np.maximum(uniform_filter(soft**2, (9, 9, 1)) - smooth**2, 0))
    tissue, lung = (smooth > 20) & (smooth < 80) & (spread < 14), (smooth > -950) & (smooth < -800) & (spread < 40)
    ssim = SSIMMetric(spatial_dims=2, data_range=1.0)
    print("\nagainst the real sharp image, -1000..200 HU as 0..1        noise in HU")
    print(f"{'':20}{'SSIM':>8}{'MAE':>9}{'soft tissue':>17}{'lung':>9}")
    for name, image in (("soft", soft), ("simulated sharp", simulated), ("real sharp", sharp)):
        fine = image - uniform_filter(image, (9, 9, 1))
        a, b = (
            torch.from_numpy((np.clip(v, -1000, 200) + 1000) / 1200).movedim(-1, 0)[:, None] for v in (image, sharp)
        )
        likeness = f"{ssim(a, b).mean():8.3f}{(a - b).abs().mean():9.4f}"
        print(f"{name:20}{likeness}{fine[tissue].std():17.1f}{fine[lung].std():9.1f}")


def main(sharp_file: str, soft_file: str) -> None:
    """Measure, fit, print and draw."""
    torch.set_num_threads(1)
    header = nib.load(soft_file).header
    spacing = tuple(float(s) for s in header.get_zooms()[:3])
    soft, sharp = (nib.load(path).get_fdata(dtype=np.float32) for path in (soft_file, sharp_file))
    body = spectra(body_pairs(soft, sharp), BODY)
    flat = spectra(flat_pairs(soft, sharp), FLAT)
    pixel = spacing[0]
    fitted_soft, fitted_sharp, noise = fit(body, flat, pixel)
    for name, k in (("SOFT ", fitted_soft), ("SHARP", fitted_sharp)):
        print(f"{name}  half {k.half:.3f}  order {k.order:.2f}  edge {k.edge:.3f}  position {k.position:.3f}")
    print(f"NOISE_POWER {noise:.0f}\n")

    edges = np.arange(0, 1.11, 0.05)
    middle = (edges[1:] + edges[:-1]) / 2
    at_body, at_flat = (scanner.frequencies((pixel, pixel), size=size).numpy() for size in (BODY, FLAT))
    ring = [radial(values, at_body, edges) for values in body]
    measured, coherence = ring[2] / ring[0], ring[2] ** 2 / ring[0] / ring[1]
    curve = ratio(fitted_sharp, fitted_soft, torch.from_numpy(middle)).numpy()
    powers = [radial(power, at_flat, edges) * pixel**2 for power in flat[:2]]
    scale = noise / scanner.NOISE_POWER
    models = [
        radial((sum(noise_power(k, (pixel, pixel), FLAT)) * scale + ROUNDING * pixel**2).numpy(), at_flat, edges)
        for k in (fitted_soft, fitted_sharp)
    ]
    print("cycles/mm  coherence   ratio    fit     noise soft    fit    noise sharp    fit   (HU^2 mm^2)")
    for row in zip(middle, coherence, measured, curve, powers[0], models[0], powers[1], models[1], strict=True):
        print("{:7.3f}{:11.3f}{:10.2f}{:8.2f}{:12.2f}{:9.2f}{:12.1f}{:9.1f}".format(*row))
    for name, (data, model), top in (
        ("ratio", (measured, curve), QUOTED),
        ("noise soft", (powers[0], models[0]), 1),
        ("noise sharp", (powers[1], models[1]), 1),
    ):
        error = np.log(model / data)[(middle > 0.12) & (middle < top)]
        print(f"root mean square error of {name}, 0.12..{top} cycles/mm: {100 * np.sqrt((error**2).mean()):.1f} %")
    report(soft, sharp, spacing)

    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), dpi=110, constrained_layout=True)
    fine = torch.linspace(0, 1.1, 200, dtype=torch.float64)
    left.plot(fine, ratio(fitted_sharp, fitted_soft, fine), "k", label="fit")
    left.plot(middle, measured, "o", label="measured, body")
    left.plot(middle, np.sqrt(powers[1] / powers[0]), "^", mfc="none", label="measured, noise alone")
    left.plot(fine, fitted_soft.transfer(fine), "C0:", label="soft kernel, fit")
    left.plot(fine, fitted_sharp.transfer(fine), "C3:", label="sharp kernel, fit")
    left.set(xlabel="cycles/mm", ylabel="gain", title="Transfer ratio, sharp to soft", ylim=(0, 12))
    for power, model, colour, name in zip(powers, models, ("C0", "C3"), ("soft", "sharp"), strict=True):
        good = np.isfinite(power)
        right.semilogy(middle[good], power[good], "o", color=colour, label=f"{name}, measured")
        right.semilogy(middle[good], model[good], color=colour, label=f"{name}, fit")
    right.set(xlabel="cycles/mm", ylabel="HU² mm²", title="Noise power in flat soft tissue")
    for axes in (left, right):
        axes.axvline(0.5 / pixel, color="0.8", zorder=0)
        axes.text(0.5 / pixel, axes.get_ylim()[1], "Nyquist ", color="0.5", ha="right", va="top", fontsize=8)
        axes.legend(frameon=False, fontsize=8)
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(Path(__file__).with_name("scanner_calibration.png"))


if __name__ == "__main__":
    main(*sys.argv[1:])
