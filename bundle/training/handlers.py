"""Event handlers of the trainer: seed its epochs, validate, keep the best weights, clip, average, stop on NaN."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch
from bundle.cascade import Cascade
from bundle.runtime import is_count
from bundle.training.weights import own_weights, read_whole, save_whole
from ignite import distributed
from ignite.engine import Engine, Events
from monai.engines import Evaluator
from monai.handlers import ValidationHandler
from torch.optim.swa_utils import AveragedModel

#: Ends the message about a value that is NaN or infinite.
NOT_FINITE = "not a finite number; train with --amp False or a lower --learning_rate, and with --resume False."

#: Ends the message about joined weights that cannot be updated.
UNJOINED = "update_weights True replaces a scale in it; run gather first, or take --update_weights False."


class SeedEpochs:
    """Seed each epoch by its number, so that a resumed training draws the same numbers as an uninterrupted one.

    Args:
        seed: seed of the training; in distributed training each process adds its rank.
        transform: a random transform of the main process; the loader's workers take their seeds from torch.
    """

    def __init__(self, seed: int, transform: Any) -> None:
        self.seed, self.transform = seed, transform

    def attach(self, engine: Engine) -> None:
        """Seed at the start of each epoch of an engine."""
        engine.add_event_handler(Events.EPOCH_STARTED, self)

    def __call__(self, engine: Engine) -> None:
        """Seed one epoch."""
        seed = (self.seed * 1_000_003 + distributed.get_rank() * 10_007 + engine.state.epoch) % 2**31
        torch.manual_seed(seed)
        self.transform.set_random_state(seed=seed)


class ValidateLast(ValidationHandler):
    """Validate every few epochs, as MONAI's handler does, and after the last one.

    Args:
        interval: number of epochs.
        validator: the evaluator.

    Raises:
        ValueError: If ``interval`` is not a whole number from 1 on.
    """

    def __init__(self, interval: int, validator: Evaluator) -> None:
        if not is_count(interval):
            raise ValueError(f"val_interval {interval!r} is not a whole number of epochs from 1 on; take one.")
        super().__init__(interval, validator)

    def attach(self, engine: Engine) -> None:
        """Validate after those epochs of an engine."""

        def due(engine: Engine, epoch: int) -> bool:
            return epoch % self.interval == 0 or epoch == engine.state.max_epochs

        engine.add_event_handler(Events.EPOCH_COMPLETED(event_filter=due), self)


class KeepBest:
    """Save the weights of the best validation as a flat state dict, and keep its metric when a training is resumed.

    MONAI's `CheckpointSaver` saves the best weights, too, but a new process takes its first validation for the best.

    Args:
        network: the cascade, or its average.
        path: file for its state dict; in distributed training only the process of rank 0 writes.
        scale: the scale that is trained.
        joined: a checkpoint of all scales, in which the weights of this scale are replaced as well; null for none.
        save_last: save at every validation, because no metric ranks images from scratch.

    Raises:
        FileNotFoundError: If the joined checkpoint does not exist.
        ValueError: If it is damaged.
    """

    def __init__(
        self, network: Cascade, path: str | Path, scale: int, joined: str | Path | None = None, save_last: bool = False
    ) -> None:
        self.network, self.path, self.scale, self.joined = network, Path(path), scale, joined
        self.save_last = save_last
        if joined and distributed.get_rank() == 0:
            read_whole(joined, UNJOINED)
        self.best = math.inf

    def attach(self, engine: Engine) -> None:
        """Check the results of each validation run, and compare the key metric, an error, at its end."""
        engine.add_event_handler(Events.ITERATION_COMPLETED, self.check)
        engine.add_event_handler(Events.COMPLETED, self)

    def check(self, engine: Engine) -> None:
        """Check the results of one batch: MONAI's metrics leave out what is not a number.

        Raises:
            FloatingPointError: If a result holds a value that is not a finite number.
        """
        if not all(output["pred"].isfinite().all() for output in engine.state.output):  # type: ignore[union-attr]
            raise FloatingPointError(f"a result of the validation holds values that are {NOT_FINITE} {self.kept()}")

    def __call__(self, engine: Engine) -> None:
        """Save if the metric is the lowest so far, or at every validation with ``save_last``.

        Raises:
            FloatingPointError: If the metric or a weight is not a finite number; nothing is saved then.
        """
        metric = float(engine.state.metrics[vars(engine.state)["key_metric_name"]])
        state = self.network.state_dict()
        if not math.isfinite(metric):
            raise FloatingPointError(f"the error of the validation is {metric}, {NOT_FINITE} {self.kept()}")
        if name := next((name for name, value in state.items() if not value.isfinite().all()), None):
            raise FloatingPointError(f"the weights {name!r} hold values that are {NOT_FINITE} {self.kept()}")
        if metric < self.best or self.save_last:
            self.best = min(self.best, metric)
            if distributed.get_rank() > 0:
                return
            save_whole(state, self.path)
            if self.joined:
                older = read_whole(self.joined, UNJOINED)
                save_whole({**older, **own_weights(state, self.scale)}, self.joined)

    @property
    def saved(self) -> bool:
        """Whether this training, or the interrupted one that it resumes, has saved weights."""
        return math.isfinite(self.best)

    def kept(self) -> str:
        """Return a sentence that says where the best weights are."""
        if self.saved:
            return f"The best weights so far are in {str(self.path)!r}."
        return "No validation has saved weights so far."

    def state_dict(self) -> dict[str, float]:
        """Return the best metric so far."""
        return {"best": self.best}

    def load_state_dict(self, state: dict[str, float]) -> None:
        """Restore the best metric."""
        self.best = float(state["best"])


class ClipGradients:
    """Clip the gradient at each step of an optimizer, so that one odd batch cannot ruin a training.

    Args:
        optimizer: optimizer whose gradients are clipped.
        max_norm: largest gradient norm (Euclidean, over all parameters together); null for no limit.

    Raises:
        ValueError: If ``max_norm`` is not above 0.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, max_norm: float | None) -> None:
        if max_norm is not None and (not isinstance(max_norm, (int, float)) or not max_norm > 0):
            raise ValueError(f"train#clipping#max_norm {max_norm!r} is not a number above 0; null sets no limit.")
        self.optimizer, self.max_norm = optimizer, math.inf if max_norm is None else max_norm

    def attach(self, engine: Engine) -> None:  # noqa: ARG002 (handlers are attached to an engine)
        """Start clipping."""
        if self.max_norm < math.inf:
            self.optimizer.register_step_pre_hook(self)

    def __call__(self, optimizer: torch.optim.Optimizer, *_: Any) -> None:
        """Clip the gradient of one step."""
        parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        torch.nn.utils.clip_grad_norm_(parameters, self.max_norm)


class UpdateAverage:
    """Update the average of a network's weights after each iteration.

    Args:
        average: the averaged model.
        network: the network that is trained.
    """

    def __init__(self, average: AveragedModel, network: torch.nn.Module) -> None:
        self.average, self.network = average, network

    def attach(self, engine: Engine) -> None:
        """Update after each iteration of an engine."""
        engine.add_event_handler(Events.ITERATION_COMPLETED, self)

    def __call__(self, engine: Engine) -> None:  # noqa: ARG002 (ignite passes the engine)
        """Update once."""
        self.average.update_parameters(self.network)


class StopOnNaN:
    """Stop a run as soon as its loss is not a finite number; files saved before are kept.

    Args:
        best: keeper of the best weights, which the message mentions.
    """

    def __init__(self, best: KeepBest) -> None:
        self.best = best

    def attach(self, engine: Engine) -> None:
        """Check after each iteration of an engine."""
        engine.add_event_handler(Events.ITERATION_COMPLETED, self)

    def __call__(self, engine: Any) -> None:
        """Check one iteration.

        Raises:
            FloatingPointError: If the loss is not a finite number.
        """
        loss = engine.state.output["reconstruction_loss"].item()
        if not math.isfinite(loss):
            raise FloatingPointError(
                f"the loss of iteration {engine.state.iteration} is {loss}, {NOT_FINITE} {self.best.kept()}"
            )
