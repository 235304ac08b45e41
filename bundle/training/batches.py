"""What makes MONAI's `AdversarialTrainer` conditional and train one scale.

The trainer's inputs are the real images; the conditions travel beside them, as keyword arguments of both inferers. So
the discriminator's "real" is the target, and the stock trainer needs no change.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from bundle.cascade import Cascade
from bundle.geometry import channels_last, crop
from bundle.training.diffaugment import augmented
from monai.engines import PrepareBatch
from monai.inferers import Inferer
from torch import Tensor

#: Of fewer voxels a side, a layer of the discriminator of `configs/train.json` is given less than its kernel spans, and
#: PyTorch's library for CPUs then finds wrong gradients of its weights in bfloat16 (2.13).
THIN = 20


def halving(image: Tensor, half: bool) -> torch.autocast:
    """Compute in bfloat16 what is entered with this, where that is asked for and right for an image."""
    right = image.device.type != "cpu" or min(image.shape[2:]) >= THIN
    return torch.autocast(image.device.type, torch.bfloat16, enabled=half and right)


class PrepareScaleBatch(PrepareBatch):
    """Take a batch of patches apart: the target, what the generator sees, and what the discriminator sees.

    Args:
        cascade: gives the sketch and the reach.
        scale: the scale to train.
    """

    def __init__(self, cascade: Cascade, scale: int) -> None:
        self.cascade, self.scale = cascade, scale

    def __call__(
        self,
        batchdata: Mapping[str, Tensor],
        device: str | torch.device | None = None,
        non_blocking: bool = False,
        **kwargs: Any,
    ) -> tuple[Tensor, Tensor, tuple, dict[str, Tensor]]:
        """Return target, target, no arguments, and ``condition`` and ``seen``.

        ``condition`` is what `Cascade.forward` takes at that scale; ``seen`` is what its generator makes of it (sketch;
        image, where it sees it; previous scale), cropped to the target. From scratch, noise stands for the image.
        """
        batch = {
            key: batchdata[key].as_subclass(Tensor).to(device, non_blocking=non_blocking, **kwargs)
            for key in ("image", "label", *(("coarse",) if self.scale else ()))
        }
        image, target = batch["image"], batch["label"]
        scratch = self.cascade.conditioning == "none"
        if scratch:
            image = torch.randn_like(image)
        with torch.no_grad():
            given = self.cascade.conditions(image, self.cascade.sees_image[self.scale] and not scratch)
        conditions = torch.cat([crop(image, self.cascade.margin)[:, :0], *given], 1)  # from scratch there are none
        seen = crop(conditions, [(s - t) // 2 for s, t in zip(conditions.shape[2:], target.shape[2:], strict=True)])
        if not self.scale:
            return target, target, (), {"condition": image, "seen": seen}
        coarse = batch["coarse"]
        seen = torch.cat([seen, crop(coarse, self.cascade.reach[self.scale])], 1)
        return target, target, (), {"condition": torch.cat([image, coarse], 1), "seen": seen}


class ScaleGenerator(Inferer):
    """Run one scale's generator on the conditions alone.

    Args:
        scale: the scale to train.
        half: whether to compute in bfloat16 (torch's autocast), but for thin images on a CPU.
    """

    def __init__(self, scale: int, half: bool = False) -> None:
        super().__init__()
        self.scale, self.half = scale, half

    def __call__(self, inputs: Tensor, network: Any, *args: Any, **kwargs: Any) -> Tensor:
        """Return the fake for ``condition``; ``inputs``, the real image, is not looked at."""
        with halving(inputs, self.half):
            return network(kwargs["condition"], self.scale).float()


class ScaleDiscriminator(Inferer):
    """Run the discriminator on an image beside the conditions: D(x, y) of the paper's objective, section 2.1.

    Args:
        half: whether to compute in bfloat16 (torch's autocast), but for thin images on a CPU.
        augment: how much of what it is shown is moved and blotted out, from 0 to 1 (see `augmented`).
        spread: whether it is shown how the images of a batch differ as well, voxel by voxel, so that a generator which
            always makes the same image gives itself away (Karras et al., Progressive growing of GANs, ICLR 2018).
        detail: above scale 0, by how much it is shown what an image adds to the previous scale, in place of the image:
            fine detail is faint beside the whole. 0 shows the image.
    """

    def __init__(self, half: bool = False, augment: float = 0.0, spread: bool = False, detail: float = 0.0) -> None:
        super().__init__()
        self.half, self.augment, self.spread, self.detail = half, augment, spread, detail

    def __call__(self, inputs: Tensor, network: Any, *args: Any, **kwargs: Any) -> Tensor:
        """Return the logits, one for each patch that MONAI's `PatchDiscriminator` looks at."""
        with halving(inputs, self.half):
            seen = kwargs["seen"]
            shown = torch.cat([seen, self.detail * (inputs - seen[:, -1:]) if self.detail else inputs], 1)
            if self.spread:
                shown = torch.cat([shown, inputs.std(0, keepdim=True).expand_as(inputs)], 1)
            shown = augmented(shown, self.augment)
            return network(channels_last(shown))[-1].float()
