"""The house keeps its plan: folders alone at the top of bundle/, arrows downwards, files that one can read."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = sorted(
    path for path in (ROOT / "bundle").iterdir() if path.is_dir() and path.name not in ("__pycache__", ".ruff_cache")
)


def test_the_top_of_the_bundle_holds_folders_alone():
    assert [path.name for path in (ROOT / "bundle").glob("*.py")] == ["__init__.py"]
    assert len(FOLDERS) <= 10


def test_no_file_is_longer_than_300_lines():
    lengths = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in (ROOT / "bundle").rglob("*.py")}
    assert not {path: length for path, length in lengths.items() if length > 300}


def test_arrows_point_downwards():
    pytest.importorskip("importlinter", reason="needs import-linter: pip install -r requirements/dev.txt")
    program = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(no_cache=True))"
    told = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert told.returncode == 0, told.stdout[-2000:] + told.stderr[-2000:]


def test_an_arrow_that_points_upwards_is_seen(tmp_path):
    """Of the test above: the same contract refuses a tree with one such import."""
    pytest.importorskip("importlinter", reason="needs import-linter: pip install -r requirements/dev.txt")
    for folder in FOLDERS:
        (tmp_path / "bundle" / folder.name).mkdir(parents=True)
        (tmp_path / "bundle" / folder.name / "__init__.py").touch()
    (tmp_path / "bundle" / "__init__.py").touch()
    (tmp_path / "bundle" / "geometry" / "__init__.py").write_text("import bundle.cascade\n")
    config = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    config = config[: config.index('[[tool.importlinter.contracts]]\nname = "the floors of bundle/evaluation/"')]
    (tmp_path / "pyproject.toml").write_text(config[config.index("[tool.importlinter]") :], encoding="utf-8")
    program = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(no_cache=True))"
    told = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True)
    assert told.returncode == 1 and "bundle.geometry -> bundle.cascade" in told.stdout, told.stdout[-2000:]
