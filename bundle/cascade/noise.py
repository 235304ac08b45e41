"""White noise as an image: the input of a cascade that generates from scratch."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import torch
from bundle.geometry import white_noise
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform
from monai.utils import ensure_tuple_rep


def steps_of(image_size: Sequence[int] | int, most: int, coarsest: int = 64) -> int:
    """Return the number of scales above scale 0 for which scale 0 is about as large as in training.

    Args:
        image_size: voxels a side, one number or one per axis; the longest side counts.
        most: number of trained scales above scale 0.
        coarsest: voxels a side of scale 0 in training.

    Raises:
        ValueError: If a side is below 1.
    """
    sides = (image_size,) if isinstance(image_size, int) else tuple(image_size)
    if min(sides) < 1:
        raise ValueError(f"image_size {image_size} must be at least 1 voxel a side.")
    steps = 0
    while steps < most and max(sides) >= coarsest * 2 ** (steps + 0.5):
        steps += 1
    return steps


def sample_name(seed: int) -> str:
    """Return the file name of the image generated from a seed."""
    return f"sample_{seed:04d}.png"


class WhiteNoised(MapTransform):
    """Replace seeds by white noise that depends only on seed and position, so that tiling does not change the image.

    Args:
        keys: keys of the seeds, which are integers.
        image_size: voxels a side, one number or one per axis.
        spatial_dims: 2 or 3.
    """

    def __init__(self, keys: KeysCollection, image_size: Sequence[int] | int, spatial_dims: int) -> None:
        super().__init__(keys)
        self.shape = ensure_tuple_rep(image_size, spatial_dims)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return the data with noise, `(1, *image_size)`, named after its seed, in place of each seed."""
        out = dict(data)
        for key in self.key_iterator(out):
            seed = int(out[key])
            noise, _ = white_noise(seed, (0,) * len(self.shape), self.shape)
            out[key] = MetaTensor(noise[None].float(), affine=torch.eye(4), meta={"filename_or_obj": sample_name(seed)})
        return out
