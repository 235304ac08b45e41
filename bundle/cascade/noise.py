"""White noise as an image: the input of a cascade that generates from scratch."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import torch
from bundle.geometry import white_noise
from bundle.runtime import is_count
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform


def steps_of(image_size: Sequence[int] | int, most: int, coarsest: int = 64) -> int:
    """Return the number of scales above scale 0 for which scale 0 is about as large as in training.

    Args:
        image_size: voxels a side, one number or one per axis; the longest side counts.
        most: number of trained scales above scale 0.
        coarsest: voxels a side of scale 0 in training.

    Raises:
        ValueError: If a side is no whole number from 1 on.
    """
    sides, steps = sides_of(image_size), 0
    while steps < most and max(sides) >= coarsest * 2 ** (steps + 0.5):
        steps += 1
    return steps


def sides_of(image_size: Sequence[int] | int, spatial_dims: int | None = None) -> tuple[int, ...]:
    """Return the sides of an image.

    Args:
        image_size: voxels a side, one number or one per axis.
        spatial_dims: number of axes; null for as many as are given.

    Raises:
        ValueError: If a side is no whole number from 1 on, or there are more or fewer sides than axes.
    """
    sides = tuple(image_size) if isinstance(image_size, (list, tuple)) else (image_size,)
    if not all(map(is_count, sides)) or not sides or len(sides) not in (1, spatial_dims or len(sides)):
        raise ValueError(
            f"image_size {image_size!r} is neither a whole number of voxels from 1 on nor a list of "
            f"{spatial_dims or 'some'} of them; take one such as 1024."
        )
    return sides * (spatial_dims or 1) if len(sides) == 1 else sides


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
        self.shape = sides_of(image_size, spatial_dims)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return the data with noise, `(1, *image_size)`, named after its seed, in place of each seed."""
        out = dict(data)
        for key in self.key_iterator(out):
            seed = int(out[key])
            noise, _ = white_noise(seed, (0,) * len(self.shape), self.shape)
            out[key] = MetaTensor(noise[None].float(), affine=torch.eye(4), meta={"filename_or_obj": sample_name(seed)})
        return out
