"""Frechet distance of two sets of images by MONAI's `FIDMetric`, on slices of three planes (2.5D).

For volumes it is the mean of the three planes' distances, as in MAISI (Guo et al., WACV 2025): slices of different
planes look different, so one Gaussian over all of them would mostly measure that. A 2D image is one slice.

Small sets are biased: with fewer slices than features the covariance is singular and the distance too large. Compare
only distances by one network over similar numbers of slices. Images are read in batches; only features are kept.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence

import torch
from bundle.evaluation.metrics.features import Features
from bundle.evaluation.metrics.similarity import LUNG, IntensityWindow
from bundle.evaluation.metrics.slices import planes
from bundle.images import Slabs
from monai.metrics import FIDMetric
from scipy.linalg import LinAlgWarning
from torch import Tensor

SLICES = 32  # slices of each plane of each volume


def frechet_distance(
    first: Iterable[Slabs],
    second: Iterable[Slabs],
    features: Features,
    window: IntensityWindow = LUNG,
    slices: int = SLICES,
) -> float:
    """Return the Frechet distance of two sets of images.

    Args:
        first: images in their own units; a generator keeps only one in memory.
        second: other images, 2D or 3D like the first ones.
        features: the feature network, see `bundle.evaluation.metrics.features`.
        window: intensity window that the network sees.
        slices: largest number of slices of each plane of each volume, evenly spaced.

    Raises:
        ValueError: If there are too few slices, or 2D and 3D are mixed.
    """
    return between(*(plane_features(images, features, window, slices) for images in (first, second)))


def plane_features(
    images: Iterable[Slabs], features: Features, window: IntensityWindow = LUNG, slices: int = SLICES
) -> list[Tensor]:
    """Return the features of a set of images, `(slices of all images, features)` per plane, for use in `between`.

    Raises:
        ValueError: If there is no image, or 2D and 3D are mixed.
    """
    rows: list[list[Tensor]] = []
    for image in images:
        own = [torch.cat([features(batch) for batch in plane]) for plane in planes(image, window, slices)]
        if rows and len(own) != len(rows):
            raise ValueError(f"an image of {len(own)} planes is among images of {len(rows)}; give all 2D, or all 3D.")
        rows = [[*parts, part] for parts, part in zip(rows or [[] for _ in own], own, strict=True)]
    if not rows:
        raise ValueError("there is no image to take features of; give at least one.")
    return [torch.cat(parts) for parts in rows]


def between(first: Sequence[Tensor], second: Sequence[Tensor]) -> float:
    """Return the distance of two sets of images from their `plane_features`: the mean over the planes.

    Raises:
        ValueError: If a plane has a single slice, or one set is 2D and the other 3D.
    """
    if len(first) != len(second):
        raise ValueError(f"images of {len(first)} and of {len(second)} planes do not compare; give all 2D, or all 3D.")
    fewest = min(len(plane) for plane in (*first, *second))
    if fewest < 2:
        raise ValueError(f"a plane has {fewest} slice, and a covariance needs 2; give more images, or raise slices.")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LinAlgWarning)  # singular with few slices; the trace is still correct
        warnings.filterwarnings("ignore", "The `disp` argument", DeprecationWarning)  # MONAI calls SciPy in the old way
        distances = [float(FIDMetric()(*in_span(a, b))) for a, b in zip(first, second, strict=True)]
    return sum(max(distance, 0.0) for distance in distances) / len(distances)  # below zero only by rounding


def in_span(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Express two sets of features in an orthonormal basis of their span, which keeps their distance.

    `FIDMetric` takes the root of a square matrix of the number of features, which takes half a minute for 2048.
    """
    both = torch.cat([first, second]).double()
    both = both - both.mean(0)
    if len(both) < both.shape[1]:
        both = both @ torch.linalg.qr(both.T).Q
    return both[: len(first)], both[len(first) :]
