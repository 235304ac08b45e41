"""Inference on a server, where a request may need another conditioning than the loaded network has."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from bundle.cascade.inferer import unwrap
from monai.inferers import Inferer


class ConditionedInferer(Inferer):
    """Run an inferer on the network of the requested conditioning.

    A server such as MONAI Label loads one network when it starts, and passes it to the inferer for every request. If
    the request needs another conditioning, the network given here replaces it, with its own weights.

    Args:
        inferer: the inferer to run.
        network: a `Cascade` of the requested conditioning; unused if the network passed to the call has the same one.
        weights: checkpoint of ``network``, read only if ``network`` is used.
        seed: seed of torch's random numbers, so that a result does not depend on earlier requests.

    Raises:
        ValueError: If the seed is not a non-negative integer.
    """

    def __init__(self, inferer: Inferer, network: torch.nn.Module, weights: str | Path, seed: int = 0) -> None:
        super().__init__()
        if not str(seed).isdecimal():
            raise ValueError(f"seed {seed!r} is not a whole number from 0 on; take one, such as 0.")
        self.inferer, self.network, self.weights, self.seed = inferer, network, Path(weights), int(seed)

    def __call__(self, inputs: Any, network: Any, *args: Any, **kwargs: Any) -> Any:
        """Return the inferer's result for the requested conditioning.

        Raises:
            FileNotFoundError: If the weights of that conditioning do not exist.
        """
        torch.manual_seed(self.seed)
        if unwrap(network).conditioning != unwrap(self.network).conditioning:
            network = self.load()
        return self.inferer(inputs, network, *args, **kwargs)

    def load(self) -> torch.nn.Module:
        """Return the network of the requested conditioning with its weights loaded, in eval mode."""
        if not self.weights.exists():
            raise FileNotFoundError(
                f"conditioning {unwrap(self.network).conditioning!r} has no weights at {str(self.weights)!r}; train "
                "them, or take a conditioning that has weights."
            )
        self.network.load_state_dict(torch.load(self.weights, map_location="cpu", weights_only=True))
        return self.network.eval()
