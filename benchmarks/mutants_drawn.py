"""Draw small changes of the code by a seed.

::

    a < b     -->   a <= b        and so on, for comparisons, operators, constants, conditions and a few functions
"""

from __future__ import annotations

import ast
import hashlib
import subprocess
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

ROOT = Path(__file__).parents[1]
#: Comparisons, operators and functions, and their replacements.
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
        file: path in the tree.
        line: line where the changed piece begins.
        column: column where it begins, in bytes from 0.
        stop_line: line where it ends.
        stop_column: column where it ends, in bytes from 0.
        before: the piece.
        after: its replacement.
        nth: index among the identical changes of the file, from 0.
    """

    file: str
    line: int
    column: int
    stop_line: int
    stop_column: int
    before: str
    after: str
    nth: int = 0

    @property
    def name(self) -> str:
        """Name that identifies the mutant, even if its line moves."""
        return f"{self.file}: {self.before} --> {self.after} #{self.nth}"

    def applied(self, source: str) -> str:
        """Return the source with the change applied."""
        lines = source.encode().splitlines(keepends=True)
        head = b"".join([*lines[: self.line - 1], lines[self.line - 1][: self.column]])
        tail = b"".join([lines[self.stop_line - 1][self.stop_column :], *lines[self.stop_line :]])
        return (head + f"({self.after})".encode() + tail).decode()


def changes(node: ast.AST) -> Iterator[ast.expr]:
    """Yield the possible replacements of a node."""
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
    """Yield the nodes inside a node, except strings, types, decorators and the arguments of errors."""
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns", "decorator_list", "exc", "type_params"):
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST) and not isinstance(child, (ast.JoinedStr, ast.Assert)):
                yield child
                yield from inner(child)


def mutants_of(file: str) -> Iterator[Mutant]:
    """Yield all mutants of a file, in order of their positions."""
    source = (ROOT / file).read_text(encoding="utf-8")
    lines = source.encode().splitlines(keepends=True)
    alike: Counter[tuple[str, str]] = Counter()
    for node in inner(ast.parse(source)):
        for place, changed in replaced(node):
            stop = int(place.end_lineno or 0), int(place.end_col_offset or 0)
            whole = b"".join(lines[place.lineno - 1 : stop[0]])
            piece = whole[place.col_offset : len(whole) - len(lines[stop[0] - 1]) + stop[1]]
            before = " ".join(piece.decode().split())
            after = ast.unparse(ast.fix_missing_locations(changed))
            yield Mutant(file, place.lineno, place.col_offset, *stop, before, after, alike[before, after])
            alike[before, after] += 1


def replaced(node: ast.AST) -> Iterator[tuple[ast.expr, ast.expr]]:
    """Yield pieces of a node and their replacements."""
    if isinstance(node, (ast.If, ast.While)):
        if not isinstance(node.test, (ast.Compare, ast.BoolOp)):
            yield node.test, ast.UnaryOp(ast.Not(), node.test)
    elif isinstance(node, ast.expr):
        for changed in changes(node):
            yield node, changed


def drawn(number: int, seed: int, patterns: Sequence[str], only: str = "*") -> list[Mutant]:
    """Draw mutants of the modules that match some patterns; changing one module keeps the order of the others."""
    tracked = subprocess.run(["git", "ls-files", "bundle"], cwd=ROOT, capture_output=True, text=True, check=True)
    files = [file for file in tracked.stdout.split() if any(fnmatch(file, pattern) for pattern in patterns)]
    found = [mutant for file in files if not file.endswith("__init__.py") for mutant in mutants_of(file)]
    found.sort(key=lambda mutant: hashlib.sha256(f"{seed}/{mutant.name}".encode()).digest())
    return [mutant for mutant in found[:number] if fnmatch(mutant.file, only)]
