"""Resume an interrupted training where it stopped."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bundle.runtime import remark
from bundle.training.handlers import KeepBest
from bundle.training.record import mark_finished, warn_of_changes
from bundle.training.weights import load_states, read_whole, save_whole
from ignite import distributed
from ignite.engine import Engine, Events
from ignite.handlers import Checkpoint, TimeLimit
from torch.optim import Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR

#: Ends the message about a checkpoint that cannot be resumed.
ANEW = "or start anew by --resume False."


def resumable(
    trainer: Engine,
    states: Mapping[str, Any],
    best: KeepBest,
    folder: str | Path,
    scale: int,
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
        resume: look for the checkpoint of an interrupted training.
        max_minutes: time limit; the training stops at the end of that epoch and can be resumed. 0 for no limit.
        record: the record of the training (`record_settings`), in which a finished training is marked; settings that
            an interrupted one had not are warned of. Null for none.
    """
    states = {**states, "progress": Progress(trainer)}
    found = latest(folder, scale) if resume else None
    if found:
        Resume(found, states, trainer.state.max_epochs, trainer.state.epoch_length).attach(trainer)
        if record and distributed.get_rank() == 0:
            warn_of_changes(record)

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


class Resume:
    """Load the checkpoint of an interrupted training when the trainer starts.

    The state of an optimizer holds its own settings, so others of the config would have no effect and are refused. The
    number of epochs may change: a cosine decay of the learning rate then goes on as if it had always been that number.

    Args:
        path: the checkpoint.
        states: names, and objects to load.
        max_epochs: number of epochs of the training.
        epoch_length: iterations per epoch.

    Raises:
        ValueError: If the checkpoint is damaged, has more epochs or iterations, or another setting of an optimizer.
    """

    def __init__(
        self, path: str, states: Mapping[str, Any], max_epochs: int | None, epoch_length: int | None = None
    ) -> None:
        self.path, self.states = path, states
        self.saved = read_whole(path, f"remove it, {ANEW}")
        progress = self.saved.get("progress", {})
        epoch, iteration = progress.get("epoch", 0), progress.get("iteration", 0)
        if max_epochs is not None and epoch > max_epochs:
            raise ValueError(
                f"max_epochs {max_epochs} is less than the {epoch} epochs of checkpoint {path!r}; take more, {ANEW}"
            )
        if epoch == max_epochs:
            if distributed.get_rank() == 0:
                remark(
                    f"checkpoint {path!r} has all {epoch} epochs, so nothing is trained; for more, raise max_epochs."
                )
        elif max_epochs is not None and epoch_length is not None and iteration >= max_epochs * epoch_length:
            raise ValueError(
                f"max_epochs {max_epochs} of iterations_per_epoch {epoch_length} have no more than the {iteration} "
                f"iterations of checkpoint {path!r}, so nothing would be trained; take more, {ANEW}"
            )
        for name, value in states.items():
            if isinstance(value, Optimizer) and name in self.saved:
                self._compare(name, value.state_dict()["param_groups"], self.saved[name]["param_groups"])

    def _compare(self, name: str, groups: Sequence[Mapping[str, Any]], saved: Sequence[Mapping[str, Any]]) -> None:
        """Compare the settings of an optimizer; with a scheduler, its first learning rate counts, not the last one."""
        for now, then in zip(groups, saved, strict=False):
            given = {key: value for key, value in now.items() if key in then and key != "params"}
            if "initial_lr" in given:
                del given["lr"]
            for key, value in given.items():
                if value != then[key]:
                    key_word = "lr (--learning_rate)" if key in ("lr", "initial_lr") else key
                    raise ValueError(
                        f"train#{name} has {key_word} {value!r}, but {then[key]!r} in checkpoint {self.path!r}, whose "
                        f"training would go on with that; take the same value, {ANEW}"
                    )

    def attach(self, engine: Engine) -> None:
        """Load the checkpoint when an engine starts."""
        engine.add_event_handler(Events.STARTED, self)

    def __call__(self, engine: Engine) -> None:
        """Load the checkpoint."""
        lengths = {name: value.T_max for name, value in self.states.items() if isinstance(value, CosineAnnealingLR)}
        load_states(self.states, self.saved, self.path, f"take the config that it was trained with, {ANEW}")
        for name, length in lengths.items():
            if self.states[name].T_max != length:
                _stretch(self.states[name], length)
        self.saved = {}
        engine.logger.info(f"Resumed from {self.path}")


def _stretch(scheduler: CosineAnnealingLR, length: int) -> None:
    """Give a cosine decay another length, and the learning rate that it would have by now."""
    scheduler.T_max = length
    share = (1 + math.cos(math.pi * scheduler.last_epoch / length)) / 2
    for group, first in zip(scheduler.optimizer.param_groups, scheduler.base_lrs, strict=True):
        group["lr"] = scheduler.eta_min + (first - scheduler.eta_min) * share


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
