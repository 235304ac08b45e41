"""Voxel spacing and affines of images and of their coarser scales."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from bundle.geometry.windows import Sliced
from torch import Tensor

#: Largest distance of two grids that count as one, in voxels, as files round where they lie.
ALIKE = 0.25


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


def corners_apart(shape: Sequence[int], affine: np.ndarray, other: np.ndarray) -> float:
    """Return the largest distance between corners of two images of one shape, in mm.

    Args:
        shape: voxels per axis; axes that the affines have beyond these are one voxel deep.
        affine: affine of the first image, `(axes + 1, axes + 1)`.
        other: affine of the second image.
    """
    axes = len(affine) - 1
    last = [size - 1 for size in (*shape, *(1,) * (axes - len(shape)))]
    corners = np.array([(*index, 1) for index in np.ndindex((2,) * axes)]) * (*last, 1)
    return float(np.linalg.norm(corners @ (affine - other).T, axis=1).max())


def slice_distance(affine: np.ndarray) -> float:
    """Return the distance of the planes of the first two axes in mm; a tilted gantry makes the third axis longer.

    Args:
        affine: `(4, 4)`.
    """
    axes = np.asarray(affine, float)[:3, :3]
    return float(abs(np.linalg.det(axes)) / np.linalg.norm(np.cross(axes[:, 0], axes[:, 1])))
