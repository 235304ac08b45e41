"""A 2D network for volumes: each slice is computed by itself, from the slice and its neighbours (2.5D)."""

from __future__ import annotations

import torch
from bundle.geometry import channels_last
from torch import Tensor, nn
from torch.nn import functional as F


class SliceWise(nn.Module):
    """Run a 2D network on every slice of a volume, with the neighbouring slices as further channels.

    A 2D network learns more from few volumes of thick slices than a 3D one of the same cost: every slice is an example.

    Args:
        network: maps `(slices, (2 neighbours + 1) channels, x, y)` to `(slices, out_channels, x, y)`, such as MONAI's
            2D `UNet`.
        neighbours: number of slices on each side that the network sees; the first and the last slice are repeated.
    """

    def __init__(self, network: nn.Module, neighbours: int = 1) -> None:
        super().__init__()
        self.network, self.neighbours = network, neighbours
        #: Strides of the network, of which `Cascade` pads the sides to a multiple.
        self.strides = list(getattr(network, "strides", ()))

    def forward(self, x: Tensor) -> Tensor:
        """Map `(batch, channels, x, y, z)` to `(batch, out_channels, x, y, z)`."""
        depth = x.shape[4]
        padded = F.pad(x, [self.neighbours, self.neighbours, 0, 0, 0, 0], mode="replicate")
        stacks = torch.cat([padded.narrow(4, i, depth) for i in range(2 * self.neighbours + 1)], 1)
        slices = self.network(channels_last(stacks.movedim(4, 1).flatten(0, 1)))
        return slices.unflatten(0, (x.shape[0], depth)).movedim(1, 4)
