"""Calibrate the kernels of a scanner on one pair: one acquisition, reconstructed with a sharp and a soft kernel."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

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
from matplotlib.figure import Figure
from torch import Tensor

SLICES = 48  # largest number of slices of a pair to fit
LEAST, MOST = 0.1, 2.0  # range that the sharp kernel's gain is clipped to
LEAST_RATIO = 0.02


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
            ValueError: If source or target is missing, or they do not lie on one grid.
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
        names = [self._name(source, self.source_name), self._name(target, self.target_name)]
        numbers = tuple(spread_slices(source.shape[2], SLICES))
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
        found = self._kernels(target, names, conversion, about)
        folder = Path(self.output_dir)
        with atomic(folder / "kernels.json") as path:
            path.write_text(as_json(found), encoding="utf-8")
        with atomic(folder / "calibration.png") as path:
            _figure(source, target, names, conversion).savefig(path, dpi=120)
        print(f"written: {folder / 'kernels.json'}, {folder / 'calibration.png'}")
        return found

    def _name(self, volume: Volume, name: str | None) -> str:
        return name or str(volume.image.meta.get("convolution_kernel", "")) or volume.path.name.split(".")[0]

    def _kernels(self, target: Volume, names: list[str], conversion: Conversion, about: str) -> Kernels:
        """Return both kernels: the soft one found from its skin edge and noise, the sharp one by dividing by the gain.

        The soft scan is used because it has less noise, and its undershoot stays within what a scanner stores.
        """
        maker = self.manufacturer or str(target.image.meta.get("manufacturer", ""))
        return Kernels(
            pair_of_kernels(target, names, conversion.filter, maker, about), ((names[0], names[1], conversion),)
        )


def pair_of_kernels(
    target: Volume, names: list[str], gain: Transfer, manufacturer: str, about: str
) -> tuple[Transfer, Transfer]:
    """Return the sharp and the soft kernel of a pair, from its soft scan and the fitted gain."""
    found = find_transfer(target, target.spacing)
    soft, way = found or SOFT, f"by {found.source}" if found else "a usual soft kernel"
    ratio, base = (np.asarray(sampled(kernel, KNOTS)) for kernel in (gain, soft))
    sharp = np.clip(base / np.maximum(ratio, LEAST_RATIO), LEAST, MOST)
    sharp[0] = 1.0
    known = found.deviations if found else ()
    deviations = np.asarray(known or np.zeros(len(KNOTS))) / np.maximum(base, LEAST)
    edges: list[tuple[float, ...]] = [(), ()]
    if found and found.edge:
        seen = np.clip(np.asarray(found.edge) / np.maximum(ratio, LEAST_RATIO), LEAST, MOST)
        edges = [(1.0, *_tuple(seen)[1:]), found.edge]
    first, second = (
        Transfer(
            KNOTS,
            _tuple(values),
            _tuple(values * deviations) if known else (),
            manufacturer,
            name,
            f"{about}; {way}",
            edge,
        )
        for name, values, edge in zip(names, (sharp, sharp * ratio), edges, strict=True)
    )
    return first, second


def _tuple(values: np.ndarray) -> tuple[float, ...]:
    return tuple(float(value) for value in values)


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
