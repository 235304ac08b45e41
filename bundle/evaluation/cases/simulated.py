"""Simulated pairs: soft CTs sent through the simulated scanner, slab by slab."""

from __future__ import annotations

import math
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from bundle import scanner
from bundle.evaluation.cases.pairs import Pair, central, moved, pair_in, stem
from bundle.images import Volume, create, slabs

DOSES = (15.0, 1000.0)  # of what is drawn, log-uniform; 100 is the calibration scan


@dataclass(frozen=True)
class Acquisition:
    """How a soft CT is sent through the simulated scanner (`bundle.scanner.acquire`).

    Args:
        name: what the table's readers are told.
        kernel: of the source; null draws one.
        dose: null draws one, log-uniformly from 15 to 1000.
        seed: of what is drawn, and of the noise.
        slice_thickness: odd number of slices that are averaged.
        clean: whether the target is the CT itself, of a higher dose than the source, not an acquisition as noisy.
    """

    name: str
    kernel: scanner.Kernel | None = None
    dose: float | None = None
    seed: int = 0
    slice_thickness: int = 1
    clean: bool = False

    def drawn(self, index: int) -> Acquisition:
        """The same with all numbers settled, other ones for every scan."""
        generator = torch.Generator().manual_seed(1000 * self.seed + index)
        kernel = scanner.Kernel.random(generator)
        low, high = DOSES
        dose = low * (high / low) ** float(torch.rand((), generator=generator))
        return replace(self, kernel=self.kernel or kernel, dose=self.dose or dose, seed=1000 * self.seed + index)


@dataclass(frozen=True)
class SimulatedCase:
    """A soft CT, and the same acquired with a sharp kernel.

    Args:
        path: the soft CT.
        acquisition: settled, see `Acquisition.drawn`.
        side: voxels in x and y of the middle that is taken; all of them for None.
        at: where in z the slices lie, from 0 to 1.
        kind: what the pairs of a table have in common.
    """

    path: str
    acquisition: Acquisition
    side: int | None = None
    at: float = 0.5
    kind: str = "simulated"

    def prepare(self, folder: Path, slices: int | None) -> Pair:
        """Acquire the pair slab by slab: the noise is a function of position, so the slabs make up the whole."""
        image, how = Volume(self.path), self.acquisition
        assert how.kernel is not None and how.dose is not None
        plane = [central(size, self.side) for size in image.shape[:2]]
        start, stop = central(image.shape[2], slices, self.at)
        reach = scanner.reach(3, how.slice_thickness)
        origin = (plane[0][0], plane[1][0], start)
        shape = (*(b - a for a, b in plane), stop - start)
        pair = pair_in(
            f"{stem(self.path)}_{how.name}_{self.at:g}".replace(" ", "_").replace(",", ""), self.kind, folder
        )
        with ExitStack() as stack:
            appends = [
                stack.enter_context(create(path, shape, moved(image.affine, origin)))
                for path in (pair.target, pair.source)
            ]
            for first, last in slabs(stop - start):
                bounds = [*plane, (start + first, start + last)]
                grown = [(a - far, b + far) for (a, b), far in zip(bounds, reach, strict=True)]
                window, first_voxel = image.window(grown), [a for a, _ in grown]
                doses = (math.inf if how.clean else how.dose, how.dose)
                for append, kernel, dose in zip(appends, (scanner.SOFT, how.kernel), doses, strict=True):
                    (made,) = scanner.acquire(
                        window,
                        image.spacing,
                        (kernel,),
                        dose,
                        how.seed,
                        first_voxel,
                        slice_thickness=how.slice_thickness,
                    )
                    append(made)
        return pair
