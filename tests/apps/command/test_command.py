"""The command: the same voxels as `python -m monai.bundle run`, and one last line for whatever is wrong."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from tempfile import gettempdir
from zipfile import ZipFile

import nibabel
import numpy as np
import pytest

from bundle.examples.phantom import ThoraxPhantom
from bundle.images.archives import Unpacked
from ct_kernel_translation_gan.command import main
from ct_kernel_translation_gan.verbs import OTHERS, VERBS
from tests.processes import ran

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small phantom under a name that Python would take for a number."""
    path = tmp_path_factory.mktemp("source") / "1001.nii.gz"
    phantom = ThoraxPhantom((40, 36, 24), (1.0, 1.0, 2.0), noise=30.0)
    nibabel.Nifti1Image(phantom[...], phantom.affine).to_filename(path)
    return path


def without_python() -> dict[str, str]:
    """This process's environment without what a developer's shell tells Python."""
    return {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}


def run(*words: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own."""
    return ran("-m", "ct_kernel_translation_gan", *words, cwd=folder, env=without_python())


def started(*words: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """The command as a user starts it, by a Python that has imported nothing."""
    environment = without_python() | {"PYTHONPATH": str(ROOT / "apps" / "command"), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "ct_kernel_translation_gan", *words]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_same_voxels_as_monai_run(source: Path, tmp_path: Path) -> None:
    """From another folder, with options of its own."""
    done = started(str(source), "1e5", "--tile_size", "32", "--output_ext=.nii", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "written: 1e5/1001_translated.nii\n"
    assert not {"INFO", "parsing config_file", "UserWarning"} & set(done.stderr.split())
    words = ["--config_file", "configs/inference.json", "--dataset_dir", str(source), "--tile_size", "32"]
    words += ["--output_ext", ".nii", "--output_dir", str(tmp_path / "monai")]
    other = ran("-m", "monai.bundle", "run", "inference", *words)
    assert other.returncode == 0, other.stderr
    hashes = {
        hashlib.sha256((tmp_path / folder / "1001_translated.nii").read_bytes()).hexdigest()
        for folder in ("1e5", "monai")
    }
    assert len(hashes) == 1


def test_a_report_of_a_result_that_is_there(source: Path, tmp_path: Path) -> None:
    result = tmp_path / "1001_soft.nii.gz"
    result.write_bytes(source.read_bytes())
    done = run("report", str(source), str(result), "2e5", "--report", "json", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "report: 2e5/1001_soft.nii.gz.report.json\n"
    told = json.loads((tmp_path / "2e5" / "1001_soft.nii.gz.report.json").read_text(encoding="utf-8"))
    assert told["shape"] == [40, 36, 24] and told["values"]["difference"]["mean_absolute"] == 0


@pytest.mark.parametrize(
    ("words", "status", "reason"),
    [
        (["SOURCE", "out", "--tile_sise", "64"], 2, "did you mean --tile_size"),
        (["SOURCE", "out", "--mode#default#coarse_inputz", "2"], 2, "did you mean --mode#default#coarse_inputs"),
        (["chek", "SOURCE"], 2, "it was given 'chek'"),
        (["check"], 2, "check takes SOURCE; it was given nothing"),
        (["experiments", "more"], 2, "experiments takes nothing; it was given 'more'"),
        (["check", "SOURCE", "more"], 2, "check takes SOURCE"),
        (["SOURCE"], 2, "translate takes SOURCE RESULT"),
        (["SOURCE", "out", "--dataset_dir", "x"], 2, "--dataset_dir is given already"),
        (["SOURCE", "out", "--experiment", "nope"], 2, "experiment 'nope' is not known"),
        (["report", "a", "b", "c", "--experiment", "low_dose"], 2, "report knows no option --experiment"),
        (["generate", "out", "--experiment", "xray_2d"], 2, "generate knows no experiment 'xray_2d', which translates"),
        (["qa", "SOURCE", "SOURCE", "out"], 2, "pylinac, which measures the phantom, is not installed here"),
        (["SOURCE", "out", "--run_id", "planning"], 2, "translate knows no option --run_id, which is one of python -m"),
        (["plan", "SOURCE", "out", "--config_file", "x.json"], 2, "plan knows no option --config_file, which is one"),
        (["report", "a", "b", "c", "--args-file=x.json"], 2, "report knows no option --args_file, which is one"),
        (["SOURCE", "out", "--meta_file", "x.json"], 2, "translate knows no option --meta_file, which is one"),
        (["SOURCE", "out", "--experiment", "OVERLAY"], 2, "key 'tile_sze' of the config is unknown"),
        (["SOURCE", "out", "--series_description", "$open('ran', 'w')"], 2, "would be read as code"),
        (["SOURCE", "out", "--target_kernel", "@seed"], 2, "--target_kernel '@seed' would be read as code"),
        (["SOURCE", "out", "--isolated", "{'_target_': 'os.getcwd'}"], 2, "would be read as code"),
        (["kernels", "--seed", "1"], 2, "kernels knows no option --seed"),
        (["view", "SOURCE", "gone.nii", "p.png"], 2, "gone.nii"),
    ],
)
def test_wrong_commands(
    words: list[str],
    status: int,
    reason: str,
    source: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("QA_PYTHON", str(tmp_path / "gone"))
    overlay = source.with_name("own.json")
    overlay.write_text('{"tile_sze": 32}')
    places = {"SOURCE": str(source), "OVERLAY": str(overlay)}
    assert main([places.get(word, word) for word in words]) == status
    told = capsys.readouterr()
    assert told.out == "" and reason in told.err.splitlines()[-1]
    assert told.err.splitlines()[-1].startswith("error: ")
    assert not any(tmp_path.iterdir())


def test_an_image_that_is_missing(tmp_path: Path) -> None:
    done = run("gone.nii", "out", folder=tmp_path)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("error: dataset_dir 'gone.nii' does not exist")
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["$open('ran', 'w').name + '.nii.gz", "@seed.nii.gz", "%dose.nii.gz"])
def test_no_file_name_is_code(name: str, source: Path, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(source.read_bytes())
    done = run("check", name, folder=tmp_path)
    assert done.returncode == 0 and name in done.stdout, done.stderr
    done = run("calibrate", name, "$open('ran', 'w')", "%seed", folder=tmp_path)
    assert done.stderr.splitlines()[-1] == "error: image \"$open('ran', 'w')\" does not exist."
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_check(source: Path, tmp_path: Path) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    nibabel.load(source).to_filename(folder / "ct.nii")
    voxels = np.asarray(nibabel.Nifti1Image.from_filename(source).dataobj) / 1000.0
    nibabel.Nifti1Image(voxels.astype(np.float32), np.eye(4)).to_filename(folder / "scaled.nii")
    (folder / "cut.nii").write_bytes((folder / "ct.nii").read_bytes()[:900])
    done = run("check", str(folder), folder=tmp_path)
    lines = done.stdout.splitlines()
    assert done.returncode == 1 and len(lines) == 3
    assert lines[0].startswith(("ok: ", "warned of: ")) and "ct.nii" in lines[0]
    assert lines[1].startswith("refused: ") and "cut.nii" in lines[1]
    assert lines[2].startswith("refused: ") and "scaled.nii" in lines[2]
    assert done.stderr.splitlines()[-1] == "error: 2 of 3 images would be refused, see the lines above."
    assert [path.name for path in tmp_path.iterdir()] == ["images"]


def test_check_unpacks_a_zip_elsewhere_and_names_it(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Not in the bundle's own folder, which may be one that nobody may write to."""
    with ZipFile(tmp_path / "scans.zip", "w") as archive:
        archive.write(source, "a/scan.nii.gz")
    unpacked: list[Path] = []

    def unpack(path: Path, folder: Path) -> Unpacked:
        unpacked.append(folder)
        return Unpacked(path, folder)

    monkeypatch.setattr("bundle.images.finding.Unpacked", unpack)
    assert main(["check", str(tmp_path / "scans.zip")]) == 0
    assert unpacked == [Path(gettempdir())]
    assert str(tmp_path / "scans.zip" / "a" / "scan.nii.gz") in capsys.readouterr().out


def test_plan(source: Path, tmp_path: Path) -> None:
    """Refused in the words of the run; the plan's file lies where it is asked for, and nothing else is written."""
    (tmp_path / "cut.nii").write_bytes(source.read_bytes()[:900])
    done = run("plan", str(tmp_path / "cut.nii"), "out", "--plan_file", "plan.json", folder=tmp_path)
    assert done.returncode == 1 and "refused: " in done.stdout
    assert done.stderr.splitlines()[-1].startswith("error: image ") and "cut.nii" in done.stderr.splitlines()[-1]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cut.nii", "plan.json"]


def test_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    overview = capsys.readouterr().out
    assert "translate SOURCE RESULT" in overview and "--target_kernel" in overview and "Exit status" in overview
    assert max(map(len, overview.splitlines())) <= 120
    assert main([]) == 2
    assert capsys.readouterr().out == overview
    for verb in (*VERBS, *OTHERS):
        assert main([verb, "--help"]) == 0
        told = capsys.readouterr().out
        assert f"ct-kernel-translation {verb}" in told
        for key in VERBS[verb].without if verb in VERBS else ():
            assert f"--{key}" in overview and f"--{key}" not in told
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.strip() in (ROOT / "configs" / "metadata.json").read_text(encoding="utf-8")


def test_lists(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["kernels"]) == 0
    rows = capsys.readouterr().out.splitlines()
    assert any(row.split()[:3] == ["SIEMENS", "B30f", "0.31"] for row in rows)
    assert main(["experiments"]) == 0
    assert "brain_t1_t2" in capsys.readouterr().out


def test_view(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture = tmp_path / "new" / "picture.png"
    assert main(["view", str(source), str(source), str(picture), "--series_uid", "1.2"]) == 0
    assert picture.exists() and capsys.readouterr().out.strip() == str(picture)


def test_phantom(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "phantom.nii.gz"
    assert main(["phantom", str(path)]) == 0
    assert capsys.readouterr().out.strip() == str(path)
    assert nibabel.Nifti1Image.from_filename(path).shape == (160, 128, 96)
    assert main(["phantom", str(tmp_path / "phantom.mha")]) == 2
    assert "end it in .nii or .nii.gz" in capsys.readouterr().err


def test_import_is_light() -> None:
    """Neither torch nor numpy, before something is translated."""
    heavy = "sorted({'torch', 'numpy', 'monai'} & set(sys.modules))"
    code = f"import sys, ct_kernel_translation_gan as package; print(package.__version__, *{heavy})"
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "apps" / "command")}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert len(done.stdout.split()) == 1
