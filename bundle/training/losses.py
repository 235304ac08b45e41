"""The losses of generator and discriminator."""

from __future__ import annotations

from monai.losses import PatchAdversarialLoss
from torch import Tensor, nn
from torch.nn import functional as F


class AdversarialLosses(nn.Module):
    """The L1 loss, and the generator's and the discriminator's share of MONAI's `PatchAdversarialLoss`.

    Args:
        criterion: ``bce``, the paper's log loss, or ``least_squares``.
        weight: factor of the generator's share.
        reconstruction_weight: factor of the L1 loss; 0 where an image from scratch has no target of its own.
        beta: below this difference the L1 loss is a square (torch's `smooth_l1_loss`): the best guess of what cannot be
            known is then its mean, and not its median; 0 for none.
    """

    def __init__(
        self,
        criterion: str = "least_squares",
        weight: float = 0.002,
        reconstruction_weight: float = 1.0,
        beta: float = 0.0,
    ) -> None:
        super().__init__()
        self.loss = PatchAdversarialLoss(criterion=criterion, no_activation_leastsq=True)
        self.weight, self.reconstruction_weight, self.beta = weight, reconstruction_weight, beta

    def reconstruction(self, fake: Tensor, real: Tensor) -> Tensor:
        """How far the fakes are from the targets, in the mean of the voxels."""
        return self.reconstruction_weight * F.smooth_l1_loss(fake, real, beta=self.beta)

    def generator(self, fake: Tensor) -> Tensor:
        """How far the discriminator is from taking the fakes for real."""
        return self.weight * self.loss(fake, target_is_real=True, for_discriminator=False)

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        """How far it is from telling both apart."""
        return 0.5 * (
            self.loss(real, target_is_real=True, for_discriminator=True)
            + self.loss(fake, target_is_real=False, for_discriminator=True)
        )
