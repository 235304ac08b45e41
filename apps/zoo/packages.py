"""The packages: the metadata name all that the code imports, in versions that the zoo's Python can install."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, distribution, packages_distributions
from pathlib import Path

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

from apps.zoo.submission import RefusedError, Submission

#: What the zoo's CI runs on.
PYTHON = "3.10.14"
#: Distributions that are parts of another one, which the metadata name.
PARTS = {"itk-core": "itk"}


def named(submission: Submission) -> dict[str, str]:
    """Package to version, of all that the metadata have the zoo install."""
    meta = submission.metadata
    packages = {
        "monai": meta["monai_version"],
        "torch": meta["pytorch_version"],
        "numpy": meta["numpy_version"],
        **meta["required_packages_version"],
    }
    return {canonicalize_name(name): version for name, version in packages.items()}


def pinned(house: Path) -> dict[str, str]:
    """Package to version, of what `requirements.txt` pins for the zoo's Python, on which CI installs it."""
    lines = (house / "requirements.txt").read_text(encoding="utf-8").splitlines()
    found: dict[str, str] = {}
    for line in lines:
        if line and not line.startswith("#"):
            asked = Requirement(line)
            on = {"python_version": PYTHON.rpartition(".")[0], "python_full_version": PYTHON}
            if asked.marker is None or asked.marker.evaluate(on):
                found[canonicalize_name(asked.name)] = str(asked.specifier).removeprefix("==")
    return found


def pins(submission: Submission) -> str:
    """Every version that the metadata name can be installed on the zoo's Python.

    Known without a network: it is the one that `requirements.txt` pins for that Python, on which the project's own CI
    installs it, and where the very version is installed here, what it asks of Python is met. `ask_index` asks further.

    Raises:
        RefusedError: on the first that cannot, or is not known to.
    """
    proven, asked = pinned(submission.house), 0
    for name, version in named(submission).items():
        try:
            Version(version)
        except ValueError as error:
            raise RefusedError(f"{name} {version!r} is no version; the zoo writes `==` before it, name one.") from error
        try:
            here = distribution(name)
            needs = here.metadata["Requires-Python"] if Version(here.version).public == version else None
        except PackageNotFoundError:
            needs = None
        if needs and not SpecifierSet(needs).contains(PYTHON):
            raise RefusedError(f"{name} {version} needs Python {needs}; the zoo has {PYTHON}: name an older one.")
        if proven.get(name) != version:
            raise RefusedError(
                f"{name} {version} is not what requirements.txt pins for Python {PYTHON}, which is "
                f"{proven.get(name, 'nothing')}; name that, or leave the package out."
            )
        asked += bool(needs)
    return f"{len(named(submission))} packages as proven on Python {PYTHON}, {asked} of them say so here"


def ask_index(submission: Submission) -> str:
    """The package index has a wheel for the zoo's Python of every version that the metadata name; needs a network.

    Raises:
        RefusedError: If pip does not find one.
    """
    asked = [f"{name}=={version}" for name, version in named(submission).items()]
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [
                *(sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed", "--no-deps"),
                *("--only-binary=:all:", "--python-version", PYTHON, "--target", folder, *asked),
            ],
            text=True,
            capture_output=True,
            check=False,
        )
    if done.returncode:
        raise RefusedError(f"pip finds no wheels for Python {PYTHON}: {done.stderr.strip().splitlines()[-1]}")
    return f"{len(asked)} wheels"


def imports(submission: Submission) -> str:
    """All that the code and the configs import is Python's, the bundle's own, or of a package that the metadata name.

    An import that the code can do without, one inside of `try` and `except ImportError`, is left out.

    Raises:
        RefusedError: on the first that is none of these.
    """
    known, owners = named(submission), packages_distributions()
    files = {path: imported(ast.parse(path.read_text())) for path in (submission.folder / "bundle").rglob("*.py")}
    for path in (submission.folder / "configs").glob("*.json"):
        lines = re.findall(r'"\$((?:import|from) [^"]+)"', path.read_text(encoding="utf-8"))
        files[path] = imported(ast.parse("\n".join(lines)))
    modules = {module: path for path, found in files.items() for module in found}
    for module, path in modules.items():
        if module == "bundle" or module in sys.stdlib_module_names:
            continue
        packages = {canonicalize_name(PARTS.get(name, name)) for name in owners.get(module, [module])}
        if not packages & known.keys():
            raise RefusedError(
                f"{path.relative_to(submission.folder)} imports {module} of {', '.join(sorted(packages))}, which the "
                "metadata do not name; add it to required_packages_version."
            )
    return f"{len(modules)} modules"


def imported(tree: ast.AST) -> Iterator[str]:
    """Top-level names of the modules that a program cannot do without."""
    if isinstance(tree, ast.Try) and any("ImportError" in ast.dump(handler.type or tree) for handler in tree.handlers):
        return
    if isinstance(tree, ast.Import):
        yield from (alias.name.partition(".")[0] for alias in tree.names)
    elif isinstance(tree, ast.ImportFrom) and not tree.level and tree.module:
        yield tree.module.partition(".")[0]
    for child in ast.iter_child_nodes(tree):
        yield from imported(child)
