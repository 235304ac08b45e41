"""Pairs of a sharp source and its soft target, uncompressed on disk; preparation of real pairs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np
from bundle.geometry import corners_apart
from bundle.images import Volume, create, slabs, stem


@dataclass(frozen=True)
class Pair:
    """Source and target on one grid, uncompressed on disk."""

    name: str
    kind: str
    source: Path
    target: Path


class Case(Protocol):
    """Something that can be prepared as a pair."""

    @property
    def name(self) -> str:
        """Return the pair's name, which its files and its rows of the table bear."""

    @property
    def place(self) -> str:
        """Return the path of the source."""

    def prepare(self, folder: Path, slices: int | None) -> Pair:
        """Write the central slices of the pair into a folder; all slices for None."""


@dataclass(frozen=True)
class RealCase:
    """A real pair: two reconstructions of one acquisition, two images of a patient, or one image and its sketch."""

    source: str
    target: str
    kind: str = "real"

    @property
    def name(self) -> str:
        """Return the source's name without its suffix."""
        return stem(self.source)

    @property
    def place(self) -> str:
        """Return the path of the source."""
        return self.source

    def prepare(self, folder: Path, slices: int | None) -> Pair:
        """Copy the central slices of both images.

        Raises:
            ValueError: If the images do not lie on one grid.
        """
        a, b = Volume(self.source), Volume(self.target)
        if a.shape != b.shape or corners_apart(a.shape, a.affine, b.affine) >= min(a.spacing):
            raise ValueError(
                f"source {self.source!r}, {a.shape} voxels of {_mm(a)} mm, and target {self.target!r}, {b.shape} of "
                f"{_mm(b)} mm, do not lie on one grid; take two reconstructions of one acquisition, or resample one."
            )
        axes = 2 if a.is_picture else 3
        start, stop = central(a.shape[2], slices)
        pair = pair_in(self.name, self.kind, folder)
        if self.source == self.target:
            pair = replace(pair, source=pair.target)
        for path, image in {pair.source: a, pair.target: b}.items():
            with create(path, (*a.shape[:2], stop - start)[:axes], shift_affine(image.affine, (0, 0, start))) as append:
                for first, last in slabs(stop - start):
                    append(image.slab(start + first, start + last))
        return pair


def check_names(cases: Sequence[Case]) -> None:
    """Refuse cases of one name, of which one would replace the other.

    Raises:
        ValueError: If two cases have the same name.
    """
    known: dict[str, str] = {}
    for case in cases:
        if case.name in known:
            raise ValueError(
                f"cases {known[case.name]!r} and {case.place!r} are both named {case.name!r}; rename one, or leave it "
                "out."
            )
        known[case.name] = case.place


def central(size: int, wanted: int | None, at: float = 0.5) -> tuple[int, int]:
    """Return start and stop of a number of slices or voxels, centred or at another position; of all for None."""
    if wanted is not None and wanted < 1:
        raise ValueError(f"slices {wanted} must be at least 1; '$None' takes all.")
    start = int((size - wanted) * at) if wanted and wanted < size else 0
    return start, start + min(wanted or size, size)


def shift_affine(affine: np.ndarray, origin: Sequence[int]) -> np.ndarray:
    """Return the affine of a crop that starts at voxel ``origin``."""
    shifted = affine.copy()
    shifted[:3, 3] += affine[:3, :3] @ np.asarray(origin)
    return shifted


def pair_in(name: str, kind: str, folder: Path) -> Pair:
    """Return the paths of a pair in a folder."""
    return Pair(name, kind, folder / f"{name}_source.nii", folder / f"{name}_target.nii")


def _mm(image: Volume) -> str:
    return " x ".join(f"{mm:.3g}" for mm in image.spacing)
