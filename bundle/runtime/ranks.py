"""The processes of one inference, as torchrun starts them; a process alone is the first and only one.

Training asks `ignite.distributed` instead. Inference cannot: ignite's first question is answered by all processes
together, and a process without images never asks.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch.distributed as dist

#: The variable by which torchrun tells each process where to leave why it fails.
ERROR_FILE = "TORCHELASTIC_ERROR_FILE"


class EndedError(RuntimeError):
    """Another process of the run has ended, and with it the run."""


def rank() -> int:
    """The number of this process among those that torchrun has started."""
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


def world() -> int:
    """How many processes torchrun has started."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def first() -> bool:
    """Whether this process is the one that does what is done once."""
    return rank() == 0


def wait() -> None:
    """Wait for the other processes.

    Raises:
        EndedError: If one of them has ended, here and in what follows.
    """
    if world() > 1:
        with _together():
            dist.barrier()


def of_first(value: Any) -> Any:
    """Return what the first process gives; all processes have to ask."""
    if world() == 1:
        return value
    values = [value]
    with _together():
        dist.broadcast_object_list(values, src=0)
    return values[0]


def of_all(value: Any) -> list[Any]:
    """Return what each process gives, in their order; all processes have to ask."""
    if world() == 1:
        return [value]
    values = [None] * world()
    with _together():
        dist.all_gather_object(values, value)
    return values


def agreed(values: Sequence[Any]) -> list[Any]:
    """Return the values of the first process, when all have theirs.

    Each process finds the images by itself, and leaves out those that have a result: so none may write one before all
    have looked, and all have to share the same list, or an image would be nobody's, or several processes'.
    """
    wait()
    return list(of_first(list(values)))


def tell_launcher(line: str) -> None:
    """Leave for torchrun why this process fails; nothing if it was not started by it."""
    if path := os.environ.get(ERROR_FILE):
        told = {"message": line, "timestamp": str(int(time.time()))}
        Path(path).write_text(json.dumps(told), encoding="utf-8")


@contextmanager
def _together() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        raise EndedError("another process of this run has ended; its last line tells why.") from error


def shutdown(seconds: float = 1.0) -> None:
    """Leave the other processes, and let this one end.

    What ``DistributedDataParallel`` leaves behind keeps gloo's threads alive. One that still has a tensor to free when
    the interpreter ends aborts the process, at times, on a busy machine, after all was saved
    (pytorch/pytorch#179291); so they are given this long.
    """
    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()
        time.sleep(seconds)
