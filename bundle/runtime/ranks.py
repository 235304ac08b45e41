"""The processes of one inference, as started by torchrun; a single process is the first and only one.

Training uses `ignite.distributed` instead. Inference cannot, because ignite's first call needs all processes, and a
process without images never makes it.
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

#: Environment variable with the file to which torchrun expects a process to write why it failed.
ERROR_FILE = "TORCHELASTIC_ERROR_FILE"


class EndedError(RuntimeError):
    """Another process of the run has ended, so the run cannot continue."""


class SharedError(RuntimeError):
    """All processes of the run have this error, so they can go on with the next image."""


def rank() -> int:
    """Return the number of this process among those started by torchrun."""
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


def world() -> int:
    """Return the number of processes started by torchrun."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def first() -> bool:
    """Return whether this is the process that does what only one process must do."""
    return rank() == 0


def wait(error: BaseException | None = None) -> None:
    """Wait for the other processes; if one of them tells an error, they may be at any `wait`.

    Args:
        error: why this process cannot go on; null if it can.

    Raises:
        SharedError: In all processes, if one of them has an error; the message is that of the first of them.
        EndedError: If one of them has ended; `of_first`, `of_all` and `agreed` raise it too.
    """
    told = of_all((str(error) or type(error).__name__) if error else "")
    if failed := next(filter(None, told), ""):
        raise SharedError(failed) from error


def of_first(value: Any) -> Any:
    """Return the value of the first process; all processes must call this."""
    if world() == 1:
        return value
    values = [value]
    with _together():
        dist.broadcast_object_list(values, src=0)
    return values[0]


def of_all(value: Any) -> list[Any]:
    """Return the values of all processes, in order of rank; all processes must call this."""
    if world() == 1:
        return [value]
    values = [None] * world()
    with _together():
        dist.all_gather_object(values, value)
    return values


def agreed(values: Sequence[Any]) -> list[Any]:
    """Return the values of the first process, once all processes have theirs.

    Each process searches for images on its own and skips those with a result. No process may therefore write a result
    before all have searched, and all must share the same list. Otherwise an image could be processed by none of them,
    or by several.
    """
    wait()
    return list(of_first(list(values)))


def tell_launcher(line: str) -> None:
    """Write to a file for torchrun why this process fails; do nothing if torchrun did not start it."""
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
    """Leave the process group, and wait a moment so that this process can end cleanly.

    What ``DistributedDataParallel`` leaves behind keeps gloo's threads alive. If one of them still has a tensor to free
    when the interpreter exits, the process sometimes aborts on a busy machine, after everything was saved
    (pytorch/pytorch#179291). ``seconds`` gives them time to finish.
    """
    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()
        time.sleep(seconds)
