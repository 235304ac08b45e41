"""Refuse weights that a network cannot take, before the first image is read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

#: The network's name in a checkpoint that holds more than its weights.
NAME = "model"


def check_weights(weights: str | Path, network: nn.Module, strict: bool = True) -> None:
    """Check that a file of weights is there, holds tensors alone, and that they are those of a network.

    Args:
        weights: path of the file.
        network: the network.
        strict: whether all its tensors must be there, and no others.

    Raises:
        FileNotFoundError: If the file is missing.
        ValueError: If it is no checkpoint, or one of another network.
    """
    if not str(weights) or not Path(weights).is_file():
        raise FileNotFoundError(
            f"weights {str(weights)!r} do not exist; give a file that training has written, or leave weights and "
            "conditioning out."
        )
    wanted, found = network.state_dict(), _tensors(weights)
    missing, more = sorted(wanted.keys() - found.keys()), sorted(found.keys() - wanted.keys())
    other = sorted(name for name in wanted.keys() & found.keys() if wanted[name].shape != found[name].shape)
    if other or (strict and (missing or more)):
        first = [*other, *missing, *more][0]
        raise ValueError(
            f"weights {str(weights)!r} are those of another network: {len(missing)} of its {len(wanted)} tensors are "
            f"missing, {len(other)} have another shape, and {len(more)} are unknown to it, such as {first!r}; take the "
            "experiment and the conditioning that they were trained with, or other weights."
        )


def _tensors(weights: str | Path) -> dict[str, torch.Tensor]:
    """Return the tensors in a file by name; their values are not read."""
    try:
        found: Any = torch.load(weights, map_location="meta", weights_only=True)
        found = found.get(NAME, found)
        if all(isinstance(tensor, torch.Tensor) for tensor in found.values()):
            return dict(found)
    except Exception:  # whatever the reader of a foreign file raises
        found = None
    raise ValueError(
        f"weights {str(weights)!r} are no checkpoint that holds tensors alone; give a file that training has written."
    )
