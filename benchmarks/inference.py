"""Translate a CT in memory by the whole inference, as a user would: kernel conversion, then the networks."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.pairs import Fold, Pair
from bundle.evaluation.methods import Ours, Translation
from bundle.images import Volume, create
from bundle.scanner import Transfer, calibrate
from bundle.scanner.kernels import Kernels, as_json

CONFIG = "configs/inference.json"


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


def joined(pair: Pair, parts: Sequence[Fold], keys: Callable[[Fold, Path], dict[str, Any]]) -> Tensor:
    """Translate a pair's source once for each part, with the part's keys, and join the evaluated voxels.

    Args:
        pair: source and target.
        parts: the parts of the pair, of `benchmarks.pairs.folds`.
        keys: returns the keys of a part, such as `calibration`; its second argument is a folder for files.
    """
    out = torch.zeros_like(pair.source)
    for part in parts:
        with tempfile.TemporaryDirectory() as folder:
            result = translated(pair.source, pair.spacing, **keys(part, Path(folder)))
        out = torch.where(part.judged, result, out)
    return out


def calibration(spacing: Sequence[float], part: Fold, folder: Path) -> dict[str, Any]:
    """Return the keys for translating by a conversion that is fitted to a part's slices."""
    fitted = calibrate(part.slices, spacing)
    named = tuple(Transfer((0.0, 1.0), (1.0, 1.0), name=name) for name in ("sharp", "soft"))
    path = folder / "kernels.json"
    path.write_text(as_json(Kernels(named, (("sharp", "soft", fitted),))), encoding="utf-8")
    return {"source_kernel": str(path), "target_kernel": str(path)}


def reference(spacing: Sequence[float], part: Fold, folder: Path) -> dict[str, Any]:
    """Return the keys for translating to the kernel of a part's references."""
    target = folder / "reference"
    target.mkdir()
    for k, image in enumerate(part.references):
        saved(image, spacing, target / f"{k}.nii")
    return {"target_kernel": str(target)}
