"""Real pairs of kernels: two reconstructions of one acquisition, and what may be fitted to evaluate each part.

The folder DATA holds ``ct/lungdx_A0002_*.nii.gz`` and ``kernels/*.nii.gz``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor

from bundle.images import Volume

GAUSSIANS = (0.6, 0.7, 0.85, 1.0, 1.2, 1.4)  # voxels
#: Title, sharp and soft file.
PAIRS = [
    ("A0002 B70f -> B40f", "ct/lungdx_A0002_sharpB70f", "ct/lungdx_A0002_softB40f"),
    *(
        (f"chest1 {a} -> {b}", f"kernels/chest1_{a}", f"kernels/chest1_{b}")
        for a in ("B50f", "B70f")
        for b in ("B30f", "B10f")
    ),
    *((f"L067 {z} D45f -> B30f", f"kernels/L067_{z}_D45f", f"kernels/L067_{z}_B30f") for z in ("0070", "0150", "0218")),
    ("head phantom YA -> UB", "kernels/headphantom_YA", "kernels/headphantom_UB"),
]


@dataclass(frozen=True)
class Pair:
    """Two reconstructions, `(x, y, z)` in HU, and the voxel spacing in mm."""

    source: Tensor
    target: Tensor
    spacing: tuple[float, ...]

    @staticmethod
    def read(data: Path, source: str, target: str) -> Pair:
        """Read both files."""
        a, b = (Volume(data / f"{name}.nii.gz") for name in (source, target))
        return Pair(a.slab(0, a.shape[2]), b.slab(0, b.shape[2]), a.spacing)

    def part(self, first: int, last: int) -> Pair:
        """Return some of the slices."""
        return Pair(self.source[..., first:last], self.target[..., first:last], self.spacing)

    def slices(self, use: Tensor | None = None) -> list[tuple[Tensor, Tensor, Tensor | None]]:
        """Return the slices as expected by `bundle.scanner.calibrate`."""
        return [(self.source[..., z], self.target[..., z], use) for z in range(self.source.shape[2])]


@dataclass(frozen=True)
class InMemory:
    """A CT in memory, `(x, y, z)` in HU, with the interface that methods read."""

    image: Tensor
    spacing: tuple[float, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of voxels per axis."""
        return tuple(self.image.shape)

    @property
    def affine(self) -> np.ndarray:
        """Affine matrix from voxels to mm."""
        return np.diag([*self.spacing, 1.0])

    def slab(self, start: int, stop: int) -> Tensor:
        """Return the slices from start to stop."""
        return self.image[..., start:stop]


@dataclass(frozen=True)
class Fold:
    """The evaluated part of a pair, and the data that may be used for fitting.

    Args:
        judged: mask of the evaluated voxels, broadcastable to `(x, y, z)`, boolean.
        slices: pairs to calibrate on, as for `bundle.scanner.calibrate`.
        references: soft images, `(x, y, z)`; none if there is no other slice.
    """

    judged: Tensor
    slices: list[tuple[Tensor, Tensor, Tensor | None]]
    references: list[Tensor]


def folds(pair: Pair, others: Sequence[Pair]) -> list[Fold]:
    """Return the parts of a pair: all of it if there are other pairs, else halves of its slices or its single slice."""
    every, depth = torch.ones(pair.source.shape, dtype=torch.bool), pair.source.shape[2]
    if others:
        slices = [each for other in others for each in other.slices()]
        return [Fold(every, slices, [other.target for other in others])]
    if depth > 1:
        halves = pair.part(0, depth // 2), pair.part(depth // 2, depth)
        first = every.clone()
        first[..., depth // 2 :] = False
        return [
            Fold(judged, other.slices(), [other.target])
            for judged, other in zip((first, ~first), halves[::-1], strict=True)
        ]
    left = torch.zeros(pair.source.shape[:2], dtype=torch.bool)
    left[: len(left) // 2] = True
    return [Fold(use[..., None], pair.slices(~use), []) for use in (left, ~left)]


def existing(data: Path, words: Sequence[str]) -> Iterator[tuple[str, str, Pair, list[Pair]]]:
    """Yield title, source file and pair, and the pairs of other slices of the same patient; say which are missing.

    Args:
        data: folder of the pairs.
        words: pairs whose title contains none of these are left out.
    """
    for title, source, target in PAIRS:
        if not any(word in title for word in words):
            continue
        if missing := [name for name in (source, target) if not (data / f"{name}.nii.gz").exists()]:
            print(f"skipped: {title}: {data / missing[0]}.nii.gz does not exist")
            continue
        fellows = [(a, b) for name, a, b in PAIRS if title.startswith("L067") and name != title and "L067" in name]
        others = [Pair.read(data, a, b) for a, b in fellows if (data / f"{a}.nii.gz").exists()]
        yield title, source, Pair.read(data, source, target), others


def blurred(image: Tensor, sigma: float) -> Tensor:
    """Filter the slices of a CT by a Gaussian with ``sigma`` in pixels."""
    return torch.from_numpy(gaussian_filter(image.numpy(), (sigma, sigma, 0)))
