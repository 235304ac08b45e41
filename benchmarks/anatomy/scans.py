"""Soft CTs with vessel-free places in the lungs, and simulated acquisitions with objects inserted there."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.ndimage import distance_transform_edt, gaussian_filter
from torch import Tensor

from bundle.evaluation.metrics import lung_mask
from bundle.images import Volume
from bundle.scanner import SHARP, SOFT, Kernel, acquire, find_kernel
from bundle.scanner.filters import with_border

DEPTH = 40.0  # mm of the CT that are used, in its middle
LAYER = 16.0  # mm between layers of places
APART = 24.0  # mm between places of a layer
FREE = 8.0  # mm around a place without vessels
VESSEL = -650.0  # HU in the smoothed CT; higher values are vessels
BESIDE = 4.0  # mm above and below a place that must be free
REACH = 14.0  # mm around a place that are cropped
DOSE = 100.0

Place = tuple[int, int, int]


@dataclass(frozen=True)
class Scan:
    """Slices of a soft CT.

    Args:
        name: name of the file.
        image: `(x, y, z)` in HU.
        spacing: voxel spacing in mm.
        places: voxels in lung without vessels nearby.
        kernel: reconstruction kernel found in the image; the bundle's soft kernel if none is found.
    """

    name: str
    image: Tensor
    spacing: tuple[float, ...]
    places: tuple[Place, ...]
    kernel: Kernel = SOFT

    @staticmethod
    def read(path: str | Path, depth: float = DEPTH) -> Scan:
        """Read the middle slices of a CT and find places."""
        volume = Volume(path)
        count = min(volume.shape[2], max(round(depth / volume.spacing[2]), 1))
        first = (volume.shape[2] - count) // 2
        image = volume.slab(first, first + count)
        places = tuple(free_places(image.numpy(), volume.spacing))
        return Scan(volume.path.name, image, volume.spacing, places, find_kernel(image, volume.spacing) or SOFT)

    @property
    def side(self) -> tuple[int, int, int]:
        """Size in voxels of the crop around a place."""
        x, y, z = (2 * round(reach / mm) + 1 for reach, mm in zip((REACH, REACH, 8.0), self.spacing, strict=True))
        return x, y, z

    def with_objects(self, cover: Tensor, values: Sequence[float] | float) -> Tensor:
        """Return the CT with an object at each place: `values` times `cover` is added."""
        out = self.image.clone()
        amounts = [values] * len(self.places) if isinstance(values, int | float) else values
        for place, amount in zip(self.places, amounts, strict=True):
            _around(out, place, cover.shape)[...] += amount * cover
        return out

    def crops(self, image: Tensor) -> np.ndarray:
        """Crop an image around the places, `(places, x, y, z)`."""
        return np.stack([_around(image, place, self.side).numpy() for place in self.places])

    def backgrounds(self) -> list[float]:
        """Return the mean HU around each place."""
        return [float(_around(self.image, place, [n // 2 | 1 for n in self.side]).mean()) for place in self.places]

    def acquired(self, image: Tensor, seed: int, kernel: Kernel = SHARP, dose: float = DOSE) -> tuple[Tensor, Tensor]:
        """Return soft and sharp reconstructions of one simulated acquisition; the CT's own kernel is undone."""
        soft, sharp = acquire(with_border(image), self.spacing, (SOFT, kernel), dose, seed, image_kernel=self.kernel)
        return soft, sharp


def free_places(image: np.ndarray, spacing: Sequence[float]) -> list[Place]:
    """Return voxels in lung without vessels nearby, in layers, starting with those farthest from vessels."""
    found: list[Place] = []
    step, beside = (max(round(mm / spacing[2]), 1) for mm in (LAYER, BESIDE))
    keep = [math.ceil(REACH / mm) for mm in spacing[:2]]
    high = math.ceil(8.0 / spacing[2])
    for z in range(high, image.shape[2] - high, step):
        near = image[..., z - beside : z + beside + 1]
        lung = np.all([lung_mask(near[..., k]) for k in range(near.shape[2])], 0)
        vessels = gaussian_filter(near, (1, 1, 0)).max(2) > VESSEL
        distance = distance_transform_edt(lung & ~vessels, spacing[:2])
        distance[: keep[0]] = distance[-keep[0] :] = 0
        distance[:, : keep[1]] = distance[:, -keep[1] :] = 0
        x, y = (np.arange(side) * mm for side, mm in zip(distance.shape, spacing[:2], strict=True))
        while distance.max() >= FREE:
            i, j = np.unravel_index(distance.argmax(), distance.shape)
            found.append((int(i), int(j), z))
            distance[np.hypot(x[:, None] - x[i], y[None, :] - y[j]) < APART] = 0
    return found


def _around(image: Tensor, place: Place, size: Sequence[int]) -> Tensor:
    """Return a view of the voxels around a place; too few slices above or below it are an error."""
    bounds = [slice(at - side // 2, at - side // 2 + side) for at, side in zip(place, size, strict=True)]
    return image[tuple(bounds)]
