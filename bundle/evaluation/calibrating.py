"""Calibrate the kernels of a scanner on one pair: one acquisition, reconstructed with a sharp and a soft kernel."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from bundle.evaluation.methods import OnGrid
from bundle.evaluation.metrics import flat_places, noise_spectrum, whole_and_body
from bundle.images import Slabs, Volume
from bundle.runtime.files import atomic
from bundle.scanner import Conversion, Transfer, calibrate, converted, find_transfer, spread_slices
from bundle.scanner.edge_spread import KNOTS
from bundle.scanner.kernel import SOFT
from bundle.scanner.kernels import Kernels, as_json
from bundle.scanner.transfer import sampled
from bundle.transforms.check_input import CheckInput
from bundle.transforms.kernel_choice import is_sharper
from matplotlib.figure import Figure
from scipy.ndimage import gaussian_filter
from skimage.registration import phase_cross_correlation
from torch import Tensor

SLICES = 48  # largest number of slices of a pair to fit
LEAST, MOST = 0.1, 2.0  # range that the sharp kernel's gain is clipped to
LEAST_RATIO = 0.02
#: Two scans are a pair if the medians over some slices, smoothed and clipped to soft tissue and below, have this
#: correlation at least, and this shift at most. Real pairs have 0.998 or more, neighbouring slices of 1 mm 0.988.
COMPARED, SMOOTH, ANATOMY, ALIKE, SHIFT = 5, 2.0, (-1000.0, 300.0), 0.99, 0.25
LEVELS = 50.0  # HU: the largest difference of two kernels of a scanner, whose clipped air differs by up to 30


@dataclass(frozen=True)
class Slices:
    """Some slices of a pair, read one by one, with a mask of the voxels to fit; can be iterated several times.

    Args:
        source: scan with the sharp kernel.
        target: scan with the soft kernel.
        numbers: indices of the slices.
        half: 0 or 1 for the left or right half of each slice; null for all voxels.
    """

    source: Slabs
    target: Slabs
    numbers: tuple[int, ...]
    half: int | None = None

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor, Tensor | None]]:
        for z in self.numbers:
            yield self.source.slab(z, z + 1)[..., 0], self.target.slab(z, z + 1)[..., 0], self.mask()

    def mask(self) -> Tensor | None:
        """Return the mask of the voxels to fit; None for all."""
        if self.half is None:
            return None
        left = torch.arange(self.source.shape[0]) < self.source.shape[0] // 2
        return (left if self.half == 0 else ~left)[:, None].expand(self.source.shape[:2])


@dataclass(frozen=True)
class Calibrating:
    """Fit a conversion to a pair, cross-validate it on two halves, and write ``kernels.json`` and ``calibration.png``.

    Args:
        source: path of the scan with the sharp kernel.
        target: path of the scan with the soft kernel.
        output_dir: folder of the results.
        source_name: name of the sharp kernel; null for that in the DICOM header, or the file's name.
        target_name: name of the soft kernel; null likewise.
        manufacturer: manufacturer of the scanner; null for that in the DICOM header.
    """

    source: str | Path | None
    target: str | Path | None
    output_dir: str | Path
    source_name: str | None = None
    target_name: str | None = None
    manufacturer: str | None = None

    def run(self) -> Kernels:
        """Calibrate, print the scores and write the files.

        Raises:
            ValueError: If source or target is missing, if they are not two reconstructions of one acquisition, by their
                grids, their anatomy and their levels, if both are the same, or if the source is the softer one.
        """
        if self.source is None or self.target is None:
            raise ValueError(
                "calibrating needs --source SHARP and --target SOFT, two reconstructions of one acquisition."
            )
        source, target = Volume(self.source), Volume(self.target)
        if source.shape != target.shape or not np.allclose(source.affine, target.affine, atol=1e-2):
            raise ValueError(
                f"source {str(self.source)!r} {source.shape} and target {str(self.target)!r} {target.shape} are not of "
                "one grid; give two reconstructions of one acquisition."
            )
        for scan in (source, target):
            CheckInput("warn")(scan.image)
        numbers = tuple(spread_slices(source.shape[2], SLICES))
        _check_pair(source, target, numbers)
        names = [self._name(source, self.source_name), self._name(target, self.target_name)]
        if len(numbers) > 1:
            middle = len(numbers) // 2
            halves = [Slices(source, target, part) for part in (numbers[:middle], numbers[middle:])]
        else:
            halves = [Slices(source, target, numbers, half) for half in (0, 1)]
        about = f"calibrated on {source.path.name} and {target.path.name}, {len(numbers)} slices"
        fits = [calibrate(half, source.spacing, source=about) for half in halves]
        for half, other, word in zip(halves, fits[::-1], ("first", "second"), strict=True):
            before, after = (_score(half, source.spacing, each) for each in (None, other))
            print(
                f"{word} half by the other: "
                + ", ".join(
                    f"{what} {a:.4f} -> {b:.4f}"
                    for what, a, b in zip(
                        ("SSIM", "MAE", "SSIM in the body", "MAE in the body"), before, after, strict=True
                    )
                )
            )
        conversion = calibrate(Slices(source, target, numbers), source.spacing, source=about)
        _check_conversion(self.source, self.target, conversion)
        maker = self.manufacturer or str(target.image.meta.get("manufacturer", ""))
        kernels = pair_of_kernels(source, names, conversion.filter, maker, about)
        found = Kernels(kernels, ((names[0], names[1], conversion),))
        folder = Path(self.output_dir)
        with atomic(folder / "kernels.json") as path:
            path.write_text(as_json(found), encoding="utf-8")
        with atomic(folder / "calibration.png") as path:
            _figure(source, target, names, conversion).savefig(path, dpi=120)
        print(f"written: {folder / 'kernels.json'}, {folder / 'calibration.png'}")
        return found

    def _name(self, volume: Volume, name: str | None) -> str:
        return name or str(volume.image.meta.get("convolution_kernel", "")) or volume.path.name.split(".")[0]


def _check_pair(source: Volume, target: Volume, numbers: Sequence[int]) -> None:
    """Refuse scans that do not show the same anatomy at the same place, or are one.

    Raises:
        ValueError: If the smoothed slices differ, or lie beside each other, or if all voxels are equal.
    """
    pair = f"source {str(source.path)!r} and target {str(target.path)!r}"
    alike, shifts, same = [], [], []
    for z in (numbers[i] for i in spread_slices(len(numbers), COMPARED)):
        one, other = (
            gaussian_filter(scan.slab(z, z + 1)[..., 0].clamp(*ANATOMY).numpy(), SMOOTH) for scan in (source, target)
        )
        same.append(torch.equal(*(scan.slab(z, z + 1) for scan in (source, target))))
        if one.std() > 0 and other.std() > 0:
            alike.append(float(np.corrcoef(one.ravel(), other.ravel())[0, 1]))
            shifts.append(phase_cross_correlation(one, other, upsample_factor=20, normalization=None)[0])
    if alike and all(same):
        raise ValueError(f"{pair} are the same image; give two reconstructions of one acquisition, sharp and soft.")
    if not alike or np.median(alike) < ALIKE:
        told = f"a correlation of {np.median(alike):.3f}, less than {ALIKE}" if alike else "no structure"
        raise ValueError(f"{pair} have too little in common, {told}; give two reconstructions of one acquisition.")
    shift = np.abs(np.median(shifts, 0)).max()
    if shift > SHIFT:
        raise ValueError(
            f"{pair} are shifted by {shift:.2f} pixels, more than {SHIFT}; give two reconstructions with one field of "
            "view, not registered or resampled."
        )


def _check_conversion(source: Any, target: Any, conversion: Conversion) -> None:
    """Refuse a conversion that no two kernels of a scanner have.

    Raises:
        ValueError: If the levels in HU differ, or the source is the softer one.
    """
    pair, most = f"source {str(source)!r} and target {str(target)!r}", max(map(abs, conversion.shifts))
    if most > LEVELS:
        raise ValueError(f"{pair} differ by {most:.0f} HU at one level, more than {LEVELS:g}; give both in HU.")
    if is_sharper(conversion.filter):
        raise ValueError(f"{pair}: the source is the softer one; give the sharp scan as the source.")


def pair_of_kernels(
    source: Volume, names: list[str], gain: Transfer, manufacturer: str, about: str
) -> tuple[Transfer, Transfer]:
    """Return the sharp and the soft kernel of a pair: the sharp one found in its scan, the soft one by the fitted gain.

    Skin and noise do not show frequencies below 0.1 cycles/mm, where some soft kernels enhance; the gain does. And the
    kernel of another scan that is converted to the soft one is found in the same way, so that what skin does to both is
    the same.
    """
    found = find_transfer(source, source.spacing)
    ratio = sampled(gain, KNOTS)
    if found is None:
        usual = (np.asarray(sampled(SOFT, KNOTS)) / np.maximum(ratio, LEAST_RATIO)).clip(LEAST, MOST)
        found = Transfer(KNOTS, tuple(usual.tolist()), source="dividing a usual soft kernel by the gain")
    about = f"{about}; by {found.source}"
    sharp = replace(found, manufacturer=manufacturer, name=names[0], source=about)
    told = (found.gains, found.deviations, found.edge)
    gains, deviations, edge = (tuple(v * g for v, g in zip(each, ratio, strict=True)) if each else () for each in told)
    return sharp, Transfer(KNOTS, gains, deviations, manufacturer, names[1], about, edge)


def _score(slices: Slices, spacing: tuple[float, ...], conversion: Conversion | None) -> list[float]:
    """Return mean SSIM and MAE in the lung window over some slices, for the whole slices and within the body."""
    rows = []
    for a, b, use in slices:
        result = converted(a[..., None], spacing, conversion) if conversion else a[..., None]
        rows.append(whole_and_body(result, b[..., None], use))
    return [float(value) for value in np.nanmean(rows, 0)]


@dataclass(frozen=True)
class _Converted(OnGrid):
    """An image that is converted while it is read."""

    conversion: Conversion

    def slab(self, start: int, stop: int) -> Tensor:
        return converted(self.image.slab(start, stop), self.spacing, self.conversion)


def _figure(source: Volume, target: Volume, names: list[str], conversion: Conversion) -> Figure:
    """Draw the fitted gain, the shift of levels, and the noise spectra of source, result and target."""
    figure = Figure(figsize=(12, 3.6), layout="constrained")
    gain, shift, noise = figure.subplots(1, 3)
    knots, gains = np.asarray(conversion.filter.knots), np.asarray(conversion.filter.gains)
    deviations = np.asarray(conversion.filter.deviations or np.zeros(len(knots)))
    gain.plot(knots, gains)
    gain.fill_between(knots, gains - 2 * deviations, gains + 2 * deviations, alpha=0.3)
    gain.set(title=f"{names[1]} / {names[0]}", xlabel="cycles/mm", ylabel="gain, 2 deviations", ylim=(0, None))
    shift.plot(conversion.levels, conversion.shifts, marker="o")
    shift.set(title="shift of levels", xlabel="HU", ylabel="HU")
    if places := flat_places(target):
        for name, image in ((names[0], source), ("converted", _Converted(source, conversion)), (names[1], target)):
            noise.semilogy(*noise_spectrum(image, places), label=name)
        noise.legend()
    noise.set(title="noise in flat tissue", xlabel="cycles/mm", ylabel="HU² mm²")
    return figure
