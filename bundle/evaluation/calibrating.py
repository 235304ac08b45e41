"""Calibrate the kernels of a scanner on one pair: one acquisition, reconstructed with a sharp and a soft kernel."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from bundle.evaluation.cases import check_one_acquisition
from bundle.evaluation.methods import OnGrid
from bundle.evaluation.metrics import flat_places, noise_spectrum, whole_and_body
from bundle.images import ImageError, Slabs, Volume
from bundle.images.provenance import Own, check_overwrite, check_replaceable, is_source, told_of, write_provenance
from bundle.runtime import typed_path, typed_text
from bundle.runtime.files import atomic, sealing
from bundle.scanner import Conversion, Transfer, calibrate, converted, find_transfer, spread_slices
from bundle.scanner.edge_spread import KNOTS
from bundle.scanner.kernel import SOFT
from bundle.scanner.kernels import MOST_TEXT, Kernels, as_json, first_value
from bundle.scanner.transfer import sampled
from bundle.transforms.check_input import CheckInput
from bundle.transforms.kernel_choice import is_sharper
from matplotlib.figure import Figure
from torch import Tensor

SLICES = 48  # largest number of slices of a pair to fit
KERNELS, FIGURE = "kernels.json", "calibration.png"
ENDS = "source", "target"
LEAST, MOST = 0.1, 2.0  # range that the sharp kernel's gain is clipped to
LEAST_RATIO = 0.02
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


def _opened(key: str, path: str | Path | None, series_uid: str) -> Volume:
    """Open one of the scans; the error of a folder with several series names the key that chooses one."""
    try:
        return Volume(str(typed_path(key, path)), series_uid)
    except ImageError as error:
        raise ImageError(str(error).replace("series_uid", f"calibration#{key}_series_uid")) from None


@dataclass(frozen=True)
class Calibrating:
    """Fit a conversion to a pair, cross-validate it on two halves, and write ``kernels.json`` and ``calibration.png``.

    Args:
        source: path of the scan with the sharp kernel.
        target: path of the scan with the soft kernel.
        output_dir: folder of the results.
        source_name: name of the sharp kernel; null for that in the DICOM header, or "sharp" if it has none.
        target_name: name of the soft kernel; null for that in the DICOM header, or "soft" if it has none.
        manufacturer: manufacturer of the scanner; null for that in the DICOM header.
        source_series_uid: the series to read from a source that is a DICOM folder with several.
        target_series_uid: the same for the target.
        overwrite: "own" to replace only what an earlier calibration on the same pair has written, "all" to replace any
            files of these names.
    """

    source: str | Path | None
    target: str | Path | None
    output_dir: str | Path
    source_name: str | None = None
    target_name: str | None = None
    manufacturer: str | None = None
    source_series_uid: str = ""
    target_series_uid: str = ""
    overwrite: str = "own"

    def run(self) -> Kernels:
        """Calibrate, print the scores and write the files.

        Raises:
            ValueError: If source or target is missing, if they are not two reconstructions of one acquisition, by their
                grids, their anatomy and their levels, if both are the same, if the source is the softer one, or if
                both kernels have one name.
            FileExistsError: If a file would be replaced that is not from an earlier calibration on this pair.
        """
        check_overwrite(self.overwrite)
        if self.source is None or self.target is None:
            raise ValueError(
                "calibrating needs --source SHARP and --target SOFT, two reconstructions of one acquisition."
            )
        source, target = (_opened(key, getattr(self, key), getattr(self, f"{key}_series_uid")) for key in ENDS)
        if source.shape != target.shape or not np.allclose(source.affine, target.affine, atol=1e-2):
            raise ValueError(
                f"source {str(self.source)!r} {source.shape} and target {str(self.target)!r} {target.shape} are not of "
                "one grid; give two reconstructions of one acquisition."
            )
        for scan in (source, target):
            CheckInput("warn")(scan.image)
        names, maker = self._names(source, target)
        folder = Path(str(typed_path("output_dir", self.output_dir)))
        replaced = {folder / name: self._replaced(folder / name, source, target) for name in (KERNELS, FIGURE)}
        numbers = tuple(spread_slices(source.shape[2], SLICES))
        check_one_acquisition(source, target, numbers)
        if len(numbers) > 1:
            middle = len(numbers) // 2
            halves = [Slices(source, target, part) for part in (numbers[:middle], numbers[middle:])]
        else:
            halves = [Slices(source, target, numbers, half) for half in (0, 1)]
        about = f"calibrated on one pair, {len(numbers)} slices"  # without file names, which may be those of patients
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
        kernels = pair_of_kernels(source, names, conversion.filter, maker, about)
        found = Kernels(kernels, ((names[0], names[1], conversion),))
        figure = _figure(source, target, names, conversion)
        for path, own in replaced.items():
            with _told(path, source, target, own), atomic(path) as part:
                if path.name == KERNELS:
                    part.write_text(as_json(found), encoding="utf-8")
                else:
                    figure.savefig(part, dpi=120)
        print(f"written: {', '.join(map(str, replaced))}")
        return found

    def _names(self, source: Volume, target: Volume) -> tuple[list[str], str]:
        """Return the names of both kernels, and the manufacturer: as given, else by the headers.

        Raises:
            ValueError: If both have one name, or a name is too long or not printable.
        """
        found = {
            "source_name": (self.source_name, source.image.meta.get("convolution_kernel"), "sharp"),
            "target_name": (self.target_name, target.image.meta.get("convolution_kernel"), "soft"),
            "manufacturer": (self.manufacturer, target.image.meta.get("manufacturer"), ""),
        }
        texts = []
        for key, (given, header, usual) in found.items():
            text = first_value(typed_text(f"calibration#{key}", given) if given is not None else header or "") or usual
            if not text.isprintable() or len(text) > MOST_TEXT:
                raise ValueError(
                    f"{key} {text!r} is not printable text of at most {MOST_TEXT} characters; give another as "
                    f"calibration#{key}."
                )
            texts.append(text)
        *names, maker = texts
        if names[0].lower() == names[1].lower():
            raise ValueError(
                f"source {str(source.path)!r} and target {str(target.path)!r} have kernels of one name, {names[0]!r}; "
                "give each its own by calibration#source_name and calibration#target_name."
            )
        return names, maker

    def _replaced(self, path: Path, source: Volume, target: Volume) -> Own | None:
        """Return the file of an earlier calibration on this pair that is to be replaced; None if there is none.

        Raises:
            FileExistsError: If there is another file.
        """
        own = check_replaceable(path, source.path, source.image.files, self.overwrite, "calibration#overwrite")
        if own and self.overwrite == "own" and not is_source(own.told["target"], target.path, target.image.files):
            raise FileExistsError(
                f"result {str(path)!r} exists already, and was calibrated on another target than {str(target.path)!r}; "
                "move it away, take another output_dir, or set calibration#overwrite to 'all'."
            )
        return own


@contextmanager
def _told(path: Path, source: Volume, target: Volume, replaced: Own | None) -> Iterator[None]:
    """Write beside the next file which pair it was calibrated on, by which a later calibration recognizes it."""

    def seal(part: Path) -> None:
        pair = {"target": told_of(target.path, target.image.files)}
        write_provenance(path, part, source.path, source.image.files, pair, replaced)

    with sealing(seal):
        yield


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
    found: Transfer | None = find_transfer(source, source.spacing)
    ratio = sampled(gain, KNOTS)
    if found is None:
        usual = (np.asarray(sampled(SOFT, KNOTS)) / np.maximum(ratio, LEAST_RATIO)).clip(LEAST, MOST)
        found = Transfer(KNOTS, tuple(usual.tolist()), source="dividing a usual soft kernel by the gain")
    about = f"{about}; by {found.source}"
    sharp = replace(found, manufacturer=manufacturer, name=names[0], source=about)
    told = found.gains, found.deviations
    gains, deviations = (tuple(v * g for v, g in zip(each, ratio, strict=True)) if each else () for each in told)
    return sharp, Transfer(KNOTS, gains, deviations, manufacturer, names[1], about, found.upright)


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
