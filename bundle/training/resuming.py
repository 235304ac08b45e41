"""An interrupted training resumes where it stopped."""

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
    """Save the state of a training after every epoch, and resume from the state that an interrupted one has left.

    The checkpoint of a finished training is removed. Its weights remain, and the next training starts afresh.

    Args:
        trainer: the trainer; its `Progress` is saved as well.
        states: names, and objects with a ``state_dict``.
        folder: folder of the checkpoints.
        scale: the scale that is trained; each has its own checkpoint.
        device: device that the states are loaded to.
        resume: look for an interrupted training.
        max_minutes: minutes after which the training stops at the end of an epoch, to be resumed; 0 for no limit.
    """
    states = {**states, "progress": Progress(trainer)}
    found = latest(folder, scale) if resume else None
    if found:
        loader = CheckpointLoader(found, dict(states), map_location=device)  # type: ignore[arg-type]
        loader.attach(trainer)
    # Of several processes that train together the first one writes; ignite needs the handler in all of them.
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
    """How far a trainer is: its state without networks and optimizers, which MONAI would save as a whole.

    Args:
        trainer: an engine.
    """

    def __init__(self, trainer: Engine) -> None:
        self.trainer = trainer

    def state_dict(self) -> dict[str, int]:
        """Epochs and iterations that are done."""
        return {"epoch": self.trainer.state.epoch, "iteration": self.trainer.state.iteration}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Continue after them."""
        self.trainer.state.epoch, self.trainer.state.iteration = state["epoch"], state["iteration"]


def latest(folder: str | Path, scale: int) -> str | None:
    """The checkpoint from which an interrupted training of a scale resumes; None if there is none."""
    found = sorted(Path(folder).glob(f"resume_{scale}_*.pt"), key=lambda file: file.stat().st_mtime_ns)
    return str(found[-1]) if found else None
