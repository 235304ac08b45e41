"""Inference as a server's user asks for it: with a conditioning that is not the one of the network that was loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from bundle.cascade.inferer import unwrap
from monai.inferers import Inferer


class ConditionedInferer(Inferer):
    """Run an inferer on the network of the conditioning that is asked for.

    A server such as MONAI Label loads one network when it starts, and hands it to the inferer whatever the request.
    Where that is of another conditioning, the network of the request takes its place, with weights of its own.

    Args:
        inferer: what is run.
        network: a `Cascade` of the conditioning that is asked for; left alone where the one that is given is of it.
        weights: its checkpoint, read only where it takes the other's place.
        seed: what torch's random numbers start from, so that an answer does not depend on those given before.

    Raises:
        ValueError: If the seed is no whole number.
    """

    def __init__(self, inferer: Inferer, network: torch.nn.Module, weights: str | Path, seed: int = 0) -> None:
        super().__init__()
        if not str(seed).isdecimal():
            raise ValueError(f"seed {seed!r} is no whole number from 0 on; take one, such as 0.")
        self.inferer, self.network, self.weights, self.seed = inferer, network, Path(weights), int(seed)

    def __call__(self, inputs: Any, network: Any, *args: Any, **kwargs: Any) -> Any:
        """What the inferer gives for the inputs.

        Raises:
            FileNotFoundError: If the conditioning has no weights.
        """
        torch.manual_seed(self.seed)
        if unwrap(network).conditioning != unwrap(self.network).conditioning:
            network = self.loaded()
        return self.inferer(inputs, network, *args, **kwargs)

    def loaded(self) -> torch.nn.Module:
        """The network of the conditioning, with its weights."""
        if not self.weights.exists():
            raise FileNotFoundError(
                f"conditioning {unwrap(self.network).conditioning!r} has no weights at {str(self.weights)!r}; train "
                "them, or take a conditioning that has."
            )
        self.network.load_state_dict(torch.load(self.weights, map_location="cpu", weights_only=True))
        return self.network.eval()
