"""Resume an interrupted training where it stopped."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from ignite import distributed
from ignite.engine import Engine, Events
from ignite.handlers import TimeLimit
from monai.handlers import CheckpointLoader, CheckpointSaver


def resumable(
    trainer: Engine,
    states: Mapping[str, Any],
    folder: str | Path,
    scale: int,
    device: torch.device | str = "cpu",
    resume: bool = True,
    max_minutes: float = 0,
) -> None:
    """Save the state of a training after each epoch, and resume from the checkpoint of an interrupted one.

    A finished training removes its checkpoint but keeps its weights, so that the next training starts from the
    beginning.

    Args:
        trainer: the trainer; its `Progress` is saved as well.
        states: names, and objects with a ``state_dict``.
        folder: folder of the checkpoints.
        scale: the scale that is trained; each has its own checkpoint.
        device: device that the states are loaded to.
        resume: look for the checkpoint of an interrupted training.
        max_minutes: time limit; the training stops at the end of that epoch and can be resumed. 0 for no limit.
    """
    states = {**states, "progress": Progress(trainer)}
    found = latest(folder, scale) if resume else None
    if found:
        loader = CheckpointLoader(found, dict(states), map_location=device)  # type: ignore[arg-type]
        loader.attach(trainer)
    # In distributed training only the process of rank 0 writes, but ignite needs the handler in every process.
    CheckpointSaver(
        str(folder), states, file_prefix=f"resume_{scale}", save_interval=1, n_saved=1, epoch_level=True
    ).attach(trainer)

    @trainer.on(Events.COMPLETED)
    def clear(engine: Engine) -> None:
        if distributed.get_rank() == 0 and engine.state.epoch >= (engine.state.max_epochs or 0):
            for file in Path(folder).glob(f"resume_{scale}_*.pt"):
                file.unlink()

    if max_minutes > 0:
        trainer.add_event_handler(Events.EPOCH_COMPLETED, TimeLimit(math.ceil(60 * max_minutes)))


class Progress:
    """Progress of a trainer, without its networks and optimizers, which MONAI would save along with it.

    Args:
        trainer: an engine.
    """

    def __init__(self, trainer: Engine) -> None:
        self.trainer = trainer

    def state_dict(self) -> dict[str, int]:
        """Return the number of finished epochs and iterations."""
        return {"epoch": self.trainer.state.epoch, "iteration": self.trainer.state.iteration}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Restore the number of finished epochs and iterations."""
        self.trainer.state.epoch, self.trainer.state.iteration = state["epoch"], state["iteration"]


def latest(folder: str | Path, scale: int) -> str | None:
    """Return the newest checkpoint of an interrupted training of a scale; None if there is none."""
    found = sorted(Path(folder).glob(f"resume_{scale}_*.pt"), key=lambda file: file.stat().st_mtime_ns)
    return str(found[-1]) if found else None
