"""Check the packages: the metadata name all imported packages, in versions that the zoo's Python can install."""

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

from apps.zoo.submission import CheckFailed, Submission

#: Python version of the zoo's CI.
PYTHON = "3.10.14"
#: Distributions that are parts of another one, which the metadata name.
PARTS = {"itk-core": "itk"}


def required(submission: Submission) -> dict[str, str]:
    """Return the versions of all packages in the metadata, by package."""
    meta = submission.metadata
    packages = {
        "monai": meta["monai_version"],
        "torch": meta["pytorch_version"],
        "numpy": meta["numpy_version"],
        **meta["required_packages_version"],
    }
    return {canonicalize_name(name): version for name, version in packages.items()}


def pinned(root: Path) -> dict[str, str]:
    """Return the versions that `requirements.txt` pins for the zoo's Python, by package; CI installs them there."""
    lines = (root / "requirements.txt").read_text(encoding="utf-8").splitlines()
    versions: dict[str, str] = {}
    for line in lines:
        if line and not line.startswith("#"):
            requirement = Requirement(line)
            environment = {"python_version": PYTHON.rpartition(".")[0], "python_full_version": PYTHON}
            if requirement.marker is None or requirement.marker.evaluate(environment):
                versions[canonicalize_name(requirement.name)] = str(requirement.specifier).removeprefix("==")
    return versions


def pins(submission: Submission) -> str:
    """Check that every version in the metadata can be installed on the zoo's Python.

    This needs no network: the version must be the one that `requirements.txt` pins for that Python, on which the
    project's own CI installs it; and if this version is installed here, the Python that it requires must fit. See also
    `ask_index`.

    Raises:
        CheckFailed: If a version cannot be installed, or is not known to be installable.
    """
    proven, count = pinned(submission.root), 0
    for name, version in required(submission).items():
        try:
            Version(version)
        except ValueError as error:
            raise CheckFailed(f"{name} {version!r} is not a version; name one, without `==`.") from error
        try:
            here = distribution(name)
            needs = here.metadata["Requires-Python"] if Version(here.version).public == version else None
        except PackageNotFoundError:
            needs = None
        if needs and not SpecifierSet(needs).contains(PYTHON):
            raise CheckFailed(f"{name} {version} needs Python {needs}; the zoo has {PYTHON}: name an older one.")
        if proven.get(name) != version:
            raise CheckFailed(
                f"{name} {version} is not what requirements.txt pins for Python {PYTHON}, which is "
                f"{proven.get(name, 'nothing')}; name that, or leave the package out."
            )
        count += bool(needs)
    return f"{len(required(submission))} packages as proven on Python {PYTHON}, {count} of them say so here"


def ask_index(submission: Submission) -> str:
    """Check that the package index has a wheel of every version for the zoo's Python; needs a network.

    Raises:
        CheckFailed: If pip does not find a wheel.
    """
    requirements = [f"{name}=={version}" for name, version in required(submission).items()]
    with tempfile.TemporaryDirectory() as folder:
        process = subprocess.run(
            [
                *(sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed", "--no-deps"),
                *("--only-binary=:all:", "--python-version", PYTHON, "--target", folder, *requirements),
            ],
            text=True,
            capture_output=True,
            check=False,
        )
    if process.returncode:
        raise CheckFailed(f"pip finds no wheels for Python {PYTHON}: {process.stderr.strip().splitlines()[-1]}")
    return f"{len(requirements)} wheels"


def imports(submission: Submission) -> str:
    """Check that all imports of code and configs are Python's, the bundle's own, or from a package in the metadata.

    Optional imports, inside `try` and `except ImportError`, are ignored.

    Raises:
        CheckFailed: If an import is none of these.
    """
    known, owners = required(submission), packages_distributions()
    files = {path: imported(ast.parse(path.read_bytes())) for path in (submission.folder / "bundle").rglob("*.py")}
    for path in (submission.folder / "configs").glob("*.json"):
        lines = re.findall(r'"\$((?:import|from) [^"]+)"', path.read_text(encoding="utf-8"))
        files[path] = imported(ast.parse("\n".join(lines)))
    modules = {module: path for path, names in files.items() for module in names}
    for module, path in modules.items():
        if module == "bundle" or module in sys.stdlib_module_names:
            continue
        packages = {canonicalize_name(PARTS.get(name, name)) for name in owners.get(module, [module])}
        if not packages & known.keys():
            raise CheckFailed(
                f"{path.relative_to(submission.folder)} imports {module} of {', '.join(sorted(packages))}, which the "
                "metadata do not name; add it to required_packages_version."
            )
    return f"{len(modules)} modules"


def imported(tree: ast.AST) -> Iterator[str]:
    """Yield the top-level names of the modules that a program imports unconditionally."""
    if isinstance(tree, ast.Try) and any("ImportError" in ast.dump(handler.type or tree) for handler in tree.handlers):
        return
    if isinstance(tree, ast.Import):
        yield from (alias.name.partition(".")[0] for alias in tree.names)
    elif isinstance(tree, ast.ImportFrom) and not tree.level and tree.module:
        yield tree.module.partition(".")[0]
    for child in ast.iter_child_nodes(tree):
        yield from imported(child)
