"""Losses of generator and discriminator."""

from __future__ import annotations

from monai.losses import PatchAdversarialLoss
from torch import Tensor, nn
from torch.nn import functional as F


class AdversarialLosses(nn.Module):
    """Combine the L1 loss with MONAI's `PatchAdversarialLoss` for generator and discriminator.

    Args:
        adversarial_loss: ``bce``, the paper's log loss, or ``least_squares``.
        weight: weight of the generator's adversarial loss.
        reconstruction_weight: weight of the L1 loss; 0 for images from scratch, which have no target of their own.
        beta: difference below which the L1 loss is quadratic (torch's `smooth_l1_loss`), so that the best guess of
            unpredictable detail is its mean, not its median; 0 for a pure L1 loss.
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
        """Return the weighted mean difference between fakes and targets over the voxels."""
        return self.reconstruction_weight * F.smooth_l1_loss(fake, real, beta=self.beta)

    def generator(self, fake: Tensor) -> Tensor:
        """Return the weighted adversarial loss: how far the discriminator is from calling the fakes real."""
        return self.weight * self.loss(fake, target_is_real=True, for_discriminator=False)

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        """Return the discriminator's loss: how far it is from separating real images and fakes."""
        return 0.5 * (
            self.loss(real, target_is_real=True, for_discriminator=True)
            + self.loss(fake, target_is_real=False, for_discriminator=True)
        )
