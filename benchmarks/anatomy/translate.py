"""The images that anatomy is measured in: source, fixed Gaussians, the bundle's result, and the true soft image."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from torch import Tensor

from benchmarks.inference import translated
from benchmarks.pairs import GAUSSIANS, blurred

OURS = "**this bundle**"
SOURCE, TRUTH = "source", "true soft image"


def made_of(sharp: Tensor, soft: Tensor, spacing: Sequence[float]) -> Iterator[tuple[str, Tensor]]:
    """Yield the source, its fixed Gaussians, the bundle's results, and the true soft image, by title."""
    yield SOURCE, sharp
    for sigma in GAUSSIANS:
        yield f"Gaussian of {sigma:g} px", blurred(sharp, sigma)
    yield OURS, translated(sharp, spacing)
    yield TRUTH, soft
