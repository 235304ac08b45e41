"""Apply a transform of single voxels slab by slab, so that no further image of the whole size is made on the way.

MONAI's intensity transforms make a new image in each step of their arithmetic, `ScaleIntensityRange` five of them. For
a large image, requesting and clearing that memory takes several times as long as the arithmetic itself.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping
from typing import Any

import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform
from torch import Tensor

#: Voxels of a slab, about: its copies stay in the processor's cache.
SLAB = 2**20


class BySlabsd(MapTransform):
    """Apply a transform of single voxels to slabs of an image along its first spatial axis.

    Args:
        keys: images, `(1, *spatial)`; each is replaced, by a MetaTensor if ``transform`` makes one, and the one given
            stays as it is.
        transform: a dictionary transform under the same keys, such as MONAI's `ScaleIntensityRanged`, whose result at a
            voxel depends on that voxel alone.
        allow_missing_keys: do not raise if a key is missing.
    """

    def __init__(
        self,
        keys: KeysCollection,
        transform: Callable[[dict[Hashable, Any]], Mapping[Hashable, Any]],
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.transform = transform

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Transform each image."""
        out = dict(data)
        for key in self.key_iterator(out):
            image = out[key]
            voxels = _plain(image)
            slabs = voxels.split(max(SLAB // max(math.prod(voxels.shape[2:]), 1), 1), 1)
            made = self.transform({key: slabs[0]})[key]
            result, end = _plain(made).new_empty(voxels.shape), slabs[0].shape[1]
            result[:, :end] = _plain(made)
            for slab in slabs[1:]:
                result[:, end : end + slab.shape[1]] = _plain(self.transform({key: slab})[key])
                end += slab.shape[1]
            if isinstance(made, MetaTensor):
                known = image if isinstance(image, MetaTensor) else made
                result = MetaTensor(result, meta=known.meta, applied_operations=known.applied_operations)
            out[key] = result
        return out


def _plain(image: Any) -> Tensor:
    return torch.as_tensor(image).as_subclass(Tensor)
