"""Mutation testing: change the code in one small place, many times, and see whether the tests notice.

::

    a < b     -->   a <= b        tests of the module fail: killed; pass: survived; too long: timed out

Mutants are drawn by a seed from the modules listed in `TESTS` (`mutants_drawn`). Each is tested in a copy of the tree
by its module's test files: by the tests that run the changed line, or by all tests if none does, as for constants of
the module. (Lines run by a test's child processes are not seen.) The outcome is appended to the JSON lines file
`mutants.jsonl` next to this module, and the same command continues from there. A mutant is tested again if the code of
its module has changed, and one that was not killed also if the code of its tests has::

    python -m benchmarks.mutants --number 500 --minutes 60
"""

from __future__ import annotations

import ast
import hashlib
import io
import json
import shutil
import subprocess
import tempfile
import time
import tokenize
from collections import Counter, defaultdict
from fnmatch import fnmatch
from pathlib import Path

from benchmarks.mutants_drawn import ROOT, Mutant, drawn
from benchmarks.mutants_tested import LOG, Tried, imported, tried
from bundle.runtime.commands import run_command

#: Modules and their tests; the first matching line counts.
TESTS: tuple[tuple[str, str], ...] = (
    ("bundle/geometry/position_noise.py", "tests/cascade/test_noise.py tests/geometry"),
    ("bundle/geometry/windows.py", "tests/geometry tests/images/test_formats.py"),
    ("bundle/geometry/*.py", "tests/geometry"),
    (
        "bundle/cascade/inferer.py",
        "tests/cascade/test_inferer.py tests/cascade/test_tile_plan.py tests/cascade/test_slabs.py",
    ),
    ("bundle/cascade/tile_plan.py", "tests/cascade/test_tile_plan.py tests/cascade/test_inferer.py"),
    ("bundle/cascade/receptive_field.py", "tests/cascade/test_networks.py tests/cascade/test_inferer.py"),
    ("bundle/images/nifti.py", "tests/images/test_nifti.py tests/images/test_formats.py"),
    ("bundle/images/mgz.py", "tests/images/test_mgz.py tests/images/test_formats.py"),
    ("bundle/images/claims.py", "tests/images/test_claims.py"),
    ("bundle/images/isolated.py", "tests/images/test_isolated.py"),
    ("bundle/images/decoder.py", "tests/images/test_isolated.py"),
    ("bundle/images/results.py", "tests/images/test_provenance.py tests/images/test_find_sources.py"),
    ("bundle/images/headers.py", "tests/images/test_headers.py"),
    ("bundle/images/ome_zarr.py", "tests/images/test_ome_zarr.py tests/images/test_damaged.py"),
    ("bundle/images/provenance.py", "tests/images/test_provenance.py"),
    ("bundle/images/readback.py", "tests/images/test_files.py"),
    ("bundle/images/*metaimage.py", "tests/images/test_itk_files.py tests/images/test_damaged.py"),
    ("bundle/images/nrrd.py", "tests/images/test_itk_files.py tests/images/test_damaged.py"),
    ("bundle/images/itk_files.py", "tests/images/test_itk_files.py tests/images/test_damaged.py"),
    ("bundle/images/packed.py", "tests/images/test_damaged.py"),
    ("bundle/images/codestreams.py", "tests/images/test_dicom_syntaxes.py"),
    ("bundle/images/dicom_rle.py", "tests/images/test_dicom_syntaxes.py"),
    ("bundle/images/dicom_pixels.py", "tests/images/test_dicom_syntaxes.py tests/images/test_dicom_rules.py"),
    ("bundle/images/dicom_levels.py", "tests/images/test_raster.py"),
    (
        "bundle/images/dicom_*.py",
        "tests/images/test_dicom_rules.py tests/images/test_dicom_series.py tests/images/test_dicom_files.py",
    ),
    ("bundle/images/derived/xray.py", "tests/images/test_raster.py tests/images/test_xray_rules.py"),
    ("bundle/images/derived/*.py", "tests/images/test_dicom.py"),
    ("bundle/images/xray.py", "tests/images/test_xray_rules.py tests/images/test_raster.py"),
    ("bundle/images/raster.py", "tests/images/test_raster.py"),
    ("bundle/images/bit_depth.py", "tests/images/test_raster.py"),
    ("bundle/images/archives.py", "tests/images/test_archives.py"),
    ("bundle/images/finding.py", "tests/images/test_find_sources.py tests/images/test_find.py"),
    (
        "bundle/images/folder.py",
        "tests/images/test_find_sources.py tests/images/test_find.py tests/images/test_raster.py",
    ),
    ("bundle/images/formats.py", "tests/images/test_formats.py tests/images/test_files.py"),
    ("bundle/images/image.py", "tests/images/test_image.py tests/images/test_damaged.py tests/images/test_formats.py"),
    ("bundle/images/*.py", "tests/images/test_formats.py tests/images/test_orientations.py tests/images/test_files.py"),
)
#: File of the outcomes.
RECORD = ROOT / "benchmarks" / "mutants.jsonl"
#: Possible outcomes of a mutant.
OUTCOMES = ("killed", "survived", "timed out")


def tests_of(file: str) -> list[str]:
    """Return the test files of a module."""
    return next(tests.split() for pattern, tests in TESTS if fnmatch(file, pattern))


def hash_of(*names: str) -> str:
    """Return a short hash of the code of Python files, or of those in folders; comments and docstrings do not count."""
    places = [ROOT / name for name in names]
    files = [file for place in places for file in (sorted(place.glob("*.py")) if place.is_dir() else [place])]
    code = "\n".join(code_of(file.read_text(encoding="utf-8")) for file in files)
    return hashlib.sha256(code.encode()).hexdigest()[:8]


def code_of(text: str) -> str:
    """Return the lines of a Python file without its comments and docstrings."""
    lines = text.splitlines()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            row, column = token.start
            lines[row - 1] = lines[row - 1][:column]
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, kinds) and ast.get_docstring(node):
            first, last = node.body[0].lineno, node.body[0].end_lineno or 0
            lines[first - 1 : last] = [""] * (last - first + 1)
    return "\n".join(line.rstrip() for line in lines if line.strip())


def copied(folder: Path) -> None:
    """Copy the tree as it is, with links to the weights."""
    told = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    for name in told.stdout.splitlines():
        if not (ROOT / name).is_file():
            continue
        place = folder / name
        place.parent.mkdir(parents=True, exist_ok=True)
        if name.startswith("models/"):
            place.symlink_to(ROOT / name)
        else:
            shutil.copyfile(ROOT / name, place)


class Record:
    """Outcomes of mutants.

    Args:
        path: path of a JSON lines file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        self._told = {(told := json.loads(line))["mutant"]: told for line in lines}

    def outcome(self, mutant: Mutant) -> str:
        """Return the outcome of a mutant; an empty string if there is none or it is outdated."""
        told = self._told.get(mutant.name)
        if not told or told["module"] != hash_of(mutant.file):
            return ""
        stale = told["outcome"] != "killed" and told["tests"] != hash_of(*tests_of(mutant.file))
        return "" if stale else str(told["outcome"])

    def note(self, mutant: Mutant, outcome: str) -> None:
        """Record the outcome of a mutant."""
        hashes = {"module": hash_of(mutant.file), "tests": hash_of(*tests_of(mutant.file))}
        self._told[mutant.name] = {"mutant": mutant.name, "outcome": outcome, **hashes}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as lines:
            lines.write(json.dumps(self._told[mutant.name], ensure_ascii=False) + "\n")

    def tidy(self) -> None:
        """Keep only the last outcome of each mutant, sorted by name."""
        if lines := [json.dumps(self._told[name], ensure_ascii=False) + "\n" for name in sorted(self._told)]:
            self.path.write_text("".join(lines), encoding="utf-8")


def outcome_of(mutant: Mutant, folder: Path, known: Tried) -> str:
    """Change a module of a tree, run its tests, and change it back.

    Args:
        mutant: the change.
        folder: folder of the tree.
        known: results of its tests without any change.
    """
    file = folder / mutant.file
    source = file.read_text(encoding="utf-8")
    file.write_text(mutant.applied(source), encoding="utf-8")
    try:
        lines = range(mutant.line, mutant.stop_line + 1)
        some = list(dict.fromkeys(test for line in lines for test in known.lines.get(f"{mutant.file}:{line}", ())))
        tests = sorted(some, key=lambda test: known.seconds[test]) or tests_of(mutant.file)
        return tried(folder, tests, known).outcome
    finally:
        file.write_text(source, encoding="utf-8")


def main(
    number: int = 500,
    seed: int = 0,
    minutes: float = 60,
    outcomes: str = str(RECORD),
    only: str = "*",
    most: int = 10**6,
) -> None:
    """Print how many mutants were noticed, by module, and those that were not.

    Args:
        number: number of mutants to draw.
        seed: seed of the mutants.
        minutes: minutes after which no further mutant is started.
        outcomes: JSON lines file to which each outcome is appended; mutants with an outcome are not run again.
        only: pattern of the files whose mutants are run.
        most: largest number of mutants to run now.
    """
    record, chosen = Record(Path(outcomes)), drawn(number, seed, [pattern for pattern, _ in TESTS], only)
    waiting = [mutant for mutant in chosen if not record.outcome(mutant)][:most]
    begun, known = time.monotonic(), {}
    with tempfile.TemporaryDirectory(prefix="mutants_") as scratch:
        folder = Path(scratch).resolve()
        copied(folder)
        imported()
        for mutant in waiting:
            if time.monotonic() - begun > 60 * minutes:
                break
            tests = " ".join(tests_of(mutant.file))
            if tests not in known:
                alike = sorted({each.file for each in waiting if tests_of(each.file) == tests_of(mutant.file)})
                known[tests] = tried(folder, tests_of(mutant.file), watched=alike)
                if known[tests].outcome != "survived":
                    said = (folder / LOG).read_text(errors="replace")[-2000:]
                    raise RuntimeError(f"the tests {tests} fail without any change:\n{said}")
            record.note(mutant, outcome_of(mutant, folder, known[tests]))
    record.tidy()
    report({mutant: outcome for mutant in chosen if (outcome := record.outcome(mutant))}, len(chosen))


def show(lines: list[list[str]]) -> None:
    """Print a table in Markdown."""
    print("\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n")


def report(known: dict[Mutant, str], number: int) -> None:
    """Print a table by module, and the mutants that survived."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for mutant, outcome in known.items():
        counts[mutant.file][outcome] += 1
        counts["all"][outcome] += 1
    rows = [[file, *(str(counts[file][kind]) for kind in OUTCOMES)] for file in (*sorted({*counts} - {"all"}), "all")]
    show([["module", *OUTCOMES], ["---"] * 4, *rows])
    print(f"{len(known)} of {number} mutants run")
    for mutant in sorted((m for m, outcome in known.items() if outcome == "survived"), key=lambda m: (m.file, m.line)):
        print(f"survived: {mutant.file}:{mutant.line}: {mutant.before}  -->  {mutant.after}")


if __name__ == "__main__":
    run_command(main)
