"""Paste a result into its source, round it and cast it."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from typing import Any

import torch
from bundle.images import depth_of, level_type
from bundle.transforms.chosen import KERNELS
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform
from torch import Tensor


class PasteIntoSourced(MapTransform):
    """Paste a result into its source, whose voxels are kept where the network was not applied.

    These are the voxels outside the translated region, and those beyond the network's input range: below it the padding
    around a scanner's field of view, above it metal. The result gets the source's metadata, but keeps its own entries
    about kernels.

    Args:
        keys: results in the source's units and on its grid, `(1, *spatial)`.
        source_key: key of the image as it was loaded.
        low: lowest value of the network's input range.
        high: highest value of the network's input range.
        inside_key: key, if present, of an image that is 1 where the network was applied (see `MarkInsided`) and 0
            elsewhere.
        allow_missing_keys: do not raise if a key is missing.
    """

    def __init__(
        self,
        keys: KeysCollection,
        source_key: str,
        low: float,
        high: float,
        inside_key: str = "inside",
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.source_key, self.inside_key = source_key, inside_key
        self.low, self.high = low, high

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Paste each result.

        Raises:
            ValueError: If result and source differ in shape.
        """
        out = dict(data)
        source = torch.as_tensor(out[self.source_key]).as_subclass(Tensor).cpu()
        for key in self.key_iterator(out):
            result = out[key]
            if result.shape != source.shape:
                raise ValueError(
                    f"{key} of shape {tuple(result.shape)} is not on the grid of {self.source_key}, "
                    f"{tuple(source.shape)}; invert the preprocessing first."
                )
            asked = (source >= self.low) & (source <= self.high)
            if self.inside_key in out:
                asked &= torch.as_tensor(out[self.inside_key]).cpu() > 0.5
            values = torch.where(asked, result.as_subclass(Tensor).cpu(), source)
            own = getattr(result, "meta", {})
            kernels = {name: own[name] for name in KERNELS if name in own}
            out[key] = MetaTensor(values, meta={**getattr(out[self.source_key], "meta", {}), **kernels})
        return out


class MarkInsided(MapTransform):
    """Add an image of ones beside a result, which after `Invertd` shows where there is a result.

    Args:
        keys: the result.
        inside_key: key of the image of ones, on the result's grid.
        allow_missing_keys: do not raise if a key is missing.
    """

    def __init__(self, keys: KeysCollection, inside_key: str = "inside", allow_missing_keys: bool = False) -> None:
        super().__init__(keys, allow_missing_keys)
        self.inside_key = inside_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Add the ones."""
        out = dict(data)
        for key in self.key_iterator(out):
            out[self.inside_key] = torch.ones_like(out[key])
        return out


class RoundAndCastd(MapTransform):
    """Cast images to the voxel type of the file, rounded and clipped to its range, so that no voxel wraps around.

    Args:
        keys: images.
        dtype: name of a torch type, such as ``int16``; for a floating-point type, values are neither rounded nor
            clipped. An image with a bit depth gets the type of its levels instead (`bundle.images.bit_depth`).
        allow_missing_keys: do not raise if a key is missing.

    Raises:
        ValueError: If there is no such type.
    """

    def __init__(self, keys: KeysCollection, dtype: str = "int16", allow_missing_keys: bool = False) -> None:
        super().__init__(keys, allow_missing_keys)
        found = getattr(torch, str(dtype), None)
        if not isinstance(found, torch.dtype):
            raise ValueError(f"output_dtype {dtype!r} is not a voxel type; take one such as int16, uint8 or float32.")
        self.dtype = found

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Cast each image.

        Raises:
            ValueError: If a voxel is not finite.
        """
        out = dict(data)
        for key in self.key_iterator(out):
            image = out[key]
            if not all(map(math.isfinite, torch.aminmax(image))):
                raise ValueError(f"{key} holds voxels that are not finite numbers; check the weights and the source.")
            bits = depth_of(image)
            dtype = self.dtype if bits is None else getattr(torch, level_type(bits))
            if not dtype.is_floating_point:
                limits = torch.iinfo(dtype)
                image = image.round().clamp(limits.min, limits.max)
            out[key] = image.to(dtype)
        return out
