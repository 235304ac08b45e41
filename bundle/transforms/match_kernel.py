"""Match a CT's own reconstruction kernel to the soft one."""

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
    """Match a CT's own reconstruction kernel, found from its noise, to the soft one that the cascade makes.

    One filter for the whole volume, before the cascade and outside of its tiles (see `bundle.scanner.matching`). A scan
    with too little flat soft tissue to tell its kernel, and one that is smoother already, is left as it is. The image's
    metadata tell what was chosen (`bundle.transforms.chosen.Chosen.told`).

    Args:
        keys: CTs in HU, `(1, x, y, z)`, slices in the first two axes.
        kernel_key: the kernel of a CT of which only some slices are given, or none if it was not found; if missing, it
            is found in the CT itself.
        allow_missing_keys: do not raise if a key is missing.
        choice: of the kernels to convert from and to; null to find the CT's by its noise, and for the soft one.
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
                image.meta.update(chosen.told())
            if kernel is not None:
                if isinstance(kernel, Conversion):
                    shown = converted(voxels, spacing, kernel)[None]
                else:
                    shown = matched(voxels, spacing, kernel)[None]
                out[key] = MetaTensor(shown, meta=image.meta, applied_operations=image.applied_operations)
        return out
