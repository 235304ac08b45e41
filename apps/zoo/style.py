"""Check the style of the code by black, isort and flake8, with the zoo's settings and layout, and its docstrings.

`requirements/zoo.txt` pins the newest versions within the zoo's bounds. The zoo also runs pytype, which supports no
Python above 3.12; here types are checked by mypy (`make lint`).
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from apps.zoo.submission import CheckFailed, Submission

BLACK = ("--line-length=120", "--skip-magic-trailing-comma", *(f"--target-version=py3{minor}" for minor in (7, 8, 9)))
ISORT = ("--profile=black", "--line-length=120", "--project=models")
FLAKE8 = (
    "--isolated",
    "--select=B,C,E,F,N,P,T4,W,B9",
    "--max-line-length=120",
    "--ignore=E203,E501,E741,W503,W504,C408,N812,B023,B905,B028,B907,C419",
    "--per-file-ignores=__init__.py:F401,__main__.py:F401",
)
TOOLS = {
    "black": ("--check", "--quiet", "--diff", *BLACK),
    "isort": ("--check-only", "--quiet", "--diff", *ISORT),
    "flake8": FLAKE8,
}


def form(submission: Submission) -> str:
    """Check the bundle's code and its unit tests with the three tools.

    Raises:
        CheckFailed: If a tool complains; the message is its output.
    """
    for tool, options in TOOLS.items():
        submission.run(tool, *options, "models", "ci", cwd=submission.zoo)
    files = [path for part in ("models", "ci") for path in (submission.zoo / part).rglob("*.py")]
    return f"{', '.join(TOOLS)} on {len(files)} files"


def docstrings(submission: Submission) -> str:
    """Check that every module and every public class and function of the bundle has a docstring.

    Raises:
        CheckFailed: If one has none.
    """
    count = 0
    for path in sorted((submission.folder / "bundle").rglob("*.py")):
        tree = ast.parse(path.read_bytes())
        for node in (tree, *public(tree)):
            count += 1
            if not ast.get_docstring(node):
                where = f"{path.relative_to(submission.folder)}, {getattr(node, 'name', 'the module')}"
                raise CheckFailed(f"{where}, has no docstring; say there what it does.")
    return f"{count} of {count}"


def public(body: ast.Module | ast.ClassDef) -> Iterator[ast.ClassDef | ast.FunctionDef]:
    """Yield the classes, their methods and the functions of a module whose names begin with a letter."""
    for node in body.body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and not node.name.startswith("_"):
            yield node
            if isinstance(node, ast.ClassDef):
                yield from public(node)
