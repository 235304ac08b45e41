"""One scale's GAN for MONAI's `AdversarialTrainer`: what makes it conditional, and the weights of all scales gathered.

The trainer's inputs are the real images; the conditions travel beside them, as keyword arguments of both inferers. So
the discriminator's "real" is the target, and the stock trainer needs no change.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from monai.data import Dataset
from monai.engines import PrepareBatch
from monai.inferers import Inferer
from monai.losses import PatchAdversarialLoss
from torch import Tensor, nn

from bundle.networks import Cascade, crop


def channels_last(image: Tensor) -> Tensor:
    """The same image in the memory layout that convolutions are fastest on."""
    return image.contiguous(memory_format=torch.channels_last_3d if image.ndim == 5 else torch.channels_last)


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

        ``condition`` is what `Cascade.forward` takes at that scale; ``seen`` the same cropped to the target, with the
        sketch in front and without the image where the conditioning hides it.
        """
        batch = {
            key: batchdata[key].as_subclass(Tensor).to(device, non_blocking=non_blocking, **kwargs)
            for key in ("image", "label", *(("coarse",) if self.scale else ()))
        }
        image, target = batch["image"], batch["label"]
        with torch.no_grad():
            sketch = self.cascade.sketch(image)
        seen = [crop(sketch, [(s - t) // 2 for s, t in zip(sketch.shape[2:], target.shape[2:], strict=True)])]
        if self.cascade.conditioning == "image" or (self.cascade.conditioning == "anchored" and not self.scale):
            seen.append(crop(image, self.cascade.reach[self.scale]))
        condition = image
        if self.scale:
            condition = torch.cat([image, batch["coarse"]], 1)
            seen.append(crop(batch["coarse"], self.cascade.reach[self.scale]))
        return target, target, (), {"condition": condition, "seen": torch.cat(seen, 1)}


class ScaleGenerator(Inferer):
    """Run one scale's generator on the conditions alone.

    Args:
        scale: the scale to train.
        half: whether to compute in bfloat16 where that is safe (torch's autocast).
    """

    def __init__(self, scale: int, half: bool = False) -> None:
        super().__init__()
        self.scale, self.half = scale, half

    def __call__(self, inputs: Tensor, network: Any, *args: Any, **kwargs: Any) -> Tensor:  # noqa: ARG002 - MONAI's signature
        """Return the fake for ``condition``; ``inputs``, the real image, is not looked at."""
        condition = channels_last(kwargs["condition"])
        with torch.autocast(inputs.device.type, torch.bfloat16, enabled=self.half):
            return network(condition, self.scale).float()


class ScaleDiscriminator(Inferer):
    """Run the discriminator on an image beside the conditions: D(x, y) of the paper's objective, section 2.1.

    Args:
        half: whether to compute in bfloat16 where that is safe (torch's autocast).
    """

    def __init__(self, half: bool = False) -> None:
        super().__init__()
        self.half = half

    def __call__(self, inputs: Tensor, network: Any, *args: Any, **kwargs: Any) -> Tensor:  # noqa: ARG002 - MONAI's signature
        """Return the logits, one for each patch that MONAI's `PatchDiscriminator` looks at."""
        with torch.autocast(inputs.device.type, torch.bfloat16, enabled=self.half):
            return network(channels_last(torch.cat([kwargs["seen"], inputs], 1)))[-1].float()


class AdversarialLosses(nn.Module):
    """The generator's and the discriminator's share of the adversarial loss, from MONAI's `PatchAdversarialLoss`.

    Args:
        criterion: ``bce``, the paper's log loss, or ``least_squares``.
        weight: factor of the generator's share, beside the L1 loss of weight 1.
    """

    def __init__(self, criterion: str = "least_squares", weight: float = 0.002) -> None:
        super().__init__()
        self.loss = PatchAdversarialLoss(criterion=criterion, no_activation_leastsq=True)
        self.weight = weight

    def generator(self, fake: Tensor) -> Tensor:
        """How far the discriminator is from taking the fakes for real."""
        return self.weight * self.loss(fake, target_is_real=True, for_discriminator=False)

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        """How far it is from telling both apart."""
        return 0.5 * (
            self.loss(real, target_is_real=True, for_discriminator=True)
            + self.loss(fake, target_is_real=False, for_discriminator=True)
        )


def scale_parameters(cascade: Cascade, scale: int) -> list[nn.Parameter]:
    """The parameters of one scale's generator.

    Raises:
        ValueError: where the cascade has no such scale.
    """
    if not 0 <= scale < cascade.num_scales:
        raise ValueError(f"scale {scale} is not one of 0 to {cascade.num_scales - 1}, the scales of the cascade.")
    return list((cascade.fine[scale - 1] if scale else cascade.coarse).parameters())


def stop_on_nan(engine: Any) -> None:
    """Handler of every iteration: end the run where the loss is no number any more; what was saved before stays.

    Raises:
        FloatingPointError: where it is not.
    """
    loss = engine.state.output["reconstruction_loss"].item()
    if not math.isfinite(loss):
        raise FloatingPointError(
            f"the loss of iteration {engine.state.iteration} is {loss}, no finite number; train with --amp False or "
            "a lower --learning_rate. The best weights so far are in output_dir."
        )


class FixedPatches(Dataset):
    """The same patches at every validation: drawn once, volume after volume.

    Args:
        data: images, as for `monai.data.Dataset`.
        transform: what loads one.
        patching: random transforms that make a patch of it.
        number: how many patches.
        seed: of the patches.

    Raises:
        ValueError: where there is no image.
    """

    def __init__(self, data: Sequence, transform: Any, patching: Any, number: int, seed: int = 0) -> None:
        super().__init__(data, transform)
        if not len(data):
            raise ValueError(
                "there is no image to validate on: the fold is empty; take num_folds of at most the images."
            )
        patching.set_random_state(seed=seed)
        volumes = [transform(item) for item in data]
        self.patches = [patching(dict(volumes[i % len(volumes)])) for i in range(number)]

    def __len__(self) -> int:
        """The number of patches."""
        return len(self.patches)

    def __getitem__(self, index: Any) -> Any:
        """One patch."""
        return self.patches[index]


def gather(cascade: Cascade, folder: str | Path, path: str | Path) -> Path:
    """Put the weights of scales trained one by one into one checkpoint, a flat state dict of the cascade.

    Args:
        cascade: tells the names and shapes.
        folder: holds ``scale_0.pt``, ``scale_1.pt`` and so on, each a state dict of the whole cascade.
        path: where to write; what is there is replaced only by a whole file.

    Raises:
        FileNotFoundError: where a scale is missing.
        ValueError: where a scale's file lacks its weights.
    """
    state = cascade.state_dict()
    for scale in range(cascade.num_scales):
        file = Path(folder) / f"scale_{scale}.pt"
        if not file.exists():
            raise FileNotFoundError(f"{file} is missing: train scale {scale} first (--scale {scale}).")
        trained = torch.load(file, map_location="cpu", weights_only=True)
        prefix = f"fine.{scale - 1}." if scale else "coarse."
        missing = [key for key in state if key.startswith(prefix) and key not in trained]
        if missing:
            raise ValueError(f"{file} holds no {missing[0]!r}, so it is of another network: train scale {scale} again.")
        state.update({key: value for key, value in trained.items() if key.startswith(prefix)})
    cascade.load_state_dict(state)
    path = Path(path)
    part = path.with_name(f".{path.name}.part")
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(state, part)
    part.replace(path)
    print(f"written: {path}")
    return path
