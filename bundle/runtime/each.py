"""Run an evaluator over images, of which one that fails does not end the others."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Protocol

from bundle.runtime.errors import last_line
from bundle.runtime.origins import origin_of
from bundle.runtime.ranks import wait, world
from ignite.engine import Events
from monai.engines import Evaluator


class Closable(Protocol):
    """What holds something until it is closed."""

    def close(self) -> None:
        """Give it up; once more does nothing."""


def run_each(
    evaluator: Evaluator, key: str = "image", together: bool | None = False, found: Closable | None = None
) -> None:
    """Run an evaluator over all items of its dataset; those that fail are told at the end, one line each.

    Of several processes, each of which has images of its own, none ends before the others have done theirs.

    Args:
        evaluator: its loader has a MONAI `Dataset` and reads one item at a time.
        key: of an item's image, a path.
        together: whether several processes work on the same image, and so wait for each other: then the first failure
            ends the run.
        found: what holds the images, such as an unpacked archive, and is closed at the end, also after a failure.

    Raises:
        Exception: Whatever fails before the first image is read, or is the failure of the only image.
        SystemExit: With status 1, if some of several images failed.
    """
    dataset: Any = evaluator.data_loader.dataset  # type: ignore[union-attr]
    items, place, begun = list(dataset.data), 0, 0
    failures: list[tuple[str, str]] = []

    def count() -> None:
        nonlocal begun
        begun += 1

    handler = evaluator.add_event_handler(Events.GET_BATCH_STARTED, count)
    try:
        while place < len(items):
            dataset.data, begun = items[place:], 0
            evaluator.state.epoch_length = len(dataset)  # or ignite would begin anew after the last one
            evaluator._internal_run_generator = None  # ignite keeps that of a run that failed, and then does nothing
            try:
                evaluator.run()
            except Exception as error:
                if not begun or (world() > 1 and together) or (world() == 1 and len(items) == 1):
                    raise
                failures.append((str(items[place + begun - 1][key]), last_line(error).removeprefix("error: ")))
            else:
                if begun != len(dataset):
                    raise RuntimeError(f"only {begun} of {len(dataset)} images were begun; report this as a fault.")
            place += begun
    finally:
        dataset.data = items
        handler.remove()
        if found and world() == 1:
            found.close()
    if not together:
        wait()  # torchrun ends all processes when one fails
    if found:
        found.close()
    if failures:
        for path, cause in failures:
            named = cause if Path(path).name in cause else f"image {str(origin_of(path))!r}: {cause}"
            print(f"failed: {named}", file=sys.stderr)
        others = len(items) - len(failures)
        print(
            f"error: {len(failures)} of {len(items)} images failed, see the lines above; the other {others} are done.",
            file=sys.stderr,
            flush=True,
        )
        raise SystemExit(1)
