"""Run an evaluator over images, of which one that fails does not end the others."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from bundle.runtime.afterwards import all_images
from bundle.runtime.errors import last_line
from bundle.runtime.notes import fault, faults
from bundle.runtime.origins import origin_of
from bundle.runtime.ranks import first, of_all, tell_launcher, world
from ignite.engine import Events
from monai.engines import Evaluator


class Closable(Protocol):
    """What holds something until it is closed."""

    def close(self) -> None:
        """Give it up; once more does nothing."""


class Failures(Protocol):
    """What is told of images that fail, such as a table (`bundle.report.Summary`)."""

    def failed(self, image: str, cause: str) -> None:
        """An image has failed."""


def run_each(
    evaluator: Evaluator,
    key: str = "image",
    together: bool | None = False,
    found: Closable | None = None,
    summary: Failures | None = None,
) -> None:
    """Run an evaluator over all items of its dataset; those that fail are told at the end, one line each.

    Of several processes, each of which has images of its own, none ends before the others have done theirs; the first
    tells the failures of all, and all end with status 1.

    Args:
        evaluator: its loader has a MONAI `Dataset` and reads one item at a time.
        key: of an item's image, a path.
        together: whether several processes work on the same image, and so wait for each other: then the first failure
            ends the run.
        found: what holds the images, such as an unpacked archive, and is closed at the end, also after a failure.
        summary: is told of each image that fails; null for nothing.

    Raises:
        Exception: Whatever fails before the first image is read, or is the failure of the only image.
        SystemExit: With status 1, if some of several images failed, or what was asked for beside their results.
    """
    before = len(faults())
    try:
        with all_images():
            failures, count = _run(evaluator, key, together, summary)
    finally:
        if found and world() == 1:
            found.close()
    missing = faults()[before:]
    if not together:  # torchrun ends all processes when one fails
        told = of_all((failures, count, missing))
        failures, missing = [each for own in told for each in own[0]], [each for own in told for each in own[2]]
        count = sum(own[1] for own in told)
    if found:
        found.close()
    _end(failures, count, missing)


def _run(
    evaluator: Evaluator, key: str, together: bool | None, summary: Failures | None
) -> tuple[list[tuple[str, str]], int]:
    """Run over all items; return paths and causes of those that fail, and the number of all."""
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
            evaluator.state.epoch_length = len(dataset)  # or ignite would start over after the last one
            evaluator._internal_run_generator = None  # ignite keeps that of a run that failed, and then does nothing
            try:
                evaluator.run()
            except Exception as error:
                if not begun or (world() > 1 and together) or (world() == 1 and len(items) == 1):
                    raise
                failed = str(items[place + begun - 1][key]), last_line(error).removeprefix("error: ")
                failures.append(failed)
                _tell(summary, *failed)
            else:
                if begun != len(dataset):
                    raise RuntimeError(f"only {begun} of {len(dataset)} images were begun; report this as a fault.")
            place += begun
    finally:
        dataset.data = items
        handler.remove()
    return failures, len(items)


def _tell(summary: Failures | None, image: str, cause: str) -> None:
    if summary is None:
        return
    try:
        summary.failed(image, cause)
    except OSError as error:
        fault(f"no row of {image!r}: {error}")


def _end(failures: Sequence[tuple[str, str]], count: int, missing: Sequence[str]) -> None:
    """Tell what has failed, one line each, and end with status 1; nothing if nothing has."""
    for path, cause in failures if first() else ():
        named = cause if Path(path).name in cause else f"image {str(origin_of(path))!r}: {cause}"
        print(f"failed: {named}", file=sys.stderr)
    if failures:
        last = (
            f"{len(failures)} of {count} images failed, see the lines above; the other {count - len(failures)} are done"
        )
        last += f", but not {_reports(missing)}" if missing else ""
    elif missing:
        last = f"{_reports(missing)} failed, see the lines above; all results are whole"
    else:
        return
    if first():
        print(f"error: {last}.", file=sys.stderr, flush=True)
        tell_launcher(f"error: {last}.")
    raise SystemExit(1)


def _reports(missing: Sequence[str]) -> str:
    return f"{len(missing)} report{'s' * (len(missing) > 1)}"
