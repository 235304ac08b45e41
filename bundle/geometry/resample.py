"""Crop, extend, pool and upsample images, the same for every scale of the cascade; valid TorchScript."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def crop(image: Tensor, margin: list[int]) -> Tensor:
    """Remove the same margin from both ends of every spatial axis."""
    for i in range(len(margin)):
        image = image.narrow(i + 2, margin[i], image.shape[i + 2] - 2 * margin[i])
    return image


def extend(image: Tensor, before: list[int], behind: list[int]) -> Tensor:
    """Pad an image by repeating its border, which is what every scale sees beyond the image."""
    pad: list[int] = []
    for i in range(len(before) - 1, -1, -1):
        pad.append(before[i])
        pad.append(behind[i])
    return F.pad(image, pad, mode="replicate")


def pool(image: Tensor, factor: list[int]) -> Tensor:
    """Return the image one scale coarser, by block means; an odd last voxel counts twice."""
    odd = [image.shape[i + 2] % factor[i] for i in range(len(factor))]
    image = extend(image, [0] * len(odd), odd)
    return F.avg_pool3d(image, factor) if len(factor) == 3 else F.avg_pool2d(image, factor)


def upsample(image: Tensor, factor: list[int]) -> Tensor:
    """Return the image one scale finer, by linear interpolation between voxel centres with a repeated border."""
    size = [image.shape[i + 2] * factor[i] for i in range(len(factor))]
    return F.interpolate(image, size, mode="trilinear" if len(factor) == 3 else "bilinear")


def channels_last(image: Tensor) -> Tensor:
    """Return the image in the memory layout in which convolutions are fastest."""
    return image.contiguous(memory_format=torch.channels_last_3d if image.ndim == 5 else torch.channels_last)
