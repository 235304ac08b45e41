"""``python -m apps.zoo pack`` writes a submission's archive, ``python -m apps.zoo check`` checks it as the zoo does."""

from __future__ import annotations

import logging
import shutil
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path

from apps.zoo import archive, documents, files, hub, metadata, networks, packages, pull_request, style, unit_tests
from apps.zoo.submission import CheckFailed, Submission
from bundle.runtime.commands import run_command

ROOT = Path(__file__).resolve().parents[2]
#: All checks, quick ones first; each returns what it found, or raises `CheckFailed`.
CHECKS: tuple[Callable[[Submission], str], ...] = (
    files.files,
    files.sizes,
    files.personal_paths,
    documents.licence,
    documents.data_licence,
    documents.weights_licence,
    documents.model_card,
    documents.commands,
    documents.links,
    hub.hub_card,
    metadata.version,
    metadata.schema,
    metadata.names,
    packages.pins,
    packages.imports,
    style.docstrings,
    style.form,
    networks.data_shape,
    networks.torchscript,
    networks.onnx,
    unit_tests.unit_tests,
)


def pack(output: str = "output") -> None:
    """Write the archive into a folder and print its name.

    Raises:
        CheckFailed: If a file is too large for the zoo.
    """
    print(archive.pack(ROOT, Path(output)))


def submit(root: Path, zoo: Path) -> Submission:
    """Pack a project's bundle and unpack it into a folder laid out like the zoo: bundle in `models/`, tests in `ci/`.

    Raises:
        CheckFailed: If a file is too large for the zoo.
    """
    folder = archive.unpack(archive.pack(root, zoo), zoo / "models")
    shutil.copytree(root / "apps" / "zoo" / "ci", zoo / "ci", ignore=shutil.ignore_patterns("__pycache__"))
    return Submission(zoo, folder, root)


def check(index: bool = False, page: str = "") -> None:
    """Pack, unpack into a temporary folder and run all checks there; print a line for each, exit with 1 if one fails.

    Args:
        index: also check that the package index has the packages for the zoo's Python; needs a network.
        page: file to write the pull request to, with each line of its checklist and the findings.
    """
    outcomes = {}
    with tempfile.TemporaryDirectory() as zoo:
        submission = submit(ROOT, Path(zoo).resolve())
        for one in (*CHECKS, *([packages.ask_index] if index else [])):
            try:
                outcome = pull_request.Outcome(True, one(submission))
            except CheckFailed as error:
                outcome = pull_request.Outcome(False, str(error))
            outcomes[one.__name__] = outcome
            print(f"{'ok  ' if outcome.holds else 'FAIL'}  {one.__name__:15} {outcome.said}", flush=True)
        if page:
            meta = submission.metadata
            Path(page).write_text(pull_request.page(meta["version"], meta["description"], outcomes), encoding="utf-8")
    failed = sum(not outcome.holds for outcome in outcomes.values())
    if failed:
        sys.exit(f"error: the zoo would not accept it, {failed} of the checks fail")


if __name__ == "__main__":
    logging.disable(logging.WARNING)
    warnings.filterwarnings("ignore")
    run_command({"pack": pack, "check": check})
