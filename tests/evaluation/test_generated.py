"""Samples beside real images."""

import nibabel
import numpy as np
import pytest
from PIL import Image

from bundle.evaluation.generated import compare_generated
from bundle.evaluation.metrics import RandomFeatures


def pictures(folder, seeds, noise):
    folder.mkdir()
    for seed in seeds:
        random = np.random.default_rng(seed)
        rows = np.linspace(0, 200, 80)[:, None] * random.uniform(0.3, 1)
        picture = rows + np.sin(np.arange(80) / random.uniform(3, 9)) * 20 + random.normal(0, noise, (80, 80))
        Image.fromarray(picture.clip(0, 255).astype(np.uint8)).save(folder / f"{seed}.png")
    return str(folder)


def rows_of(report):
    return [[cell.strip() for cell in line.split("|")[2:4]] for line in report.splitlines() if line.startswith("|")][2:]


def test_samples_of_the_same_kind_are_nearer_than_others(tmp_path):
    real = pictures(tmp_path / "real", range(12), 5)
    same, noisy = pictures(tmp_path / "same", range(20, 28), 5), pictures(tmp_path / "noisy", range(20, 28), 40)
    reports = [
        compare_generated(made, real, str(tmp_path / "out"), RandomFeatures(), (0, 255)) for made in (same, noisy)
    ]
    near, far = (float(rows_of(report)[0][0]) for report in reports)
    assert near < far
    assert (tmp_path / "out" / "generated.png").stat().st_size > 10_000
    assert (tmp_path / "out" / "generated.md").read_text() == reports[1]


@pytest.mark.parametrize("name", ["generated.png", "generated.md"])
def test_no_foreign_file_is_replaced(name, tmp_path):
    (tmp_path / name).write_text("mine")
    with pytest.raises(FileExistsError, match=rf"{name}' exists already, and is not a file of this bundle; move it"):
        compare_generated("nowhere", "nowhere", str(tmp_path), RandomFeatures(), (0, 255))
    assert (tmp_path / name).read_text() == "mine"


def test_a_copy_gives_itself_away(tmp_path):
    real = pictures(tmp_path / "real", range(6), 5)
    made = pictures(tmp_path / "made", (3, 30), 5)
    report = compare_generated(made, real, str(tmp_path / "out"), RandomFeatures(), (0, 255))
    least, among = map(float, rows_of(report)[2])
    assert least == 0 < among
    held_out = compare_generated(made, real, str(tmp_path / "out"), RandomFeatures(), (0, 255), held_out=["3"])
    assert float(rows_of(held_out)[2][0]) > 0 and "5 training images" in held_out


def test_a_name_that_is_held_out_and_is_not_there_is_told(tmp_path):
    real = pictures(tmp_path / "real", range(3), 5)
    for held_out in (["nosuch"], ["1.nii"]):
        with pytest.raises(FileNotFoundError, match=f"held_out holds '{held_out[0]}', but there is no such image"):
            compare_generated(real, real, str(tmp_path / "out"), RandomFeatures(), (0, 255), held_out=held_out)
    assert not (tmp_path / "out").exists()


def test_samples_may_have_a_suffix_of_two_parts(tmp_path):
    """x without .nii.gz is x, as in training."""
    (tmp_path / "real").mkdir()
    for seed in range(5):
        voxels = np.random.default_rng(seed).integers(0, 255, (80, 80, 1)).astype(np.int16)
        nibabel.Nifti1Image(voxels, np.eye(4)).to_filename(tmp_path / "real" / f"{seed}.nii.gz")
    real = str(tmp_path / "real")
    report = compare_generated(real, real, str(tmp_path / "out"), RandomFeatures(), (0, 255), held_out=["1"])
    assert "5 samples, 4 training images" in report


def test_folders_without_images_are_told(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="holds no image"):
        compare_generated(str(tmp_path / "empty"), str(tmp_path), str(tmp_path / "out"), RandomFeatures())
