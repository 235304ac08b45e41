"""Read and write the weights of one scale or of all scales."""

from __future__ import annotations

import pickle
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from bundle.cascade import Cascade
from bundle.runtime.files import atomic
from ignite.engine import Engine, Events
from ignite.handlers import Checkpoint
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


def read_whole(path: str | Path, remedy: str) -> dict[str, Any]:
    """Read a checkpoint onto the CPU.

    Args:
        path: file of a checkpoint.
        remedy: end of the message about a file that cannot be read: what to do then.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If it is damaged, or no checkpoint.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"checkpoint {str(path)!r} does not exist; {remedy}")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, KeyError, ValueError, pickle.UnpicklingError) as error:
        raise ValueError(f"{str(path)!r} is damaged, or not a checkpoint of PyTorch; {remedy}") from error
    if not isinstance(state, dict):
        raise ValueError(f"{str(path)!r} holds no state dict; {remedy}")
    return state


def load_states(objects: Mapping[str, Any], states: Mapping[str, Any], path: str | Path, remedy: str) -> None:
    """Load the states of a checkpoint into objects of the same names, or a single state into a single object.

    Args:
        objects: names, and objects with a ``load_state_dict``.
        states: the checkpoint.
        path: its file, for the message.
        remedy: end of the message about a checkpoint that does not fit: what to do then.

    Raises:
        ValueError: If a state is missing or of another network.
    """
    try:
        Checkpoint.load_objects(dict(objects), states)
    except (RuntimeError, ValueError, KeyError) as error:
        why = textwrap.shorten(str(error), 160, placeholder=" ...")
        raise ValueError(f"{str(path)!r} does not fit the networks of the config; {remedy} ({why})") from error


class FineTune:
    """Start a training from the weights of another one.

    Args:
        network: the cascade.
        path: file of its state dict.
    """

    def __init__(self, network: nn.Module, path: str | Path) -> None:
        self.network, self.path = network, path
        self.remedy = "finetune takes the weights of the same networks, or null."
        self.state = read_whole(path, self.remedy)

    def attach(self, engine: Engine) -> None:
        """Load the weights when an engine starts."""
        engine.add_event_handler(Events.STARTED, self)

    def __call__(self, engine: Engine) -> None:  # noqa: ARG002 (ignite passes the engine)
        """Load the weights."""
        load_states({"model": self.network}, self.state, self.path, self.remedy)


def load_trained(cascade: Cascade, folder: str | Path, scales: int, joined: str | Path) -> bool:
    """Load the trained weights of the first scales of a cascade, and return whether all of them are trained.

    Args:
        cascade: cascade whose weights are replaced.
        folder: folder of a training, with ``scale_0.pt`` and so on.
        scales: number of scales to load.
        joined: a checkpoint of all scales, used for scales missing from the folder.

    Raises:
        ValueError: If a file is damaged or of another network.
    """
    state, missing = cascade.state_dict(), []
    for scale in range(scales):
        file, remedy = Path(folder) / f"scale_{scale}.pt", f"train scale {scale} again (--scale {scale})."
        if not file.exists():
            file, remedy = Path(joined), f"train scale {scale} first (--scale {scale}), or take other --weights."
        if file.is_file():
            state.update(_fitting(state, file, scale, remedy))
        else:
            missing.append(scale)
    cascade.load_state_dict(state)
    if missing:
        print(f"scales {missing} are not trained: this scale is not trained on results of the previous one.")
    return not missing


def _fitting(state: Mapping[str, Tensor], file: Path, scale: int, remedy: str) -> dict[str, Tensor]:
    """Read the weights of one scale, and check that a cascade's state has the same ones."""
    trained = own_weights(read_whole(file, remedy), scale)
    for key in own_weights(state, scale):
        if key not in trained:
            raise ValueError(f"{str(file)!r} holds no {key!r}, so it is of another network; {remedy}")
        if (given := tuple(trained[key].shape)) != (wanted := tuple(state[key].shape)):
            raise ValueError(
                f"{str(file)!r} is of another network: {key!r} has shape {given} there, here {wanted}; {remedy}"
            )
    return trained


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
        ValueError: If a scale's file is damaged or of another network.
    """
    state = cascade.state_dict()
    for scale in range(cascade.num_scales):
        file = Path(folder) / f"scale_{scale}.pt"
        if not file.exists():
            raise FileNotFoundError(f"{file} is missing: train scale {scale} first (--scale {scale}).")
        state.update(_fitting(state, file, scale, f"train scale {scale} again (--scale {scale})."))
    cascade.load_state_dict(state)
    save_whole(state, path)
    print(f"written: {path}")
    return Path(path)
