"""Make MONAI's `AdversarialTrainer` conditional and let it train one scale.

The trainer's inputs are the real images; the conditions are passed to both inferers as keyword arguments. The
discriminator's "real" is therefore the target, and the stock trainer needs no change.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from bundle.cascade import Cascade
from bundle.geometry import channels_last, crop
from bundle.runtime import in_bfloat16
from bundle.training.diffaugment import diffaugment
from monai.engines import PrepareBatch
from monai.inferers import Inferer
from torch import Tensor, nn

#: With fewer voxels per side, a layer of the discriminator in `configs/train.json` gets an input smaller than its
#: kernel. PyTorch's CPU library then computes wrong weight gradients in bfloat16 (PyTorch 2.13), and wrong outputs with
#: AMX (`bundle.runtime.in_bfloat16`).
THIN = 20


def halving(image: Tensor, half: bool) -> torch.autocast:
    """Return a context that computes in bfloat16 if ``half`` is set and gradients are correct for this image size."""
    return in_bfloat16(image.device, half, strided=min(image.shape[2:]) < THIN)


def least_sides(discriminator: nn.Module) -> list[int]:
    """Return the fewest voxels per axis that a discriminator of convolutions, one after the other, takes."""
    convolutions = [layer for layer in discriminator.modules() if isinstance(layer, (nn.Conv2d, nn.Conv3d))]
    sides = [1] * len(convolutions[0].kernel_size) if convolutions else []
    for layer in reversed(convolutions):
        paddings = [0] * len(sides) if isinstance(layer.padding, str) else layer.padding
        steps = zip(sides, layer.kernel_size, layer.stride, paddings, strict=True)
        sides = [max(1, (side - 1) * stride + kernel - 2 * padding) for side, kernel, stride, padding in steps]
    return sides


class PrepareScaleBatch(PrepareBatch):
    """Split a batch of patches into the target, the generator's input and the discriminator's conditions.

    Args:
        cascade: the cascade, which computes the sketch and knows the reach.
        scale: the scale to train.
    """

    def __init__(self, cascade: Cascade, scale: int) -> None:
        self.cascade, self.scale = cascade, scale
        self.scratch = cascade.conditioning == "none"
        self.sees_image = bool(cascade.sees_image[scale]) and not self.scratch

    @property
    def seen_channels(self) -> int:
        """Number of channels of ``seen``: sketch; image, if the generator sees it; previous scale, above scale 0."""
        return int(not self.scratch) + int(self.sees_image) + int(self.scale > 0)

    def __call__(
        self,
        batchdata: Mapping[str, Tensor],
        device: str | torch.device | None = None,
        non_blocking: bool = False,
        **kwargs: Any,
    ) -> tuple[Tensor, Tensor, tuple, dict[str, Tensor]]:
        """Return the target twice, no positional arguments, and ``condition`` and ``seen`` as keyword arguments.

        ``condition`` is the input of `Cascade.forward` at that scale; ``seen`` holds the generator's conditions
        (sketch; image, if it sees it; previous scale), cropped to the target. From scratch, noise replaces the image.
        """
        batch = {
            key: batchdata[key].as_subclass(Tensor).to(device, non_blocking=non_blocking, **kwargs)
            for key in ("image", "label", *(("coarse",) if self.scale else ()))
        }
        image, target = batch["image"], batch["label"]
        if self.scratch:
            image = torch.randn_like(image)
        with torch.no_grad():
            given = self.cascade.conditions(image, self.sees_image)
        conditions = torch.cat([crop(image, self.cascade.margin)[:, :0], *given], 1)  # from scratch there are none
        seen = crop(conditions, [(s - t) // 2 for s, t in zip(conditions.shape[2:], target.shape[2:], strict=True)])
        if not self.scale:
            return target, target, (), {"condition": image, "seen": seen}
        coarse = batch["coarse"]
        seen = torch.cat([seen, crop(coarse, self.cascade.reach[self.scale])], 1)
        return target, target, (), {"condition": torch.cat([image, coarse], 1), "seen": seen}


class ScaleGenerator(Inferer):
    """Run the generator of one scale on the conditions alone.

    Args:
        scale: the scale to train.
        half: compute in bfloat16 (torch's autocast), except for thin images on a CPU.
    """

    def __init__(self, scale: int, half: bool = False) -> None:
        super().__init__()
        self.scale, self.half = scale, half

    def __call__(self, inputs: Tensor, network: Any, *args: Any, **kwargs: Any) -> Tensor:
        """Return the fake for ``condition``; ``inputs``, the real image, only gives the device and the size."""
        with halving(inputs, self.half):
            return network(kwargs["condition"], self.scale).float()


class ScaleDiscriminator(Inferer):
    """Run the discriminator on an image and its conditions: D(x, y) of the paper's objective, section 2.1.

    Args:
        half: compute in bfloat16 (torch's autocast), except for thin images on a CPU.
        diffaugment: strength of random translation and cutout, from 0 to 1 (see `diffaugment`).
        minibatch_std: append the voxel-wise standard deviation over the batch, which exposes a generator that always
            makes the same image (Karras et al., Progressive growing of GANs, ICLR 2018).
        residual_gain: above scale 0, show the difference between image and previous scale, times this factor, instead
            of the image, because fine detail is faint compared with the whole image. 0 shows the image.
    """

    def __init__(
        self, half: bool = False, diffaugment: float = 0.0, minibatch_std: bool = False, residual_gain: float = 0.0
    ) -> None:
        super().__init__()
        self.half, self.diffaugment = half, diffaugment
        self.minibatch_std, self.residual_gain = minibatch_std, residual_gain

    def __call__(self, inputs: Tensor, network: Any, *args: Any, **kwargs: Any) -> Tensor:
        """Return one logit per patch of MONAI's `PatchDiscriminator`."""
        with halving(inputs, self.half):
            seen = kwargs["seen"]
            gain = self.residual_gain
            shown = torch.cat([seen, gain * (inputs - seen[:, -1:]) if gain else inputs], 1)
            if self.minibatch_std:
                shown = torch.cat([shown, inputs.std(0, keepdim=True).expand_as(inputs)], 1)
            shown = diffaugment(shown, self.diffaugment)
            return network(channels_last(shown))[-1].float()
