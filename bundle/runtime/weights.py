"""Refuse weights that a network cannot take, or does not load, before the first image is read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from bundle.runtime.job import Job
from ignite.engine import Engine, Events
from monai.handlers import CheckpointLoader
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


def check_loaded(evaluator: Engine, job: Job) -> None:
    """Check that an evaluator loads the weights of a job, which its results' provenance names, and no others.

    Args:
        evaluator: the evaluator, before its run.
        job: weights and settings of the results.

    Raises:
        ValueError: If the evaluator has no `CheckpointLoader`, or one that loads another file.
    """
    weights = str(job.weights)
    started = evaluator._event_handlers[Events.STARTED]
    loaders = [handler for handler, *_ in started if isinstance(handler, CheckpointLoader)]
    if not loaders:
        raise ValueError(
            f"handlers hold no CheckpointLoader, so the weights {weights!r} would not be loaded, but results would "
            "name them; leave handlers as they are."
        )
    for loader in loaders:
        if Path(loader.load_path).resolve() != Path(weights).resolve():
            raise ValueError(
                f"handlers load {str(loader.load_path)!r}, but results would name the weights {weights!r}; leave "
                "handlers as they are, and give the path as weights."
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
