"""Simulate pairs: pass soft CTs through the simulated scanner, slab by slab."""

from __future__ import annotations

import math
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from bundle import scanner
from bundle.evaluation.cases.pairs import Pair, central, pair_in, shift_affine
from bundle.images import Volume, create, slabs, stem

DOSES = (15.0, 1000.0)  # range of drawn doses, log-uniform; 100 is the dose of the calibration scan


@dataclass(frozen=True)
class Acquisition:
    """Settings of the simulated scanner for a soft CT (`bundle.scanner.acquire`).

    Args:
        name: name shown in the table.
        kernel: kernel of the source; null draws one.
        dose: dose of the scan; null draws one, log-uniformly from 15 to 1000.
        seed: seed of the drawn values and of the noise.
        slice_thickness: odd number of slices to average.
        clean: whether the target is the CT itself, without added noise, instead of an acquisition of the source's dose.
    """

    name: str
    kernel: scanner.Kernel | None = None
    dose: float | None = None
    seed: int = 0
    slice_thickness: int = 1
    clean: bool = False

    def drawn(self, index: int) -> Acquisition:
        """Return a copy with all values set; drawn values differ between scans."""
        generator = torch.Generator().manual_seed(1000 * self.seed + index)
        kernel = scanner.Kernel.random(generator)
        low, high = DOSES
        dose = low * (high / low) ** float(torch.rand((), generator=generator))
        return replace(self, kernel=self.kernel or kernel, dose=self.dose or dose, seed=1000 * self.seed + index)


@dataclass(frozen=True)
class SimulatedCase:
    """A simulated pair: a soft CT acquired with a soft and a sharp kernel.

    Args:
        path: path of the soft CT.
        acquisition: acquisition with all values set, see `Acquisition.drawn`.
        side: side of the central part to take in x and y, in voxels; None for the whole slices.
        at: position of the slices in z, from 0 to 1.
        kind: kind of the pair, which selects its table.
    """

    path: str
    acquisition: Acquisition
    side: int | None = None
    at: float = 0.5
    kind: str = "simulated"

    @property
    def name(self) -> str:
        """Return the CT's name without its suffix, the acquisition's name and the position."""
        return f"{stem(self.path)}_{self.acquisition.name}_{self.at:g}".replace(" ", "_").replace(",", "")

    @property
    def place(self) -> str:
        """Return the path of the CT."""
        return self.path

    def prepare(self, folder: Path, slices: int | None) -> Pair:
        """Acquire the pair slab by slab; noise depends only on position, so the result equals that of the whole CT."""
        image, how = Volume(self.path), self.acquisition
        assert how.kernel is not None and how.dose is not None
        plane = [central(size, self.side) for size in image.shape[:2]]
        start, stop = central(image.shape[2], slices, self.at)
        margins = scanner.acquisition_margin(3, how.slice_thickness)
        origin = (plane[0][0], plane[1][0], start)
        shape = (*(b - a for a, b in plane), stop - start)
        pair = pair_in(self.name, self.kind, folder)
        with ExitStack() as stack:
            appends = [
                stack.enter_context(create(path, shape, shift_affine(image.affine, origin)))
                for path in (pair.target, pair.source)
            ]
            for first, last in slabs(stop - start):
                bounds = [*plane, (start + first, start + last)]
                grown = [(a - margin, b + margin) for (a, b), margin in zip(bounds, margins, strict=True)]
                window, first_voxel = image.window(grown), [a for a, _ in grown]
                doses = (math.inf if how.clean else how.dose, how.dose)
                for append, kernel, dose in zip(appends, (scanner.SOFT, how.kernel), doses, strict=True):
                    (slab,) = scanner.acquire(
                        window,
                        image.spacing,
                        (kernel,),
                        dose,
                        how.seed,
                        first_voxel,
                        slice_thickness=how.slice_thickness,
                    )
                    append(slab)
        return pair
