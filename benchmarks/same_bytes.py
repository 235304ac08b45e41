"""Compare byte by byte what two versions of the bundle write for the same inputs on one machine.

Inputs and settings are those of the golden cases (`tests/golden_cases.py`) of the current checkout. Each version runs
in a separate process, in a temporary git worktree, with the same interpreter. A line is printed for each case; the exit
status is 1 unless all are the same::

    python -m benchmarks.same_bytes HEAD~3            # the commit, and the working tree as it is
    python -m benchmarks.same_bytes HEAD~3 HEAD
    python -m benchmarks.same_bytes HEAD /path/to/another/checkout --cases nii,dicom
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np

from bundle.runtime.commands import run_command
from tests import golden_run
from tests.golden_cases import CASES, Case
from tests.golden_inputs import INPUTS
from tests.golden_results import read_result

ROOT = Path(__file__).parents[1]
#: Names of the two versions in the output.
NAMES = ("the first", "the second")


@contextmanager
def checked_out(version: str, folder: Path) -> Iterator[Path]:
    """Yield the folder of a version: the folder itself, or a temporary worktree of a commit of this repository.

    Raises:
        ValueError: If the version is neither.
    """
    if Path(version).is_dir():
        yield Path(version).resolve()
        return
    git = ["git", "-C", str(ROOT)]
    add = [*git, "worktree", "add", "--quiet", "--detach", str(folder), version]
    process = subprocess.run(add, capture_output=True, text=True)
    if process.returncode:
        raise ValueError(f"version {version!r} is neither a folder nor a commit: {process.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run([*git, "worktree", "remove", "--force", str(folder)], check=True)


def run_all(checkout: Path, cases: Sequence[Case], inputs: Path, folder: Path) -> dict[str, str]:
    """Run the cases with a checkout, each into a subfolder of its name; return the errors of those that failed.

    Raises:
        RuntimeError: If the process failed as a whole.
    """
    folder.mkdir()
    jobs, errors = folder / "jobs.json", folder / "errors.json"
    jobs.write_text(json.dumps({case.name: case.job(inputs, folder / case.name) for case in cases}))
    # pass the text, not the module, so that only the checkout's own modules are imported
    command = [sys.executable, "-c", Path(golden_run.__file__).read_text(), str(jobs), str(errors)]
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    process = subprocess.run(command, cwd=checkout, env=environment, capture_output=True, text=True)
    if process.returncode:
        raise RuntimeError(f"{checkout} runs no case: {(process.stderr.strip().splitlines() or ['no message'])[-1]}")
    return json.loads(errors.read_text())


def compared(one: Path, other: Path) -> str:
    """Describe in one line how two folders of results differ."""
    files = [
        {
            path.relative_to(folder): path.read_bytes()
            for path in sorted(folder.rglob("*"))
            if path.is_file() and not path.name.endswith(".provenance.json")
        }
        for folder in (one, other)
    ]
    if files[0] == files[1]:
        return "same" if files[0] else "no result by either"
    lacking = [sorted({path.parts[0] for path in pair[0].keys() - pair[1].keys()}) for pair in (files, files[::-1])]
    if any(lacking):
        parts = [
            f"{which} alone writes {', '.join(names)}" for which, names in zip(NAMES, lacking, strict=True) if names
        ]
        return f"differs: {'; '.join(parts)}"
    count, most, kinds = 0, 0.0, set()
    for path in sorted({Path(path.parts[0]) for path in files[0]}):
        pairs = zip(read_result(one / path).voxels, read_result(other / path).voxels, strict=True)
        for first, second in pairs:
            if first.shape != second.shape:
                return f"differs in shape: {first.shape} and {second.shape}"
            kinds |= {str(kind) for kind in (first.dtype, second.dtype) if first.dtype != second.dtype}
            difference = np.abs(first.astype(float) - second)
            count, most = count + int((difference > 0).sum()), max(most, float(difference.max()))
    if kinds:
        return f"differs in type: {', '.join(sorted(kinds))}"
    if count:
        return f"differs at {count} voxels, largest difference {most:g}"
    return f"same voxels, {sum(files[0][path] != files[1][path] for path in files[0])} files differ otherwise"


def main(one: str = "HEAD", other: str = str(ROOT), cases: str | Sequence[str] = "") -> None:
    """Print a line for each case: whether two versions write the same.

    Args:
        one: a commit or a folder with the bundle.
        other: another commit or folder; by default the working tree as it is.
        cases: names of golden cases, separated by commas; by default all.
    """
    names = cases.split(",") if isinstance(cases, str) else list(cases)
    chosen = [case for case in CASES if case.name in names or names == [""]]
    if unknown := set(names) - {"", *(case.name for case in CASES)}:
        raise ValueError(
            f"cases {sorted(unknown)} do not exist; take some of {', '.join(case.name for case in CASES)}."
        )
    with tempfile.TemporaryDirectory() as scratch, ExitStack() as stack:
        folder = Path(scratch)
        inputs = folder / "inputs"
        inputs.mkdir()
        for source in {case.source for case in chosen if case.source}:
            INPUTS[source](inputs / source)
        checkouts = [stack.enter_context(checked_out(v, folder / f"checkout_{i}")) for i, v in enumerate((one, other))]
        results = [folder / f"results_{i}" for i in range(2)]
        errors = [run_all(*both) for both in ((c, chosen, inputs, r) for c, r in zip(checkouts, results, strict=True))]
        all_same = True
        for case in chosen:
            failed = [
                f"fails by {v}: {e[case.name]}" for v, e in zip((one, other), errors, strict=True) if case.name in e
            ]
            line = "; ".join(failed) or compared(*(result / case.name for result in results))
            all_same &= line == "same"
            print(f"{case.name}: {line}")
    sys.exit(not all_same)


if __name__ == "__main__":
    run_command(main)
