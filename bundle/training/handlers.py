"""What a training does beside its iterations: seed its epochs, keep its best weights, stop where it fails."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch
from bundle.cascade import Cascade
from bundle.training.weights import own_weights, save_whole
from ignite.engine import Engine, Events


class SeedEpochs:
    """Seed every epoch by its number, so that a resumed training draws what an uninterrupted one would have drawn.

    Args:
        seed: of the training.
        transform: a random transform of the main process; the loader's workers take their seeds from torch's.
        rank: number of the process, where several train together: each draws its own.
    """

    def __init__(self, seed: int, transform: Any, rank: int = 0) -> None:
        self.seed, self.transform, self.rank = seed, transform, rank

    def attach(self, engine: Engine) -> None:
        """Seed at the start of each epoch of an engine."""
        engine.add_event_handler(Events.EPOCH_STARTED, self)

    def __call__(self, engine: Engine) -> None:
        """Seed one epoch."""
        seed = (self.seed * 1_000_003 + self.rank * 10_007 + engine.state.epoch) % 2**31
        torch.manual_seed(seed)
        self.transform.set_random_state(seed=seed)


class KeepBest:
    """Save the weights of the best validation, a flat state dict; remember its metric when a training is resumed.

    MONAI's `CheckpointSaver` does the first, but a new process would take its own first validation for the best.

    Args:
        network: the cascade, or its average.
        path: where its state dict goes.
        scale: the scale that is trained.
        joined: a checkpoint of all scales, in which the weights of this one are replaced as well; null for none.
        newest: whether to save at every validation, where no metric tells which images from scratch are better.
        write: whether this process saves; of several that train together, one does.
    """

    def __init__(
        self,
        network: Cascade,
        path: str | Path,
        scale: int,
        joined: str | Path | None = None,
        newest: bool = False,
        write: bool = True,
    ) -> None:
        self.network, self.path, self.scale, self.joined = network, Path(path), scale, joined
        self.newest, self.write = newest, write
        self.best = math.inf

    def attach(self, engine: Engine) -> None:
        """Look at the key metric, an error, at the end of each validation of an engine."""
        engine.add_event_handler(Events.COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        """Save where the metric is lower than ever, or always."""
        metric = float(engine.state.metrics[vars(engine.state)["key_metric_name"]])
        if metric < self.best or self.newest:
            self.best = metric
            if not self.write:
                return
            state = self.network.state_dict()
            save_whole(state, self.path)
            if self.joined:
                older = torch.load(self.joined, map_location="cpu", weights_only=True)
                save_whole({**older, **own_weights(state, self.scale)}, self.joined)

    def state_dict(self) -> dict[str, float]:
        """The best metric so far."""
        return {"best": self.best}

    def load_state_dict(self, state: dict[str, float]) -> None:
        """Go on from a best metric."""
        self.best = float(state["best"])


def clip_gradients(optimizer: torch.optim.Optimizer, max_norm: float | None) -> None:
    """Shorten the gradient of every step to a length, all parameters together, so that one odd batch undoes nothing.

    Args:
        optimizer: whose steps.
        max_norm: longest gradient (Euclidean); null for any.
    """
    if max_norm is None:
        return
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]

    def clip(*_: Any) -> None:
        torch.nn.utils.clip_grad_norm_(parameters, max_norm)

    optimizer.register_step_pre_hook(clip)


def stop_on_nan(engine: Any) -> None:
    """Handler of every iteration: end the run where the loss is no number any more; what was saved before stays.

    Raises:
        FloatingPointError: where it is not.
    """
    loss = engine.state.output["reconstruction_loss"].item()
    if not math.isfinite(loss):
        raise FloatingPointError(
            f"the loss of iteration {engine.state.iteration} is {loss}, no finite number; train with --amp False or "
            "a lower --learning_rate. The best weights so far are in output_dir."
        )
