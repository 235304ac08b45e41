"""The processes of one inference, as torchrun starts them; a process alone is the first and only one.

Training asks `ignite.distributed` instead. Inference cannot: ignite's first question is answered by all processes
together, and a process without images never asks.
"""

from __future__ import annotations

import time
from typing import Any

import torch.distributed as dist


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
    """Wait for the other processes."""
    if world() > 1:
        dist.barrier()


def of_first(value: Any) -> Any:
    """Return what the first process gives; all processes have to ask."""
    if world() == 1:
        return value
    values = [value]
    dist.broadcast_object_list(values, src=0)
    return values[0]


def shutdown(seconds: float = 1.0) -> None:
    """Leave the other processes, and let this one end.

    What ``DistributedDataParallel`` leaves behind keeps gloo's threads alive. One that still has a tensor to free when
    the interpreter ends aborts the process, at times, on a busy machine, after all was saved
    (pytorch/pytorch#179291); so they are given this long.
    """
    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()
        time.sleep(seconds)
