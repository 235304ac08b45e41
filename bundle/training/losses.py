"""The adversarial loss of generator and discriminator."""

from __future__ import annotations

from monai.losses import PatchAdversarialLoss
from torch import Tensor, nn


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
