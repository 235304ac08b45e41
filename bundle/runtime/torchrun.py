"""Start several processes like `torchrun`, with its options; if one fails, end with a one-line cause and status 1.

``python -m bundle.runtime.torchrun --nproc_per_node 2 ... -m monai.bundle run inference ...``
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure
from torch.distributed.run import parse_args, run


def last_line(error: ChildFailedError) -> str:
    """Return why processes have failed: the message of the first that left one, or else how the first one ended."""
    told = {rank: failure for rank, failure in error.failures.items() if failure.exitcode and _words(failure)}
    if told:
        return _words(min(told.values(), key=lambda failure: failure.timestamp))
    rank, failure = error.get_first_failure()
    ended = f"by {failure.signal_name()}" if failure.exitcode < 0 else f"with status {failure.exitcode}"
    return f"error: process {rank} has ended {ended}, see the lines above."


def _words(failure: ProcessFailure) -> str:
    """Return the message that a process has left (`bundle.runtime.ranks.tell_launcher`); empty if there is none."""
    words = failure.error_file_data.get("message", "")
    return words if isinstance(words, str) and words.startswith("error: ") else ""


def main(arguments: Sequence[str] | None = None) -> None:
    """Start the processes, and wait for them.

    Args:
        arguments: command-line arguments of torchrun; null for those of this process.

    Raises:
        SystemExit: With status 1, if a process fails or a signal ends the run.
    """
    try:
        run(parse_args(arguments))
    except ChildFailedError as error:
        print(last_line(error), file=sys.stderr, flush=True)
    except SignalException as error:
        print(f"error: ended by {error.sigval.name}.", file=sys.stderr, flush=True)
    else:
        return
    raise SystemExit(1)


if __name__ == "__main__":
    main()
