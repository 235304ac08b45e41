"""Run an evaluator over images; if one fails, the others are still processed."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from bundle.runtime.afterwards import all_images
from bundle.runtime.errors import cause_of, last_line
from bundle.runtime.job import Job
from bundle.runtime.notes import fault, faults
from bundle.runtime.origins import origin_of
from bundle.runtime.ranks import EndedError, SharedError, first, of_all, tell_launcher, wait, world
from bundle.runtime.weights import check_loaded
from ignite.engine import Events
from monai.engines import Evaluator


class Closable(Protocol):
    """Something that holds a resource until it is closed."""

    def close(self) -> None:
        """Release the resource; closing again does nothing."""


class Found(Closable, Protocol):
    """The images of a run (`bundle.images.Sources`)."""

    def __getitem__(self, key: str) -> Any:
        """Return their paths for ``images``."""


class Failures(Protocol):
    """A recorder of failed images, such as a table (`bundle.report.Summary`)."""

    def failed(self, image: str, cause: str) -> None:
        """Record that an image has failed."""


def run_each(
    evaluator: Evaluator,
    key: str = "image",
    together: bool | None = False,
    found: Found | None = None,
    summary: Failures | None = None,
    job: Job | None = None,
) -> None:
    """Run an evaluator over all items of its dataset, and print the failed ones at the end, one line each.

    If several processes have their own images, they wait for each other at the end; the first process prints the
    failures of all, and all exit with status 1. Images that were found but are not in the dataset have their result
    already: what is asked for beside it and is not there, such as a report, is made first.

    Args:
        evaluator: evaluator whose loader has a MONAI `Dataset` and reads one item at a time.
        key: key of the path of the image in an item.
        together: whether several processes work on the same image, waiting for each other; if one fails, all go on
            with the next image.
        found: the images that were found, some of them in an unpacked archive; closed at the end, even after a failure.
        summary: records each image that fails; null for none.
        job: the job whose weights the evaluator must load (`check_loaded`); null for any.

    Raises:
        ValueError: If the evaluator would not load the job's weights.
        Exception: The error itself, if it occurs before the first image is read, or if there is only one image.
        SystemExit: With status 1, if some of several images failed, or outputs requested in addition to their results.
    """
    before = len(faults())
    try:
        with all_images():
            if job:
                check_loaded(evaluator, job)
            if found:
                _complete(evaluator, key, found["images"], together)
            failures, count = _run(evaluator, key, together, summary)
    finally:
        if found and world() == 1:
            found.close()
    missing = faults()[before:]
    told = of_all((failures, count, missing))
    missing = [each for own in told for each in own[2]]
    if not together:  # else all have the same images, and the same failures
        failures, count = [each for own in told for each in own[0]], sum(own[1] for own in told)
    if found:
        found.close()
    _end(failures, count, missing)


def _complete(evaluator: Evaluator, key: str, images: Sequence[str], together: bool | None) -> None:
    """Make what is missing beside the results of images that are not in the dataset; the first process does it."""
    dataset: Any = evaluator.data_loader.dataset  # type: ignore[union-attr]
    own = {str(item[key]) for item in dataset.data}
    begun = own if together else set().union(*of_all(own))
    skipped = [image for image in images if first() and image not in begun]
    if skipped:
        preparing = dataset.transform.transforms[0]  # `bundle.transforms.PrepareImaged`
        for image in skipped:
            preparing.finishing.add_missing(image, preparing.series_uid)


def _run(
    evaluator: Evaluator, key: str, together: bool | None, summary: Failures | None
) -> tuple[list[tuple[str, str]], int]:
    """Run over all items; return path and cause of each that failed, and the number of all items."""
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
            evaluator.state.epoch_length = len(dataset)  # or ignite would start over after the last item
            evaluator._internal_run_generator = None  # ignite keeps the one of a failed run, and would then do nothing
            try:
                with _all_or_none(together):
                    evaluator.run()
            except Exception as error:
                alone = world() == 1 or (together and _is_shared(error, place + begun))
                if not begun or (together and not alone) or (alone and len(items) == 1):
                    raise
                failed = str(items[place + begun - 1][key]), last_line(error).removeprefix("error: ")
                failures.append(failed)
                _tell(None if together and not first() else summary, *failed)
            else:
                if begun != len(dataset):
                    raise RuntimeError(f"only {begun} of {len(dataset)} images were begun; report this as a fault.")
            place += begun
    finally:
        dataset.data = items
        handler.remove()
    return failures, len(items)


@contextmanager
def _all_or_none(together: bool | None) -> Iterator[None]:
    """Let this block fail in all processes that work together if it fails in one; they meet at its end.

    Within it, they meet by `bundle.runtime.ranks.wait` alone, so that each is told wherever it waits.

    Raises:
        SharedError: If it fails in one of several processes.
    """
    try:
        yield
    except Exception as error:
        cause = cause_of(error)
        if together and world() > 1 and not isinstance(cause, (EndedError, SharedError)):
            wait(cause)
        raise
    if together:
        wait()


def _is_shared(error: Exception, number: int) -> bool:
    """Return whether all processes have an error, and have it at the image of this number."""
    return isinstance(cause_of(error), SharedError) and len(set(of_all(number))) == 1


def _tell(summary: Failures | None, image: str, cause: str) -> None:
    if summary is None:
        return
    try:
        summary.failed(image, cause)
    except OSError as error:
        fault(f"no row of {image!r}: {error}")


def _end(failures: Sequence[tuple[str, str]], count: int, missing: Sequence[str]) -> None:
    """Print the failures, one line each, and exit with status 1; do nothing if there are none."""
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
    wait()  # torchrun ends all processes when one has ended with a failure
    raise SystemExit(1)


def _reports(missing: Sequence[str]) -> str:
    return f"{len(missing)} report{'s' * (len(missing) > 1)}"
