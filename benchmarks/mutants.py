"""Change the code in one small place, many times, and see whether the tests notice.

::

    a < b     -->   a <= b        tests of the folder fail: killed; pass: survived; too long: timed out

The mutants are drawn by a seed from the modules that `TESTS` lists, and each is tested by the test files of its own
line there, in a copy of the tree. Outcomes are appended to a JSON lines file, and the same command goes on there::

    python -m benchmarks.mutants --number 500 --minutes 60 --outcomes output/mutants.jsonl
"""

from __future__ import annotations

import ast
import json
import multiprocessing
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import fire

ROOT = Path(__file__).parents[1]
#: Which tests are for which modules; the first line that matches counts.
TESTS: tuple[tuple[str, str], ...] = (
    ("bundle/geometry/position_noise.py", "tests/cascade/test_noise.py tests/geometry"),
    ("bundle/geometry/*.py", "tests/geometry"),
    ("bundle/cascade/inferer.py", "tests/cascade/test_inferer.py tests/cascade/test_tile_plan.py"),
    ("bundle/cascade/tile_plan.py", "tests/cascade/test_tile_plan.py tests/cascade/test_inferer.py"),
    ("bundle/cascade/receptive_field.py", "tests/cascade/test_networks.py tests/cascade/test_inferer.py"),
    ("bundle/images/nifti.py", "tests/images/test_nifti.py tests/images/test_formats.py"),
    ("bundle/images/mgz.py", "tests/images/test_mgz.py tests/images/test_formats.py"),
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
    ("bundle/images/dicom_*.py", "tests/images/test_dicom_rules.py tests/images/test_dicom_series.py"),
    ("bundle/images/derived/*.py", "tests/images/test_dicom.py"),
    ("bundle/images/xray.py", "tests/images/test_xray_rules.py tests/images/test_raster.py"),
    ("bundle/images/raster.py", "tests/images/test_raster.py"),
    ("bundle/images/bit_depth.py", "tests/images/test_raster.py"),
    ("bundle/images/archives.py", "tests/images/test_archives.py"),
    ("bundle/images/finding.py", "tests/images/test_finding.py tests/images/test_find.py"),
    ("bundle/images/folder.py", "tests/images/test_finding.py tests/images/test_find.py tests/images/test_raster.py"),
    ("bundle/images/formats.py", "tests/images/test_formats.py tests/images/test_files.py"),
    ("bundle/images/image.py", "tests/images/test_damaged.py tests/images/test_formats.py tests/images/test_files.py"),
    ("bundle/images/*.py", "tests/images/test_formats.py tests/images/test_orientations.py tests/images/test_files.py"),
)
#: What the tests of the last mutant have printed.
LOG = "tests.log"
#: A comparison, an operator or a function, and what takes its place.
COMPARISONS: dict[type[ast.cmpop], ast.cmpop] = {
    **{ast.Lt: ast.LtE(), ast.LtE: ast.Lt(), ast.Gt: ast.GtE(), ast.GtE: ast.Gt(), ast.Eq: ast.NotEq()},
    **{ast.NotEq: ast.Eq(), ast.In: ast.NotIn(), ast.NotIn: ast.In(), ast.Is: ast.IsNot(), ast.IsNot: ast.Is()},
}
OPERATORS: dict[type[ast.operator], ast.operator] = {
    **{ast.Add: ast.Sub(), ast.Sub: ast.Add(), ast.Mult: ast.FloorDiv(), ast.Div: ast.Mult(), ast.Mod: ast.Mult()},
    **{ast.FloorDiv: ast.Mult(), ast.LShift: ast.RShift(), ast.RShift: ast.LShift(), ast.Pow: ast.Mult()},
}
FUNCTIONS = {"min": "max", "max": "min", "any": "all", "all": "any"}


@dataclass(frozen=True)
class Mutant:
    """A change of one file.

    Args:
        file: of the tree.
        line: and ``column``, where the changed piece begins, in bytes.
        column: from 0.
        stop_line: and ``stop_column``, where it ends.
        stop_column: from 0.
        before: the piece.
        after: what takes its place.
    """

    file: str
    line: int
    column: int
    stop_line: int
    stop_column: int
    before: str
    after: str

    def applied(self, source: str) -> str:
        """The source with the change."""
        lines = source.encode().splitlines(keepends=True)
        head = b"".join([*lines[: self.line - 1], lines[self.line - 1][: self.column]])
        tail = b"".join([lines[self.stop_line - 1][self.stop_column :], *lines[self.stop_line :]])
        return (head + f"({self.after})".encode() + tail).decode()


def changes(node: ast.AST) -> Iterator[ast.expr]:
    """What may take the place of a node."""
    if isinstance(node, ast.Compare):
        for place, kind in enumerate(node.ops):
            if type(kind) in COMPARISONS:
                ops = [COMPARISONS[type(op)] if at == place else op for at, op in enumerate(node.ops)]
                yield ast.Compare(node.left, ops, node.comparators)
    elif isinstance(node, ast.BinOp) and type(node.op) in OPERATORS:
        yield ast.BinOp(node.left, OPERATORS[type(node.op)], node.right)
    elif isinstance(node, ast.BoolOp):
        yield ast.BoolOp(ast.And() if isinstance(node.op, ast.Or) else ast.Or(), node.values)
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.Not, ast.USub)):
        yield node.operand
    elif isinstance(node, ast.Constant) and isinstance(node.value, bool):
        yield ast.Constant(not node.value)
    elif isinstance(node, ast.Constant) and isinstance(node.value, (int, float)):
        yield ast.Constant(node.value + 1)
    elif isinstance(node, ast.IfExp):
        yield ast.IfExp(ast.UnaryOp(ast.Not(), node.test), node.body, node.orelse)
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in FUNCTIONS:
        yield ast.Call(ast.Name(FUNCTIONS[node.func.id]), node.args, node.keywords)


def inner(node: ast.AST) -> Iterator[ast.AST]:
    """The nodes in a node, but for texts, types, decorators and the arguments of an error."""
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns", "decorator_list", "exc", "type_params"):
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST) and not isinstance(child, (ast.JoinedStr, ast.Assert)):
                yield child
                yield from inner(child)


def mutants_of(file: str) -> Iterator[Mutant]:
    """All mutants of a file, in the order of their places."""
    source = (ROOT / file).read_text(encoding="utf-8")
    for node in inner(ast.parse(source)):
        if isinstance(node, (ast.If, ast.While)):
            test = node.test
            if not isinstance(test, (ast.Compare, ast.BoolOp)):
                yield _mutant(file, source, test, ast.UnaryOp(ast.Not(), test))
        elif isinstance(node, ast.expr):
            for changed in changes(node):
                yield _mutant(file, source, node, changed)


def _mutant(file: str, source: str, node: ast.expr, changed: ast.expr) -> Mutant:
    before, after = ast.get_source_segment(source, node) or "", ast.unparse(ast.fix_missing_locations(changed))
    stop = int(node.end_lineno or 0), int(node.end_col_offset or 0)
    return Mutant(file, node.lineno, node.col_offset, *stop, " ".join(before.split()), after)


def tests_of(file: str) -> str:
    """The test files of a module."""
    return next(tests for pattern, tests in TESTS if fnmatch(file, pattern))


def drawn(number: int, seed: int, only: str = "*") -> list[Mutant]:
    """Mutants of all modules that have tests here, in a random order."""
    tracked = subprocess.run(["git", "ls-files", "bundle"], cwd=ROOT, capture_output=True, text=True, check=True)
    files = [f for f in tracked.stdout.split() if any(fnmatch(f, pattern) for pattern, _ in TESTS)]
    found = [mutant for file in files if not file.endswith("__init__.py") for mutant in mutants_of(file)]
    chosen = random.Random(seed).sample(found, min(number, len(found)))
    return [mutant for mutant in chosen if fnmatch(mutant.file, only)]


def copied(folder: Path) -> None:
    """A copy of the tree as it is, whose weights are links."""
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


def tested(folder: Path, tests: str, limit: float) -> str:
    """Run tests in a forked child: killed, survived or timed out."""
    process = multiprocessing.get_context("fork").Process(target=_test, args=(folder, tests.split()))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # threads of NumPy's, which are idle
        process.start()
    process.join(limit)
    if process.is_alive():
        process.kill()
        process.join()
        return "timed out"
    return "killed" if process.exitcode else "survived"


def _test(folder: Path, tests: list[str]) -> None:
    with (folder / LOG).open("w") as log:
        for stream in (1, 2):
            os.dup2(log.fileno(), stream)
    os.chdir(folder)
    for name in [name for name in sys.modules if name.split(".")[0] in ("bundle", "benchmarks", "tests")]:
        del sys.modules[name]
    sys.path[:] = [str(folder), *(path for path in sys.path if Path(path or ".").resolve() != ROOT)]
    sys.dont_write_bytecode = True
    import pytest

    # by the default actions: what a library does at the end of a process is not tested
    options = [
        "-x",
        "-q",
        "-p",
        "no:cacheprovider",
        "-m",
        "not slow",
        "-W",
        "ignore::pytest.PytestAssertRewriteWarning",
    ]
    os._exit(int(pytest.main([*options, *tests])))


def imported() -> None:
    """Import what all tests need, so that no child has to; nothing of the bundle itself."""
    import itk  # noqa: F401
    import monai.bundle  # noqa: F401
    import nibabel  # noqa: F401
    import pydicom  # noqa: F401
    import pytest  # noqa: F401
    import torch  # noqa: F401


def show(lines: list[list[str]]) -> None:
    """Print a table in Markdown."""
    print("\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n")


def main(
    number: int = 500,
    seed: int = 0,
    minutes: float = 60,
    outcomes: str = "output/mutants.jsonl",
    only: str = "*",
    most: int = 10**6,
) -> None:
    """Print how many mutants were noticed, by module, and those that were not.

    Args:
        number: of mutants that are drawn.
        seed: of what is drawn.
        minutes: after which no other mutant is begun.
        outcomes: a JSON lines file, to which each outcome is appended; what stands there already is not run again.
        only: a pattern of files, whose mutants alone are run.
        most: mutants to run now.
    """
    record = Path(outcomes)
    record.parent.mkdir(parents=True, exist_ok=True)
    done = [json.loads(line) for line in record.read_text().splitlines()] if record.exists() else []
    known = {json.dumps(one["mutant"]): one["outcome"] for one in done}
    waiting = [mutant for mutant in drawn(number, seed, only) if json.dumps(asdict(mutant)) not in known][:most]
    begun, limits = time.monotonic(), {}
    with tempfile.TemporaryDirectory(prefix="mutants_") as scratch:
        folder = Path(scratch).resolve()
        copied(folder)
        imported()
        for mutant in waiting:
            if time.monotonic() - begun > 60 * minutes:
                break
            tests, file = tests_of(mutant.file), folder / mutant.file
            if tests not in limits:
                start = time.monotonic()
                if tested(folder, tests, 1200) != "survived":
                    said = (folder / LOG).read_text(errors="replace")[-2000:]
                    raise RuntimeError(f"{tests} fail without any change:\n{said}")
                limits[tests] = 2 * (time.monotonic() - start) + 20
            source = file.read_text(encoding="utf-8")
            file.write_text(mutant.applied(source), encoding="utf-8")
            outcome = tested(folder, tests, limits[tests])
            file.write_text(source, encoding="utf-8")
            known[json.dumps(asdict(mutant))] = outcome
            with record.open("a") as lines:
                lines.write(json.dumps({"mutant": asdict(mutant), "outcome": outcome}) + "\n")
    _report({Mutant(**json.loads(text)): outcome for text, outcome in known.items()})


def _report(known: dict[Mutant, Any]) -> None:
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for mutant, outcome in known.items():
        counts[mutant.file][outcome] += 1
        counts["all"][outcome] += 1
    kinds = ("killed", "survived", "timed out")
    rows = [[file, *(str(counts[file][kind]) for kind in kinds)] for file in (*sorted({*counts} - {"all"}), "all")]
    show([["module", *kinds], ["---"] * 4, *rows])
    for mutant in sorted((m for m, outcome in known.items() if outcome == "survived"), key=lambda m: (m.file, m.line)):
        print(f"survived: {mutant.file}:{mutant.line}: {mutant.before}  -->  {mutant.after}")


if __name__ == "__main__":
    fire.Fire(main)
