"""Find the lungs roughly, to crop an image to them."""

from __future__ import annotations

import numpy as np
import torch
from skimage.measure import label as connected
from torch import Tensor

SMALLEST = 0.1  # size relative to the largest component


def lungs(image: Tensor, air: float = -500.0, stride: int = 4) -> Tensor:
    """Find the lungs: air that does not touch the sides of the image.

    For ``select_fn`` of MONAI's `CropForegroundd`: the paper crops to the bounding box of the lungs (section 3.2).

    Args:
        image: `(1, x, y, z)` in HU.
        air: values below are air, in HU.
        stride: step in voxels along each axis at which the image is sampled.

    Returns:
        `(1, x, y, z)`, boolean; all true if no lungs are found.
    """
    sampled = torch.as_tensor(image)[0][tuple(slice(None, None, stride) for _ in image.shape[1:])].as_subclass(Tensor)
    parts = connected((sampled.cpu().numpy() < air).astype(np.uint8), connectivity=1)
    found = large_parts(np.where(np.isin(parts, labels_at_sides(parts)), 0, parts))
    mask = torch.from_numpy(found if found.any() else np.ones_like(found))
    for axis, size in enumerate(image.shape[1:]):
        mask = mask.repeat_interleave(stride, axis).narrow(axis, 0, size)
    return mask[None].to(image.device)


def labels_at_sides(parts: np.ndarray) -> np.ndarray:
    """Return the labels of the components, `(x, y, z)`, that reach the sides of a slice, possibly including 0."""
    return np.unique(np.concatenate([parts[[0, -1]].ravel(), parts[:, [0, -1]].ravel()]))


def large_parts(parts: np.ndarray) -> np.ndarray:
    """Return the mask of the components, from 1 on, with more than a tenth of the largest one's voxels."""
    sizes = np.bincount(parts.ravel())
    sizes[0] = 0
    return np.asarray((sizes > SMALLEST * sizes.max())[parts])
