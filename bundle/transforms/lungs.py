"""Where the lungs are, coarsely."""

from __future__ import annotations

import numpy as np
import torch
from skimage.measure import label as connected
from torch import Tensor


def lungs(image: Tensor, air: float = -500.0, stride: int = 4) -> Tensor:
    """Find the lungs: air that does not touch the sides of the image.

    For ``select_fn`` of MONAI's `CropForegroundd`: the paper crops to the bounding box of the lungs (section 3.2).

    Args:
        image: `(1, x, y, z)` in HU.
        air: what lies below is air.
        stride: voxels a side of the blocks that are looked at.

    Returns:
        `(1, x, y, z)`, boolean; all true where no lungs are found.
    """
    sampled = torch.as_tensor(image)[0][tuple(slice(None, None, stride) for _ in image.shape[1:])].as_subclass(Tensor)
    parts = connected((sampled.cpu().numpy() < air).astype(np.uint8), connectivity=1)
    outside = np.unique(np.concatenate([parts[[0, -1]].ravel(), parts[:, [0, -1]].ravel()]))
    sizes = np.bincount(parts.ravel())
    sizes[outside] = 0
    sizes[0] = 0
    found = np.isin(parts, np.flatnonzero(sizes > 0.1 * sizes.max())) if sizes.any() else np.ones_like(parts, bool)
    mask = torch.from_numpy(found)
    for axis, size in enumerate(image.shape[1:]):
        mask = mask.repeat_interleave(stride, axis).narrow(axis, 0, size)
    return mask[None].to(image.device)
