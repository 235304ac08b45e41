"""Refuse a run whose networks would not have the weights that its results' provenance names."""

from __future__ import annotations

from pathlib import Path

from bundle.runtime.job import Job
from ignite.engine import Engine, Events
from monai.handlers import CheckpointLoader


def check_loaded(evaluator: Engine, job: Job) -> None:
    """Check that the handlers of an evaluator load the weights of a job, and no others.

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
