"""Restore in the mean what a scanner clipped at -1024 HU, where no kernel is matched."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import torch
from bundle.scanner import unclipped
from monai.data import MetaTensor
from monai.transforms import MapTransform
from torch import Tensor


class UndoClippingd(MapTransform):
    """Restore voxels at -1024 HU in the mean (`bundle.scanner.unclipped`); `MatchKerneld` does so by itself.

    The noise of a low dose makes clipped air and dark lung too bright, which no network can tell from the truth.

    Args:
        keys: CTs in HU, `(1, x, y, z)`, slices in the first two axes.
    """

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Restore each CT, slice by slice."""
        out = dict(data)
        for key in self.key_iterator(out):
            image = out[key]
            voxels = torch.as_tensor(image).as_subclass(Tensor)[0].float()
            shown = torch.empty_like(voxels)
            for z in range(voxels.shape[-1]):
                shown[..., z] = unclipped(voxels[None, ..., z])[0]
            out[key] = MetaTensor(shown[None], meta=image.meta, applied_operations=image.applied_operations)
        return out
