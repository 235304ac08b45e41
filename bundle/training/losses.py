"""The losses of generator and discriminator."""

from __future__ import annotations

from monai.losses import PatchAdversarialLoss
from torch import Tensor, nn
from torch.nn import functional as F


class AdversarialLosses(nn.Module):
    """The L1 loss, and MONAI's `PatchAdversarialLoss` for generator and discriminator.

    Args:
        adversarial_loss: ``bce``, the paper's log loss, or ``least_squares``.
        weight: factor of the generator's adversarial loss.
        reconstruction_weight: factor of the L1 loss; 0 if an image from scratch has no target of its own.
        beta: below this difference the L1 loss is a square (torch's `smooth_l1_loss`), so that the best guess of what
            cannot be known is its mean and not its median; 0 for none.
    """

    def __init__(
        self,
        adversarial_loss: str = "least_squares",
        weight: float = 0.002,
        reconstruction_weight: float = 1.0,
        beta: float = 0.0,
    ) -> None:
        super().__init__()
        self.loss = PatchAdversarialLoss(criterion=adversarial_loss, no_activation_leastsq=True)
        self.weight, self.reconstruction_weight, self.beta = weight, reconstruction_weight, beta

    def reconstruction(self, fake: Tensor, real: Tensor) -> Tensor:
        """Mean difference of fakes and targets over the voxels."""
        return self.reconstruction_weight * F.smooth_l1_loss(fake, real, beta=self.beta)

    def generator(self, fake: Tensor) -> Tensor:
        """How far the discriminator is from calling the fakes real."""
        return self.weight * self.loss(fake, target_is_real=True, for_discriminator=False)

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        """How far the discriminator is from telling reals and fakes apart."""
        return 0.5 * (
            self.loss(real, target_is_real=True, for_discriminator=True)
            + self.loss(fake, target_is_real=False, for_discriminator=True)
        )
