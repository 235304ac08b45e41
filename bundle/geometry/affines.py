"""Voxel spacing and affines of images and of their coarser scales."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from bundle.geometry.windows import Sliced
from torch import Tensor


def spacing_of(image: Sliced, spatial_dims: int) -> list[float]:
    """Return the voxel spacing per axis from an image's ``affine``, which may be batched; 1 if it has none."""
    affine = getattr(image, "affine", None)
    if affine is None:
        return [1.0] * spatial_dims
    matrix = torch.as_tensor(affine, dtype=torch.float64)
    matrix = matrix.reshape(-1, *matrix.shape[-2:])[0]
    return matrix[:spatial_dims, :spatial_dims].norm(dim=0).tolist()


def coarser_affine(affine: Tensor, factor: Sequence[int]) -> Tensor:
    """Return the affine of an image pooled by a factor: a coarse voxel lies at the centre of its block."""
    finer, dims = torch.as_tensor(affine, dtype=torch.float64), len(factor)
    sides = torch.tensor(factor, dtype=torch.float64)
    coarser = finer.clone()
    coarser[:, :dims] *= sides
    coarser[:, -1] += finer[:, :dims] @ ((sides - 1) / 2)
    return coarser
