"""``python -m apps.zoo pack`` writes a submission's archive, ``python -m apps.zoo check`` checks it as the zoo does."""

from __future__ import annotations

import logging
import shutil
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path

import fire

from apps.zoo import archive, files, metadata, networks, packages, papers, style, unit_tests
from apps.zoo.submission import RefusedError, Submission

HOUSE = Path(__file__).resolve().parents[2]
#: Each says what it found, or raises `RefusedError`; the quick ones come first.
CHECKS: tuple[Callable[[Submission], str], ...] = (
    files.files,
    files.sizes,
    files.personal_paths,
    papers.licence,
    papers.data_licence,
    papers.model_card,
    papers.commands,
    papers.links,
    metadata.version,
    metadata.schema,
    metadata.names,
    packages.pins,
    packages.imports,
    style.form,
    networks.data_shape,
    networks.torchscript,
    networks.onnx,
    unit_tests.unit_tests,
)


def pack(output: str = "output") -> None:
    """Write the archive into a folder and print its name.

    Raises:
        RefusedError: on a file too large for the zoo.
    """
    print(archive.pack(HOUSE, Path(output)))


def submitted(house: Path, zoo: Path) -> Submission:
    """Pack a project's bundle and lay it out in a folder as the zoo would: the bundle in `models/`, its tests in `ci/`.

    Raises:
        RefusedError: on a file too large for the zoo.
    """
    folder = archive.unpack(archive.pack(house, zoo), zoo / "models")
    shutil.copytree(house / "apps" / "zoo" / "ci", zoo / "ci", ignore=shutil.ignore_patterns("__pycache__"))
    return Submission(zoo, folder, house)


def check(index: bool = False) -> None:
    """Pack, unpack in a temporary folder and run every check there: one line each; ends with 1 where one refuses.

    Args:
        index: ask the package index as well whether it has the packages for the zoo's Python; needs a network.
    """
    refused = 0
    with tempfile.TemporaryDirectory() as zoo:
        submission = submitted(HOUSE, Path(zoo).resolve())
        for one in (*CHECKS, *([packages.ask_index] if index else [])):
            try:
                print(f"ok    {one.__name__:15} {one(submission)}", flush=True)
            except RefusedError as error:
                refused += 1
                print(f"FAIL  {one.__name__:15} {error}", flush=True)
    if refused:
        sys.exit(f"error: the zoo would not take it, {refused} of the checks fail")


if __name__ == "__main__":
    logging.disable(logging.WARNING)
    warnings.filterwarnings("ignore")
    fire.Fire({"pack": pack, "check": check})
