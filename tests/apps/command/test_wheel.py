"""The wheel holds the bundle in one private folder, and works from there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import nibabel
import pytest

from bundle.examples.phantom import ThoraxPhantom

ROOT = Path(__file__).parents[3]
PRIVATE = "ct_kernel_translation_gan/_bundle/"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from the files here, by what is installed."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--disable-pip-version-check", "--no-deps", "--no-build-isolation"]
    subprocess.run([*command, "--quiet", "--wheel-dir", str(folder), "."], cwd=ROOT, check=True)
    (path,) = folder.iterdir()
    return path


def test_files(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        assert json.loads(archive.read(f"{PRIVATE}metadata.json"))["version"] in wheel.name
        information = archive.read(next(name for name in names if name.endswith("METADATA"))).decode()
    tops = {name.split("/")[0] for name in names}
    assert tops == {"ct_kernel_translation_gan", wheel.name.removesuffix("-py3-none-any.whl") + ".dist-info"}
    inner = {name.removeprefix(PRIVATE) for name in names if name.startswith(PRIVATE)}
    expected = {
        path.relative_to(ROOT).as_posix()
        for folder, pattern in (
            ("bundle", "*.py"),
            ("bundle", "*.json"),
            ("bundle", "*.html"),
            ("configs", "*.json"),
            ("models", "*.pt"),
        )
        for path in (ROOT / folder).rglob(pattern)
    }
    assert {*expected, "LICENSE", "metadata.json"} <= inner
    assert not [name for name in names if "__pycache__" in name or "/tests/" in name]
    assert wheel.stat().st_size < 30e6
    assert "Requires-Dist: monai" in information and "Requires-Python: <3.14,>=3.10" in information


@pytest.mark.slow
def test_installed(wheel: Path, tmp_path: Path) -> None:
    """In a folder of its own, without this clone: the command, the package, and no module called bundle."""
    site = tmp_path / "site"
    install = [sys.executable, "-m", "pip", "install", "--disable-pip-version-check", "--no-deps", "--quiet"]
    subprocess.run([*install, "--target", str(site), str(wheel)], check=True)
    phantom = ThoraxPhantom((32, 28, 16), (1.0, 1.0, 2.0), noise=30.0)
    nibabel.Nifti1Image(phantom[...], phantom.affine).to_filename(tmp_path / "scan.nii")
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    environment |= {"PYTHONPATH": str(site), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [str(site / "bin" / "ct-kernel-translation"), "scan.nii", "results", "--check_input", "off"],
        cwd=tmp_path, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    provenance = json.loads((tmp_path / "results" / "scan_translated.nii.provenance.json").read_text(encoding="utf-8"))
    assert provenance["settings"] == {"check_input": "off"}
    code = "import ct_kernel_translation_gan as p, importlib.util as u; print(p.__file__, u.find_spec('bundle'))"
    told = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    ).stdout
    assert str(site) in told and told.split()[1] == "None"
