"""Restore the mean of voxels that a scanner clipped at -1024 HU, when no kernel is matched."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import torch
from bundle.scanner import RADIUS, unclipped
from bundle.scanner.filters import in_parts
from monai.data import MetaTensor
from monai.transforms import MapTransform
from torch import Tensor


class UndoClippingd(MapTransform):
    """Restore the mean of voxels at -1024 HU (`bundle.scanner.unclipped`); `MatchKerneld` does so by itself.

    With the noise of a low dose, clipping makes air and dark lung too bright, which no network can recognize.

    Args:
        keys: CTs in HU, `(1, x, y, z)`, slices in the first two axes.
    """

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Restore each CT."""
        out = dict(data)
        for key in self.key_iterator(out):
            image = out[key]
            voxels = torch.as_tensor(image).as_subclass(Tensor)[0]
            shown = in_parts(voxels, RADIUS, unclipped)
            out[key] = MetaTensor(shown[None], meta=image.meta, applied_operations=image.applied_operations)
        return out
