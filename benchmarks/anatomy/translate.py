"""Translate an image in memory by the bundle, run as in inference, and by fixed Gaussians."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from benchmarks.real_pairs import GAUSSIANS, blurred
from bundle.evaluation.methods import Ours, Translation
from bundle.images import Volume, create

CONFIG = "configs/inference.json"
OURS = "**this bundle**"
SOURCE, TRUTH = "source", "true soft image"


def saved(image: Tensor, spacing: Sequence[float], path: Path) -> Path:
    """Write a CT, `(x, y, z)` in HU, and return its path."""
    with create(path, tuple(image.shape), np.diag([*spacing, 1.0])) as append:
        append(image)
    return path


def translated(image: Tensor, spacing: Sequence[float], **keys: Any) -> Tensor:
    """Translate a CT by inference with the shipped weights.

    Args:
        image: `(x, y, z)` in HU.
        spacing: voxel spacing in mm.
        keys: keys of the inference config, such as ``target_kernel``.
    """
    with tempfile.TemporaryDirectory() as folder:
        source = saved(image, spacing, Path(folder, "source.nii"))
        result = Path(folder, "out", "result.nii")
        Ours(Translation(CONFIG, keys={"check_input": "off", **keys})).job(source, result)()
        volume = Volume(result)
        return volume.slab(0, volume.shape[2])


def made_of(sharp: Tensor, soft: Tensor, spacing: Sequence[float]) -> Iterator[tuple[str, Tensor]]:
    """Yield the source, its fixed Gaussians, the bundle's results, and the true soft image, by title."""
    yield SOURCE, sharp
    for sigma in GAUSSIANS:
        yield f"Gaussian of {sigma:g} px", blurred(sharp, sigma)
    yield OURS, translated(sharp, spacing)
    yield TRUTH, soft
