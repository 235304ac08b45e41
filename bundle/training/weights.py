"""Read and write the weights of one scale or of all scales."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from bundle.cascade import Cascade
from bundle.runtime.files import atomic
from torch import Tensor, nn


def scale_parameters(cascade: Cascade, scale: int) -> list[nn.Parameter]:
    """Return the parameters of one scale's generator.

    Raises:
        ValueError: If the cascade has no such scale.
    """
    if not 0 <= scale < cascade.num_scales:
        raise ValueError(f"scale {scale} is not one of 0 to {cascade.num_scales - 1}, the scales of the cascade.")
    return list((cascade.fine[scale - 1] if scale else cascade.coarse).parameters())


def prefix_of(scale: int) -> str:
    """Return the prefix of the names of one scale's weights."""
    return f"fine.{scale - 1}." if scale else "coarse."


def save_whole(state: Mapping[str, Any], path: str | Path) -> None:
    """Write a checkpoint atomically: at any time the file is either the old one or the complete new one."""
    with atomic(path) as part:
        torch.save(state, part)


def load_trained(cascade: Cascade, folder: str | Path, scales: int, joined: str | Path) -> bool:
    """Load the trained weights of the first scales of a cascade, and return whether all of them are trained.

    Args:
        cascade: cascade whose weights are replaced.
        folder: folder of a training, with ``scale_0.pt`` and so on.
        scales: number of scales to load.
        joined: a checkpoint of all scales, used for scales missing from the folder.
    """
    state, missing = cascade.state_dict(), []
    for scale in range(scales):
        file = Path(folder) / f"scale_{scale}.pt"
        file = file if file.exists() else Path(joined)
        if file.exists():
            state.update(own_weights(torch.load(file, map_location="cpu", weights_only=True), scale))
        else:
            missing.append(scale)
    cascade.load_state_dict(state)
    if missing:
        print(f"scales {missing} are not trained: this scale is not trained on results of the previous one.")
    return not missing


def own_weights(trained: Mapping[str, Tensor], scale: int) -> dict[str, Tensor]:
    """Select the weights of one scale from those of all scales."""
    return {key: value for key, value in trained.items() if key.startswith(prefix_of(scale))}


def gather(cascade: Cascade, folder: str | Path, path: str | Path) -> Path:
    """Join the weights of separately trained scales into one checkpoint, a flat state dict of the cascade.

    Args:
        cascade: cascade with the names and shapes of the weights.
        folder: folder with ``scale_0.pt``, ``scale_1.pt`` and so on, each a state dict of the whole cascade.
        path: file to write; an existing one is replaced atomically.

    Raises:
        FileNotFoundError: If a scale is missing.
        ValueError: If a scale's file lacks its weights.
    """
    state = cascade.state_dict()
    for scale in range(cascade.num_scales):
        file = Path(folder) / f"scale_{scale}.pt"
        if not file.exists():
            raise FileNotFoundError(f"{file} is missing: train scale {scale} first (--scale {scale}).")
        trained = torch.load(file, map_location="cpu", weights_only=True)
        missing = [key for key in state if key.startswith(prefix_of(scale)) and key not in trained]
        if missing:
            raise ValueError(f"{file} holds no {missing[0]!r}, so it is of another network: train scale {scale} again.")
        state.update(own_weights(trained, scale))
    cascade.load_state_dict(state)
    save_whole(state, path)
    print(f"written: {path}")
    return Path(path)
