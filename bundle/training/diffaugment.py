"""What keeps a discriminator from learning few images by heart: it is shown them moved and with a part blotted out."""

from __future__ import annotations

import torch
from torch import Tensor


def augmented(images: Tensor, strength: float) -> Tensor:
    """Move every image of a batch and blot out a part of it, reals and fakes alike and differentiably.

    Zhao et al., Differentiable Augmentation for Data-Efficient GAN Training, NeurIPS 2020: translation and cutout.

    Args:
        images: `(batch, channels, *spatial)`, all channels of one alike.
        strength: 0 for none; 1 moves by up to a quarter of each side and blots out half of each side.
    """
    if strength <= 0:
        return images
    shown = []
    for image in images:
        mask = torch.ones_like(image[:1])
        hole = mask
        for axis, size in enumerate(image.shape[1:], 1):
            reach = round(strength * size / 4)
            shift, start = (int(torch.randint(most, ())) for most in (2 * reach + 1, size))
            image = torch.roll(image, shift - reach, axis)
            kept = torch.arange(size, device=image.device) - (shift - reach)
            shape = [-1 if other == axis else 1 for other in range(image.ndim)]
            mask = mask * ((kept >= 0) & (kept < size)).reshape(shape)  # what was rolled in is nothing
            inside = (torch.arange(size, device=image.device) - start).abs() < strength * size / 4
            hole = hole * inside.reshape(shape)
        shown.append(image * mask * (1 - hole))
    return torch.stack(shown)
