"""Inputs as people have them, from end to end: what a zip gives is what its files give, and nothing of it stays."""

import json
import re
import shutil
import zipfile
from pathlib import Path

import nibabel
import numpy as np
import pytest
from monai.bundle import ConfigWorkflow

from bundle.examples.phantom import ThoraxPhantom
from bundle.images import ImageError
from bundle.images.provenance import read_provenance
from bundle.runtime.job import place_of
from tests.dicom_series import write_series
from tests.processes import DYING, ran, together
from tests.results import results_in

ROOT = Path(__file__).parents[2]
SHAPE = (40, 36, 10)
AFFINE = np.diag([-0.8, 0.9, 2.5, 1.0])


@pytest.fixture(scope="module")
def disc(tmp_path_factory):
    """Two series in one folder, a NIfTI, and a zip of them."""
    top = tmp_path_factory.mktemp("source") / "disc"
    voxels = ThoraxPhantom(SHAPE, seed=1)[...].astype(np.int16)
    for uid in ("1.2.3.4", "1.2.3.5"):
        write_series(top / "DICOM", voxels, AFFINE, series=uid)
    nibabel.Nifti1Image(voxels, AFFINE).to_filename(top / "brain.nii.gz")
    return packed(top)


def packed(folder):
    with zipfile.ZipFile(f"{folder}.zip", "w", zipfile.ZIP_DEFLATED) as file:
        for entry in sorted(entry for entry in folder.rglob("*") if entry.is_file()):
            file.write(entry, entry.relative_to(folder))
    return folder


def run(source, out, **keys):
    """Through configs/inference.json, without matching kernels."""
    workflow = ConfigWorkflow(
        config_file=str(ROOT / "configs" / "inference.json"),
        workflow_type="infer",
        bundle_root=str(ROOT),
        dataset_dir=source if isinstance(source, list) else str(source),
        output_dir=str(out),
        **{"match_kernel": False, "tile_size": 24, **keys},
    )
    workflow.initialize()
    workflow.run()


def contents(folder):
    """All files of a folder but the provenance, with their bytes."""
    files = (path for path in Path(folder).rglob("*") if path.is_file() and not path.name.endswith(".json"))
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def causes(error):
    """The text of an error and of what it was made from."""
    told = []
    while error:
        told.append(str(error))
        error = error.__cause__
    return "\n".join(told)


@pytest.mark.parametrize("streaming", [False, True])
def test_a_zip_gives_what_its_files_give(disc, tmp_path, capsys, streaming):
    """Also again, from another place; once made, its results are known."""
    if streaming:
        pytest.importorskip("zarr", minversion="3", reason="streaming needs zarr 3, which needs Python 3.11")
    keys, out = {"streaming": streaming}, tmp_path / "out"
    path = shutil.copy2(f"{disc}.zip", tmp_path / "given.zip")
    run(path, out, **keys)
    whole = contents(out)
    for uid in ("1.2.3.4", "1.2.3.5"):
        run(disc / "DICOM", tmp_path / uid, series_uid=uid, **keys)
        slices = contents(tmp_path / uid / "DICOM_translated")
        assert len(slices) == SHAPE[2]
        assert slices == contents(out / "DICOM" / f"{uid}_translated")
        told = read_provenance(out / "DICOM" / f"{uid}_translated")
        assert told["source"]["sha256"] == read_provenance(tmp_path / uid / "DICOM_translated")["source"]["sha256"]
        assert told["source"]["place"] == place_of(path / "DICOM" / uid)
        assert "given" not in json.dumps(told)
    run(disc / "brain.nii.gz", tmp_path / "nifti", **keys)
    assert contents(tmp_path / "nifti").items() <= whole.items() and len(whole) == 2 * SHAPE[2] + 1
    capsys.readouterr()
    run(path, out, skip_existing=True, **keys)
    assert capsys.readouterr().out.count(f"made from {path}/") == 3
    assert contents(out) == whole and not list(out.glob(".part*"))
    assert sorted(entry.name for entry in tmp_path.iterdir() if entry.is_file()) == ["given.zip"]


@pytest.mark.parametrize("several", [False, True])
def test_after_an_error_nothing_stays_and_the_zip_is_named(tmp_path, capsys, several):
    """Not the folder that it was unpacked to."""
    folder = tmp_path / "scans"
    folder.mkdir()
    nibabel.Nifti1Image(np.zeros((12, 12, 6), np.int16), AFFINE).to_filename(folder / "empty.nii")
    if several:
        nibabel.Nifti1Image(ThoraxPhantom(SHAPE)[...].astype(np.int16), AFFINE).to_filename(folder / "good.nii")
    path = f"{packed(folder)}.zip"
    with pytest.raises(SystemExit if several else RuntimeError) as raised:
        run(path, tmp_path / "out")
    if several:
        assert f"failed: image '{path}/empty.nii' has the value 0" in capsys.readouterr().err
        assert [entry.name for entry in results_in(tmp_path / "out")] == ["good_translated.nii"]
    else:
        assert "has the value 0 in all its voxels" in causes(raised.value)
    assert not list((tmp_path / "out").glob(".part*"))


def test_an_error_before_the_first_image_leaves_nothing(disc, tmp_path):
    """At the latest when the process ends."""
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "brain_translated.nii.gz").touch()
    command = ["-m", "monai.bundle", "run", "inference", "--config_file", "configs/inference.json"]
    ended = ran(*command, "--dataset_dir", f"{disc}.zip", "--output_dir", str(tmp_path / "out"))
    last = ended.stderr.strip().splitlines()[-1]
    assert ended.returncode == 1
    assert re.match(rf"error: result '.*' of '{disc}\.zip/brain\.nii\.gz' exists already, and is not known as", last), (
        last
    )
    assert [entry.name for entry in (tmp_path / "out").iterdir()] == ["brain_translated.nii.gz"]


def test_a_killed_run_resumes_from_the_same_zip_and_leaves_nothing(tmp_path):
    pytest.importorskip("zarr", minversion="3", reason="streaming needs zarr 3, which needs Python 3.11")
    write_series(tmp_path / "scan", ThoraxPhantom(SHAPE, seed=1)[...].astype(np.int16), AFFINE)
    path = f"{packed(tmp_path / 'scan')}.zip"

    def start(out, last):
        return ran("-c", DYING, path, str(tmp_path / out), str(last))

    whole = start("whole", -1)
    assert whole.returncode == 0, whole.stderr
    killed = start("killed", 3)
    assert killed.returncode == 9, killed.stderr
    left = [entry.name for entry in (tmp_path / "killed").glob(".part*") if entry.is_dir()]
    assert len(left) == 2 and sum(name.startswith(".part_zip_") for name in left) == 1
    again = start("killed", -1)
    assert again.returncode == 0, again.stderr
    assert not list((tmp_path / "killed").glob(".part*"))
    written = [json.loads(ended.stdout.splitlines()[-1])["written"] for ended in (whole, again)]
    assert written[1] == written[0] - 3
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole") != {}


@pytest.mark.slow
@pytest.mark.parametrize("streaming", [False, True])
def test_two_processes_share_what_is_unpacked(disc, tmp_path, streaming):
    """Once for both; each takes images of its own, or both make tiles of one."""
    pytest.importorskip("zarr", minversion="3", reason="streaming needs zarr 3, which needs Python 3.11")
    words = [
        *("monai.bundle", "run", "inference"),
        *("--config_file", "['configs/inference.json','configs/multi_gpu_inference.json']"),
        *("--dataset_dir", f"{disc}.zip", "--output_dir", str(tmp_path / "out"), "--streaming", str(streaming)),
        *("--tile_size", "24", "--match_kernel", "False"),
    ]
    ended = together(2, *words)
    assert all(done.returncode == 0 for done in ended), [done.stderr[-3000:] for done in ended]
    assert len(contents(tmp_path / "out")) == 2 * SHAPE[2] + 1
    assert not list((tmp_path / "out").glob(".part*"))


def test_hostile_zips_end_in_one_line(tmp_path):
    member = zipfile.ZipInfo("link.nii")
    member.create_system, member.external_attr = 3, 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "s.zip", "w") as file:
        file.writestr(member, "/etc/passwd")
    with pytest.raises(RuntimeError) as raised:
        run(tmp_path / "s.zip", tmp_path / "out")
    error = raised.value
    while error.__cause__:
        error = error.__cause__
    assert isinstance(error, ImageError) and "'link.nii' is a link or a device" in str(error)


def test_a_tree_a_pattern_and_a_file_of_a_series(disc, tmp_path):
    """Each gives what the image alone gives, at its place."""
    tree = tmp_path / "tree"
    for name in ("p1/ct", "p2/mr"):
        (tree / name).mkdir(parents=True)
        shutil.copy2(disc / "brain.nii.gz", tree / name / "x.nii.gz")
    shutil.copytree(disc / "DICOM", tree / "p2" / "both")
    run(disc / "brain.nii.gz", tmp_path / "one")
    (expected,) = contents(tmp_path / "one").values()
    run(str(tree / "p*" / "*" / "x.nii.gz"), tmp_path / "pattern")
    paths = ("p1/ct/x_translated.nii.gz", "p2/mr/x_translated.nii.gz")
    assert contents(tmp_path / "pattern") == dict.fromkeys(paths, expected)
    run(tree / "p1", tmp_path / "deep", recursive=True)
    assert contents(tmp_path / "deep") == {"ct/x_translated.nii.gz": expected}
    run([str(tree / name / "x.nii.gz") for name in ("p1/ct", "p2/mr")], tmp_path / "list")
    assert contents(tmp_path / "list") == contents(tmp_path / "pattern")
    run(disc / "DICOM", tmp_path / "series", series_uid="1.2.3.5")
    file = next(path for path in sorted((tree / "p2" / "both").iterdir()) if path.name.startswith("5_"))
    run(file, tmp_path / "file")
    made = contents(tmp_path / "file" / "both_translated")
    assert made == contents(tmp_path / "series" / "DICOM_translated") and len(made) == SHAPE[2]


@pytest.mark.parametrize("name", ["1001", "a#1", "a::b", "None", "1,2", "@x", "$y", "Füße 1"])
def test_a_folder_of_results_may_have_any_name(disc, tmp_path, name):
    """Or is refused: a config cannot tell two of them apart."""
    out = tmp_path / name
    if "#" in name or "::" in name:
        with pytest.raises(RuntimeError) as raised:
            run(disc / "brain.nii.gz", out)
        assert "may also be" in causes(raised.value)
        out.mkdir()
    run(disc / "brain.nii.gz", out)
    assert list(contents(out)) == ["brain_translated.nii.gz"]
