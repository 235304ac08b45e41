"""DiffAugment: random translation and cutout, which keep a discriminator from memorizing a small training set."""

from __future__ import annotations

import torch
from torch import Tensor


def diffaugment(images: Tensor, strength: float) -> Tensor:
    """Translate each image of a batch and cut out a part of it, differentiably, for real and fake images alike.

    Zhao et al., Differentiable Augmentation for Data-Efficient GAN Training, NeurIPS 2020.

    Args:
        images: `(batch, channels, *spatial)`; all channels of an image are changed in the same way.
        strength: 0 for none; 1 translates by up to a quarter of each side and cuts out half of each side.
    """
    if strength <= 0:
        return images
    shown = []
    for image in images:
        mask = torch.ones_like(image[:1])
        hole = mask
        for axis, size in enumerate(image.shape[1:], 1):
            most = round(strength * size / 4)
            shift, start = (int(torch.randint(number, ())) for number in (2 * most + 1, size))
            image = torch.roll(image, shift - most, axis)
            kept = torch.arange(size, device=image.device) - (shift - most)
            shape = [-1 if other == axis else 1 for other in range(image.ndim)]
            mask = mask * ((kept >= 0) & (kept < size)).reshape(shape)  # set the voxels that wrapped around to 0
            inside = (torch.arange(size, device=image.device) - start).abs() < strength * size / 4
            hole = hole * inside.reshape(shape)
        shown.append(image * mask * (1 - hole))
    return torch.stack(shown)
