"""Resume an interrupted training where it stopped."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from bundle.training.handlers import KeepBest
from bundle.training.record import mark_finished
from bundle.training.weights import save_whole
from ignite import distributed
from ignite.engine import Engine, Events
from ignite.handlers import Checkpoint, TimeLimit
from monai.handlers import CheckpointLoader


def resumable(
    trainer: Engine,
    states: Mapping[str, Any],
    best: KeepBest,
    folder: str | Path,
    scale: int,
    device: torch.device | str = "cpu",
    resume: bool = True,
    max_minutes: float = 0,
    record: str | Path | None = None,
) -> None:
    """Save the state of a training after each epoch, and resume from the checkpoint of an interrupted one.

    A finished training removes its checkpoint but keeps its weights, so that the next training starts from the
    beginning. A checkpoint is removed only when the next one is complete.

    Args:
        trainer: the trainer; its `Progress` is saved as well.
        states: names, and objects with a ``state_dict``.
        best: keeper of the best weights, one of the states; a training that ends without weights fails.
        folder: folder of the checkpoints.
        scale: the scale that is trained; each has its own checkpoint.
        device: device that the states are loaded to.
        resume: look for the checkpoint of an interrupted training.
        max_minutes: time limit; the training stops at the end of that epoch and can be resumed. 0 for no limit.
        record: the record of the training (`record_settings`), in which a finished training is marked; null for none.
    """
    states = {**states, "progress": Progress(trainer)}
    found = latest(folder, scale) if resume else None
    if found:
        loader = CheckpointLoader(found, dict(states), map_location=device)  # type: ignore[arg-type]
        loader.attach(trainer)

    def keep_newest(state: Mapping[str, Any], name: str, *_: Any) -> None:
        if distributed.get_rank() == 0:
            save_whole(state, Path(folder) / name)
            _remove(folder, scale, keep=name)

    trainer.add_event_handler(
        Events.EPOCH_COMPLETED,
        Checkpoint(
            states,
            keep_newest,
            filename_prefix=f"resume_{scale}",
            score_function=lambda engine: engine.state.epoch,
            score_name="epoch",
        ),
    )

    @trainer.on(Events.COMPLETED)
    def finish(engine: Engine) -> None:
        if engine.state.epoch < (engine.state.max_epochs or 0):
            return
        if not best.saved or (distributed.get_rank() == 0 and not best.path.is_file()):
            raise FileNotFoundError(
                f"the training has ended after epoch {engine.state.epoch} without weights {str(best.path)!r}, because "
                "none of its epochs was validated; take a larger --max_epochs, or --resume False."
            )
        if distributed.get_rank() == 0:
            if record:
                mark_finished(record)
            _remove(folder, scale)

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


def _remove(folder: str | Path, scale: int, keep: str = "") -> None:
    """Remove the checkpoints of a scale, except one."""
    for file in Path(folder).glob(f"resume_{scale}_*.pt"):
        if file.name != keep:
            file.unlink()


def finished(folder: str | Path, scale: int) -> bool:
    """Return whether the training of a scale is finished: weights, no checkpoint, and no record that says otherwise.

    Records of version 0.20.0 and before do not say whether a training is finished; without a checkpoint it is.
    """
    weights, record = (Path(folder) / f"scale_{scale}{suffix}" for suffix in (".pt", ".json"))
    said = json.loads(record.read_text(encoding="utf-8")).get("finished", True) if record.is_file() else True
    return weights.is_file() and latest(folder, scale) is None and said
