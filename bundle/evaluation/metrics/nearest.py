"""Find the training image nearest to each sample, to see whether a generator copies its training images.

The distance is the root mean square difference (L2) of the pictures, windowed to 0..1 and pooled to 64 x 64, or of any
features. For reference, `nearest` without ``training`` gives the distances among the training images themselves.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from bundle.evaluation.metrics.features import Features
from bundle.evaluation.metrics.frechet import plane_features
from bundle.evaluation.metrics.similarity import LUNG, IntensityWindow
from bundle.images import Slabs
from torch import Tensor
from torch.nn import functional as F


class Pooled:
    """Use the picture itself, pooled to a small square, as its features.

    Args:
        side: side of the square in pixels.
    """

    def __init__(self, side: int = 64) -> None:
        self.name, self._side = f"pooled to {side} x {side}", side

    def __call__(self, pictures: Tensor) -> Tensor:
        """Map `(batch, 1, rows, columns)` to `(batch, side * side)`."""
        return F.adaptive_avg_pool2d(pictures, self._side).flatten(1)


@dataclass(frozen=True)
class Match:
    """A sample and its nearest training image.

    Args:
        sample: name of the sample.
        nearest: name of the training image.
        distance: root mean square difference; with `Pooled` as a fraction of the window.
    """

    sample: str
    nearest: str
    distance: float


def nearest(
    samples: Iterable[tuple[str, Slabs]],
    training: Iterable[tuple[str, Slabs]] | None = None,
    features: Features | None = None,
    window: IntensityWindow = LUNG,
) -> list[Match]:
    """Return the nearest training image of each sample, in the order of the samples; ties go to the first image.

    Args:
        samples: names and images, in their own units; the middle slice of each plane of a volume is compared.
        training: names and images of the training set. Null: find each sample's nearest *other* sample.
        features: features to compare; null for `Pooled`.
        window: intensity window for the comparison.

    Raises:
        ValueError: If there are too few images, or 2D and 3D are mixed.
    """
    features = features or Pooled()
    names, vectors = describe(samples, features, window)
    others, known = (names, vectors) if training is None else describe(training, features, window)
    if len(others) < (2 if training is None else 1):
        raise ValueError(f"{len(others)} images to compare with are too few; give more training images.")
    if vectors.shape[1:] != known.shape[1:]:
        raise ValueError("samples and training images must be all 2D, or all 3D.")
    matches = []
    for i, vector in enumerate(vectors):
        distances = (known - vector).square().mean(1).sqrt()
        if training is None:
            distances[i] = torch.inf
        place = int(distances.argmin())
        matches.append(Match(names[i], others[place], float(distances[place])))
    return matches


def describe(
    images: Iterable[tuple[str, Slabs]], features: Features, window: Sequence[float]
) -> tuple[list[str], Tensor]:
    """Return the images' names and feature vectors, `(images, planes * features)`.

    Raises:
        ValueError: If there is no image, or 2D and 3D are mixed.
    """
    names: list[str] = []

    def named() -> Iterable[Slabs]:
        for name, image in images:
            names.append(name)
            yield image

    return names, torch.cat(plane_features(named(), features, window, slices=1), 1)
