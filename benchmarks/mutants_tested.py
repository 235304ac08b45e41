"""Run the tests of a mutant in a forked child, or record which tests run which lines of a module."""

from __future__ import annotations

import json
import multiprocessing
import os
import resource
import signal
import sys
import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from coverage import Coverage

from benchmarks.mutants_drawn import ROOT

#: Files for the output of the last tests, and for the lines that each of them runs.
LOG, LINES = "tests.log", "lines.json"
#: Options of pytest; slow tests are left out, as in `make test` of one module.
OPTIONS = ("-x", "-q", "-p", "no:cacheprovider", "-m", "not slow", "-W", "ignore::pytest.PytestAssertRewriteWarning")
#: Time limits: seconds in addition to twice the time without a change; and the factor from processor to wall time.
SPARE, CLOCK = 20, 10


@dataclass(frozen=True)
class Tried:
    """Result of running tests.

    Args:
        outcome: killed, survived or timed out.
        cpu: processor seconds of the tests.
        lines: tests that run a line, by module, a colon and the line number.
        seconds: seconds of each test.
    """

    outcome: str
    cpu: float
    lines: dict[str, list[str]] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)


class Watch:
    """A pytest plugin that records which tests run which lines of some files.

    Args:
        files: files of modules, relative to the folder that tests run in.
    """

    def __init__(self, files: Sequence[str]) -> None:
        self.paths = {file: str(Path(file).resolve()) for file in files}
        self.coverage = Coverage(data_file=None, config_file=False, include=[*self.paths.values()])
        self.seconds: dict[str, float] = {}

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        """Watch one test, including its fixtures."""
        begun = time.monotonic()
        self.coverage.switch_context(item.nodeid)
        try:
            return (yield)
        finally:
            self.coverage.switch_context("")
            self.seconds[item.nodeid] = time.monotonic() - begun

    def lines(self) -> dict[str, list[str]]:
        """Return the tests that have run each line, by file and line number."""
        data = self.coverage.get_data()
        found = {file: data.contexts_by_lineno(path) for file, path in self.paths.items()}
        return {
            f"{file}:{line}": sorted(filter(None, tests))
            for file, lines in found.items()
            for line, tests in lines.items()
        }


def tried(folder: Path, tests: Sequence[str], known: Tried | None = None, watched: Sequence[str] = ()) -> Tried:
    """Run tests in a forked child.

    Args:
        folder: folder of the tree.
        tests: files or names of tests.
        known: their results without any change, which set the time limits; null for no limits.
        watched: modules for whose lines the tests that run them are recorded.
    """
    limit = int(2 * known.cpu + SPARE) if known else 0
    process = multiprocessing.get_context("fork").Process(target=_test, args=(folder, tests, limit, watched))
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # about NumPy's threads, which are idle
        process.start()
    process.join(CLOCK * limit or None)
    hangs = process.is_alive()
    if hangs:
        process.kill()
        process.join()
    outcome = (
        "timed out" if hangs or process.exitcode == -signal.SIGXCPU else "killed" if process.exitcode else "survived"
    )
    found = json.loads((folder / LINES).read_text()) if watched and outcome == "survived" else {}
    return Tried(outcome, resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before, **found)


def _test(folder: Path, tests: Sequence[str], limit: int, watched: Sequence[str]) -> None:
    """In the child: run tests with the code of the folder, and exit with their status."""
    if limit:
        resource.setrlimit(resource.RLIMIT_CPU, (limit, limit + 5))
    with (folder / LOG).open("w") as log:
        for stream in (1, 2):
            os.dup2(log.fileno(), stream)
    os.chdir(folder)
    for name in [name for name in sys.modules if name.split(".")[0] in ("bundle", "benchmarks", "tests")]:
        del sys.modules[name]
    sys.path[:] = [str(folder), *(path for path in sys.path if Path(path or ".").resolve() != ROOT)]
    sys.dont_write_bytecode = True
    plugins = [Watch(watched)] if watched else []
    for watch in plugins:
        watch.coverage.start()
    status = int(pytest.main([*OPTIONS, *tests], plugins))
    for watch in plugins:
        watch.coverage.stop()
        Path(LINES).write_text(json.dumps({"lines": watch.lines(), "seconds": watch.seconds}))
    os._exit(status)  # skip exit handlers: what libraries do at the end of a process is not tested


def imported() -> None:
    """Import what all tests need, so that no child has to, but nothing of the bundle itself."""
    import itk  # noqa: F401
    import monai.bundle  # noqa: F401
    import nibabel  # noqa: F401
    import pydicom  # noqa: F401
    import torch  # noqa: F401
