"""Convert the reconstruction kernel of a CT, by default to the soft one that the cascade makes."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import torch
from bundle.geometry import spacing_of
from bundle.scanner import Conversion, converted, matched
from bundle.transforms.kernel_choice import KernelChoice
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform
from torch import Tensor


class MatchKerneld(MapTransform):
    """Convert a CT from its own reconstruction kernel, by default to the soft one that the cascade makes.

    One filter is applied to the whole volume, before the cascade and independent of its tiles (see
    `bundle.scanner.matching`). A scan whose kernel is unknown, with too little skin and flat tissue to find it, or one
    that is smoother already, is left unchanged. The image's metadata record the choice
    (`bundle.transforms.chosen.Chosen.metadata`).

    Args:
        keys: CTs in HU, `(1, x, y, z)`, slices in the first two axes.
        kernel_key: key of a known kernel, for a CT of which only some slices are given, or of None if no kernel was
            found; if the key is missing, the kernel is found in the CT itself.
        allow_missing_keys: do not raise if a key is missing.
        choice: the kernels to convert from and to; null to find the CT's own, and to convert to the soft one.
    """

    def __init__(
        self,
        keys: KeysCollection,
        kernel_key: str = "kernel",
        allow_missing_keys: bool = False,
        choice: KernelChoice | None = None,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.kernel_key, self.choice = kernel_key, choice or KernelChoice()

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Filter each CT."""
        out = dict(data)
        for key in self.key_iterator(out):
            image = out[key]
            voxels, spacing = torch.as_tensor(image).as_subclass(Tensor)[0], spacing_of(image, 3)
            if self.kernel_key in out:
                kernel = out[self.kernel_key]
            else:
                chosen = self.choice(voxels, spacing, image.meta)
                kernel = chosen.conversion
                image.meta.update(chosen.metadata())
            if kernel is not None:
                if isinstance(kernel, Conversion):
                    shown = converted(voxels, spacing, kernel)[None]
                else:
                    shown = matched(voxels, spacing, kernel)[None]
                out[key] = MetaTensor(shown, meta=image.meta, applied_operations=image.applied_operations)
        return out
