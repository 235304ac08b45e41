"""Every image of a folder is found, and what looks like one and is none is named, not passed over without a word."""

import os
import shutil
from functools import partial
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.uid import MediaStorageDirectoryStorage

from bundle.images import ImageError, find_images, find_sources, plan_results, result_path, series_files
from bundle.images.dicom_headers import is_dicom
from bundle.images.provenance import write_provenance
from tests.dicom_series import dataset, hounsfield, write_segmentation, write_series


@pytest.fixture
def folder(tmp_path):
    """Two images."""
    for name in ("a", "c"):
        nibabel.Nifti1Image(np.zeros((3, 3, 3), np.int16), np.eye(4)).to_filename(tmp_path / f"{name}.nii.gz")
    return tmp_path


def names(folder):
    return [path[len(str(folder)) + 1 :] for path in find_images(folder)]


def structure_set(path):
    ds = dataset(path, "1.2.3.7", kind="1.2.840.10008.5.1.4.1.1.481.3")
    ds.Modality = "RTSTRUCT"
    ds.save_as(path)


def directory(path):
    dataset(path, "1.2.3.8", kind=MediaStorageDirectoryStorage).save_as(path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_pipes_are_named_and_folders_are_not(folder, capsys):
    os.mkfifo(folder / "pipe.nii")
    (folder / "empty").mkdir()
    assert names(folder) == ["a.nii.gz", "c.nii.gz"]
    told = capsys.readouterr().err
    assert "pipe.nii, neither a file nor a folder" in told and "empty" not in told


def test_what_begins_like_dicom_and_is_none_is_not_taken_for_it(folder):
    """Its first eight bytes are those of an element of group 8; what follows is text."""
    (folder / "notes").write_bytes(b"\x08\x00\x05\x00CS\x0a\x00" + b"text " * 40)
    assert not is_dicom(folder / "notes")
    assert names(folder) == ["a.nii.gz", "c.nii.gz"]


def test_files_of_macos_are_named_and_passed_over(folder, capsys):
    (folder / "._a.nii.gz").write_bytes(b"\0\5\x16\7" + bytes(4092))
    assert names(folder) == ["a.nii.gz", "c.nii.gz"]
    assert "._a.nii.gz, which macOS wrote" in capsys.readouterr().err
    with pytest.raises(FileNotFoundError, match="is not an image"):
        find_images(folder / "._a.nii.gz")


def test_what_may_not_be_read_is_named_or_fails_alone(folder, capsys, monkeypatch):
    """A file or folder without an image's name is passed over; one with it fails when it is opened, and no other."""
    for name in ("secret", "b.dcm"):
        (folder / name).write_bytes(b"\0" * 200)
    (folder / "lost+found").mkdir()
    closed, real = {"secret", "b.dcm", "lost+found"}, os.access
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path).name not in closed and real(path, mode))
    assert names(folder) == ["a.nii.gz", "b.dcm", "c.nii.gz"]
    told = capsys.readouterr().err
    assert "secret, a file that this user may not read" in told
    assert "lost+found, a folder that this user may not read" in told


@pytest.mark.parametrize("name", ["a.img", "a.hdr", "b.nhdr"])
def test_images_in_two_files_are_named(folder, capsys, name):
    (folder / name).write_bytes(b"1")
    assert names(folder) == ["a.nii.gz", "c.nii.gz"]
    assert f"passed over: {folder / name}, of a pair of header and voxels" in capsys.readouterr().err


@pytest.mark.parametrize("recursive", [False, True])
def test_results_in_the_folder_itself_are_passed_over(folder, capsys, recursive):
    """So that the same command can be given again; elsewhere they are images as any."""
    result = folder / "a_translated.nii.gz"
    shutil.copy(folder / "a.nii.gz", result)
    write_provenance(result, result, folder / "a.nii.gz", (), {})
    found = find_sources(folder, recursive, folder=folder)["images"]
    assert [Path(path).name for path in found] == ["a.nii.gz", "c.nii.gz"]
    assert "a_translated.nii.gz, a result of this bundle in the folder of the results" in capsys.readouterr().err
    assert len(find_sources(folder, recursive, folder=folder / "out")["images"]) == 3


def test_a_multi_frame_image_beside_slices_is_named(folder, capsys):
    write_series(folder / "ct", np.zeros((4, 3, 3), np.int16), np.eye(4))
    (file, *_) = write_series(folder / "frames", np.zeros((4, 3, 1), np.int16), np.eye(4), series="1.2.3.9")
    frames = pydicom.dcmread(file)
    frames.NumberOfFrames, frames.PixelData = 5, bytes(5 * len(frames.PixelData))
    frames.save_as(folder / "ct" / "z")
    series_files(folder / "ct")
    assert "z, beside the slices of a volume: it has 5 frames" in capsys.readouterr().err


def test_links_to_nowhere_are_named_and_passed_over(folder, capsys):
    (folder / "b.nii.gz").symlink_to("/nowhere/.git/annex/b.nii.gz")
    assert names(folder) == ["a.nii.gz", "c.nii.gz"]
    assert "b.nii.gz, a link to a file that is not there" in capsys.readouterr().err
    with pytest.raises(FileNotFoundError, match=r"b\.nii\.gz' is a link to a file that is not there"):
        find_images(folder / "b.nii.gz")


def test_a_series_beside_other_images_is_found_as_well(folder, capsys):
    """And 2D images beside its slices are named."""
    write_series(folder, hounsfield((4, 3, 2)))
    write_series(folder / "deeper", hounsfield((4, 3, 2)))
    Image.new("L", (4, 3)).save(folder / "preview.png")
    assert find_images(folder) == sorted(
        map(str, (folder, folder / "a.nii.gz", folder / "c.nii.gz", folder / "deeper"))
    )
    assert "preview.png, beside the slices of a volume" in capsys.readouterr().err


@pytest.mark.parametrize(("write", "kind"), [(structure_set, "RTSTRUCT"), (write_segmentation, "SEG"), (directory, "")])
def test_dicom_that_is_no_image_is_named_and_passed_over(folder, capsys, write, kind):
    """A structure set, a segmentation, the index of a disc."""
    write(folder / "OTHER")
    write_series(folder / "S1", hounsfield((4, 3, 2)))
    assert names(folder) == ["S1", "a.nii.gz", "c.nii.gz"]
    assert f"OTHER, DICOM of the kind {kind}" in capsys.readouterr().err


def test_a_folder_without_images_says_what_was_passed_over(tmp_path):
    structure_set(tmp_path / "RS.dcm")
    with pytest.raises(FileNotFoundError, match=r"holds no image .*passed over: .*RS\.dcm, DICOM of the kind RTSTRUCT"):
        find_images(tmp_path)


def test_a_folder_without_an_image_is_named(folder, capsys):
    """Its slices may all be empty."""
    (folder / "S1").mkdir()
    (folder / "S1" / "IM1").touch()
    assert names(folder) == ["a.nii.gz", "c.nii.gz"]
    assert "S1, a folder without an image" in capsys.readouterr().err


# Names of results


def test_two_sources_of_one_result_are_told_before_the_work(folder):
    (folder / "a.mha").touch()
    assert len(plan_results(find_images(folder), folder / "out")) == 3
    with pytest.raises(ImageError, match=r"a\.mha' and '.*a\.nii\.gz' would both give '.*a_translated\.nii'; rename"):
        plan_results(find_images(folder), folder / "out", output_ext=".nii")


def test_names_in_folders_of_their_own_are_no_clash(tmp_path):
    for patient in ("p1", "p2"):
        (tmp_path / patient).mkdir()
        (tmp_path / patient / "x.png").touch()
    images = [str(tmp_path / patient / "x.png") for patient in ("p1", "p2")]
    assert len(set(plan_results(images, tmp_path / "out", root=tmp_path).values())) == 2
    with pytest.raises(ImageError, match="would both give"):
        plan_results(images, tmp_path / "out")


@pytest.mark.parametrize("name", ["a.nii.gz", "a.nii", "a.mha", "a.nrrd", "a.mgz", "a.png", "a.tif"])
def test_a_result_over_its_source_is_told_before_the_work(tmp_path, name):
    (tmp_path / name).touch()
    with pytest.raises(FileExistsError, match=rf"{name}' is the source itself; take another output_postfix"):
        plan_results([str(tmp_path / name)], tmp_path, "")


def test_a_result_over_another_source_is_told_before_the_work(tmp_path):
    for name in ("a.nii", "a_translated.nii"):
        (tmp_path / name).touch()
    with pytest.raises(FileExistsError, match=r"a_translated\.nii' is the source itself"):
        plan_results([str(tmp_path / "a.nii"), str(tmp_path / "a_translated.nii")], tmp_path)


def test_a_series_over_itself_is_told_before_the_work(tmp_path):
    write_series(tmp_path / "ct", hounsfield((4, 3, 2)))
    with pytest.raises(FileExistsError, match="is the source itself"):
        plan_results([str(tmp_path / "ct")], tmp_path, "")


@pytest.mark.parametrize("output_ext", ["nii.gz", ".dat", ".jpx"])
def test_a_format_that_is_not_written_is_told(tmp_path, output_ext):
    with pytest.raises(
        ImageError, match=rf"output_ext '{output_ext}' is not a format that can be written; take one of"
    ):
        result_path(tmp_path / "a.nii", tmp_path, output_ext=output_ext)


@pytest.mark.parametrize("output_ext, written", [(".jpg", ".png"), (".JPEG", ".png"), (".mhd", ".mha")])
def test_a_format_that_is_only_read_is_told_before_anything_is_written(tmp_path, output_ext, written):
    for ask in (partial(plan_results, [tmp_path / "a.png"]), partial(result_path, tmp_path / "a.png")):
        with pytest.raises(ImageError, match=rf"output_ext '{output_ext}' cannot be written; take '{written}' or"):
            ask(tmp_path / "out", output_ext=output_ext)
    assert not (tmp_path / "out").exists()
