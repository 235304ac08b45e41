"""The training image nearest to each sample: whether a generator made something new, or remembers what it was shown.

Near is a small root mean square difference (L2) of the pictures, windowed to 0..1 and pooled to 64 x 64, or of any
features. How small is too small? The training images' own nearest neighbours say it: `nearest` without training.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from bundle.evaluation.metrics.features import Features
from bundle.evaluation.metrics.frechet import plane_features
from bundle.evaluation.metrics.similarity import LUNG, Window
from bundle.images import Slabs
from torch import Tensor
from torch.nn import functional as F


class Pooled:
    """A picture pooled to a small square is its own features.

    Args:
        side: of the square, in pixels.
    """

    def __init__(self, side: int = 64) -> None:
        self.name, self._side = f"pooled to {side} x {side}", side

    def __call__(self, pictures: Tensor) -> Tensor:
        """Turn `(batch, 1, rows, columns)` into `(batch, side * side)`."""
        return F.adaptive_avg_pool2d(pictures, self._side).flatten(1)


@dataclass(frozen=True)
class Match:
    """A sample and the training image nearest to it.

    Args:
        sample: its name.
        nearest: the training image's name.
        distance: root mean square difference; with `Pooled` in parts of the window.
    """

    sample: str
    nearest: str
    distance: float


def nearest(
    samples: Iterable[tuple[str, Slabs]],
    training: Iterable[tuple[str, Slabs]] | None = None,
    features: Features | None = None,
    window: Window = LUNG,
) -> list[Match]:
    """The nearest training image of each sample, in the order of the samples; the first of equally near ones.

    Args:
        samples: names and images, in their own units; of a volume the middle slice of each plane is looked at.
        training: the same of what was trained on. Null: each sample's nearest *other* sample.
        features: what is compared; null: `Pooled`.
        window: lowest and highest value that is looked at.

    Raises:
        ValueError: If there is nothing to compare with, or 2D and 3D are mixed.
    """
    features = features or Pooled()
    names, vectors = described(samples, features, window)
    others, known = (names, vectors) if training is None else described(training, features, window)
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


def described(
    images: Iterable[tuple[str, Slabs]], features: Features, window: Sequence[float]
) -> tuple[list[str], Tensor]:
    """The images' names and vectors, `(images, planes * features)`.

    Raises:
        ValueError: If there is no image, or 2D and 3D are mixed.
    """
    names: list[str] = []

    def named() -> Iterable[Slabs]:
        for name, image in images:
            names.append(name)
            yield image

    return names, torch.cat(plane_features(named(), features, window, slices=1), 1)
