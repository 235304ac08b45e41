"""Images cropped, extended, pooled and upsampled, as every scale of the cascade does it."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def crop(image: Tensor, margin: list[int]) -> Tensor:
    """Take the same margin off both ends of every spatial axis."""
    for i in range(len(margin)):
        image = image.narrow(i + 2, margin[i], image.shape[i + 2] - 2 * margin[i])
    return image


def extend(image: Tensor, before: list[int], behind: list[int]) -> Tensor:
    """Repeat an image's border: how every scale looks beyond the image."""
    pad: list[int] = []
    for i in range(len(before) - 1, -1, -1):
        pad.append(before[i])
        pad.append(behind[i])
    return F.pad(image, pad, mode="replicate")


def pool(image: Tensor, factor: list[int]) -> Tensor:
    """The image one scale coarser: means of blocks, a last odd voxel doubled."""
    odd = [image.shape[i + 2] % factor[i] for i in range(len(factor))]
    image = extend(image, [0] * len(odd), odd)
    return F.avg_pool3d(image, factor) if len(factor) == 3 else F.avg_pool2d(image, factor)


def upsample(image: Tensor, factor: list[int]) -> Tensor:
    """The image one scale finer, linear between voxel centres, its border repeated."""
    size = [image.shape[i + 2] * factor[i] for i in range(len(factor))]
    return F.interpolate(image, size, mode="trilinear" if len(factor) == 3 else "bilinear")


def channels_last(image: Tensor) -> Tensor:
    """The same image in the memory layout that convolutions are fastest on."""
    return image.contiguous(memory_format=torch.channels_last_3d if image.ndim == 5 else torch.channels_last)
