"""What a path stands for: a zip, a file of a series, a tree of folders, a pattern, a list; and the names of results."""

import shutil
import zipfile
from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image

from bundle.images import ImageError, find_images, find_sources, open_image, plan_results, series_files
from bundle.runtime.origins import origin_of
from tests.dicom_series import dataset, hounsfield, write_segmentation, write_series
from tests.xray_files import levels, write_xray

VOLUME = hounsfield((4, 3, 2))


def nifti(*paths):
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        nibabel.Nifti1Image(np.zeros((3, 3, 3), np.int16), np.eye(4)).to_filename(path.absolute())


def scout(header, **_):
    header.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]


def packed(folder, path):
    """A zip of a folder, which is removed."""
    with zipfile.ZipFile(path, "w") as file:
        for entry in sorted(entry for entry in folder.rglob("*") if entry.is_file()):
            file.write(entry, entry.relative_to(folder))
    shutil.rmtree(folder)
    return path


def found(path, out, **keys):
    """The results that a path gives, by image, as they are below the folder of results."""
    sources = find_sources(path, folder=out, **keys)
    results = plan_results(sources["images"], out, root=sources["root"], series_uid=sources["series_uid"])
    named = {str(origin_of(image)): str(result.relative_to(out)) for image, result in results.items()}
    sources.close()
    return named


# A file of a series


def test_a_file_of_a_series_stands_for_the_series(tmp_path, capsys):
    folder = tmp_path / "ct"
    file = write_series(folder, VOLUME)[1]
    assert found(file, tmp_path / "out") == found(folder, tmp_path / "out") == {str(folder): "ct_translated"}
    assert f"note: {file} is one of 2 slices of the series 1.2.3.4, which is taken whole" in capsys.readouterr().err
    assert find_images(file) == [str(folder)]


def test_in_a_folder_of_several_series_its_own_is_taken(tmp_path):
    write_series(tmp_path, VOLUME)
    file = write_series(tmp_path, VOLUME, series="1.2.3.5")[0]
    write_series(tmp_path, VOLUME, series="1.2.3.6", edit=scout)
    sources = find_sources(file)
    assert sources["images"] == [str(tmp_path)] and sources["series_uid"] == "1.2.3.5"
    assert find_sources(file, series_uid="1.2.3.5") == sources
    with pytest.raises(ImageError, match=r"is of the series 1\.2\.3\.5, and series_uid is '1\.2\.3\.4'; leave out one"):
        find_sources(file, series_uid="1.2.3.4")
    with pytest.raises(ImageError, match=r"^dataset_dir .* is a file of a folder with several series"):
        find_images(file)
    with pytest.raises(ImageError, match=r"^target .* is a file of a folder with several series"):
        find_images(file, key="target")
    with pytest.raises(FileNotFoundError, match=r"^target '.*target x' does not exist; give an image"):
        find_sources(tmp_path / "dataset_dir" / "target x", key="target")
    with pytest.raises(FileNotFoundError, match=r"^target '.*z\*' does not exist, and as a pattern"):
        find_sources(str(tmp_path / "z*"), key="target")
    with pytest.raises(ImageError, match=r"one of several in .*; of such a folder one series is translated at a time"):
        find_sources(str(tmp_path / "*"))


def test_a_series_cannot_be_chosen_where_there_is_none(tmp_path):
    nifti(tmp_path / "a.nii")
    for path in (tmp_path / "a.nii", tmp_path):
        with pytest.raises(ImageError, match=r"^dataset_dir '.*' holds no DICOM series, of which series_uid"):
            find_sources(path, series_uid="1.2")
    write_series(tmp_path / "series", hounsfield())
    assert len(find_sources(tmp_path, series_uid="1.2.3.4")["images"]) == 2


def test_a_slice_alone_a_scout_and_an_xray_stay_files(tmp_path):
    files = [
        *write_series(tmp_path / "one", VOLUME[..., :1]),
        *write_series(tmp_path / "scout", VOLUME, edit=scout),
        write_xray(tmp_path / "xray" / "a.dcm", levels(12)),
        write_xray(tmp_path / "xray" / "IM2", levels(12)),
    ]
    assert [find_images(file) for file in files] == [[str(file)] for file in files]


def test_a_broken_file_beside_it_is_told(tmp_path):
    """When the series is opened, as if its folder had been given."""
    file = write_series(tmp_path, VOLUME)[0]
    write_series(tmp_path, VOLUME, series="1.2.3.5")
    (tmp_path / "IM9").touch()
    sources = find_sources(file)
    assert sources["series_uid"] == "1.2.3.4"
    with pytest.raises(ImageError, match=r"IM9' is empty"):
        series_files(*sources["images"], sources["series_uid"])


# Folders of folders


@pytest.fixture
def patients(tmp_path):
    """Two of them, in folders of several depths."""
    top = tmp_path / "patients"
    for name in ("p1", "p2"):
        write_series(top / name / "2020" / "ct", VOLUME)
        nifti(top / name / "brain.nii.gz")
    nifti(top / "a.nii.gz")
    return top


def test_a_tree_is_read_to_its_depth_and_keeps_its_structure(patients, tmp_path):
    assert found(patients, tmp_path / "out", recursive=True) == {
        str(patients / "a.nii.gz"): "a_translated.nii.gz",
        str(patients / "p1/2020/ct"): "p1/2020/ct_translated",
        str(patients / "p1/brain.nii.gz"): "p1/brain_translated.nii.gz",
        str(patients / "p2/2020/ct"): "p2/2020/ct_translated",
        str(patients / "p2/brain.nii.gz"): "p2/brain_translated.nii.gz",
    }


def test_without_the_key_one_level_is_read_and_the_rest_is_told(patients, capsys):
    assert find_images(patients) == [str(patients / "a.nii.gz")]
    told = capsys.readouterr().err
    assert f"{patients / 'p1'}, the folders in it, which recursive True takes" in told
    assert f"{patients / 'p2'}, 1 images in it that are not DICOM, which recursive True takes" in told


def test_links_lead_to_no_loop_and_each_folder_is_read_once(patients, tmp_path, capsys):
    """At its own place, not at that of a link, whatever comes first by its name."""
    (patients / "p1" / "loop").symlink_to(patients, target_is_directory=True)
    (patients / "p1" / "up").symlink_to(tmp_path, target_is_directory=True)
    (patients / "0").symlink_to(patients / "p2", target_is_directory=True)
    nifti(tmp_path / "elsewhere" / "x.nii")
    (patients / "1").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    (tmp_path / "elsewhere" / "back").symlink_to(patients, target_is_directory=True)
    images = find_images(patients, recursive=True)
    names = ("1/x.nii", "a.nii.gz", "p1/2020/ct", "p1/brain.nii.gz", "p2/2020/ct", "p2/brain.nii.gz")
    assert images == [str(patients / name) for name in names]
    told = capsys.readouterr().err
    assert all(f"{patients / name}, a link to a folder that it lies in" in told for name in ("p1/loop", "p1/up"))
    assert all(f"{patients / name}, a link to a folder that is read already" in told for name in ("0", "1/back"))


def test_hidden_folders_and_the_results_are_passed_over_at_any_depth(patients, capsys):
    nifti(patients / "p1" / ".git" / "x.nii", patients / "p1" / "out" / "brain_translated.nii.gz")
    (patients / "p2" / ".part_0123").mkdir()
    sources = find_sources(patients, recursive=True, folder=patients / "p1" / "out")
    assert len(sources["images"]) == 5
    told = capsys.readouterr().err
    assert f"{patients / 'p1' / '.git'}, a hidden folder" in told and ".part_0123" not in told
    assert f"{patients / 'p1' / 'out'}, the folder of the results" in told


def test_what_holds_no_image_at_any_depth_is_told(patients, capsys):
    for name in ("p1/2020/notes", "p2/deep/er/notes"):
        (patients / name).mkdir(parents=True)
        (patients / name / "report.txt").write_text("nothing")
    write_series(patients / "p1" / "scout", VOLUME, edit=scout)
    nifti(patients / "p1" / "2020" / "zip" / "x.nii")
    packed(patients / "p1" / "2020" / "zip", patients / "p1" / "more.zip")
    assert len(find_images(patients, recursive=True)) == 5
    told = capsys.readouterr().err
    assert all(
        f"{patients / name}, a folder without an image" in told for name in ("p1/2020/notes", "p2/deep/er/notes")
    )
    assert told.count("a localizer, which is not a volume") == 2
    assert "more.zip, a zip in a folder; give it itself, or by a pattern" in told


def test_two_results_of_one_name_are_refused(patients, tmp_path):
    nifti(patients / "p1" / "brain.nii")
    sources = find_sources(patients, recursive=True)
    with pytest.raises(ImageError, match=r"brain\.nii' and .*brain\.nii\.gz' would both give"):
        plan_results(sources["images"], tmp_path / "out", output_ext=".nii", root=sources["root"])


# Patterns


def test_a_pattern_finds_files_and_keeps_the_folders_below_what_is_fixed(patients, tmp_path):
    out = tmp_path / "out"
    assert found(str(patients / "*.nii.gz"), out) == {str(patients / "a.nii.gz"): "a_translated.nii.gz"}
    both = {str(patients / f"p{n}" / "brain.nii.gz"): f"p{n}/brain_translated.nii.gz" for n in (1, 2)}
    assert found(str(patients / "p[0-9]" / "b*"), out) == both
    assert found(str(patients / "**" / "brain.nii.gz"), out) == both
    assert found(str(patients / "p?" / "2020"), out) == {
        str(patients / f"p{n}" / "2020" / "ct"): f"p{n}/2020/ct_translated" for n in (1, 2)
    }


def test_a_pattern_of_slices_finds_their_series_once(patients, tmp_path, capsys):
    pattern = str(patients / "p1" / "2020" / "ct" / "*")
    assert found(pattern, tmp_path / "out") == {str(patients / "p1" / "2020" / "ct"): "ct_translated"}
    assert capsys.readouterr().err.count("is one of 2 slices") == 1
    assert len(find_images(str(patients / "*" / "*" / "*" / "*"))) == 2


def test_what_a_pattern_finds_that_is_no_image_is_told(patients, capsys):
    (patients / "notes.txt").write_text("nothing")
    (patients / "broken.nii").symlink_to("/nowhere")
    (patients / "empty").mkdir()
    nifti(patients / ".hidden.nii.gz")
    assert find_images(str(patients / "[abne]*")) == [str(patients / "a.nii.gz")]
    told = capsys.readouterr().err
    for line in (
        "notes.txt' is not an image",
        "broken.nii' is a link to a file that is not",
        "empty, without an image",
    ):
        assert line in told


def test_a_name_that_exists_is_no_pattern(tmp_path):
    names = ["[a].nii", "a*.nii", "?.nii", "a.nii", "ab.nii"]
    nifti(*(tmp_path / "[s]" / name for name in names), tmp_path / "s" / "other.nii")
    for name in names:
        assert find_images(str(tmp_path / "[s]" / name)) == [str(tmp_path / "[s]" / name)]
    assert find_images(str(tmp_path / "[s]" / "ab*")) == [str(tmp_path / "[s]" / "ab.nii")]


@pytest.mark.parametrize("name", ["*.mha", "p9*/x", "nowhere/*.nii", "a**b"])
def test_a_pattern_that_finds_nothing_is_told(patients, name):
    rule = r"as a pattern it finds nothing in .*; check it|is not a pattern: "
    with pytest.raises((FileNotFoundError, ValueError), match=rule) as error:
        find_images(str(patients / name))
    assert str(patients / name) in str(error.value) and "\n" not in str(error.value)


def test_several_paths_are_taken_and_named_from_their_common_folder(patients, tmp_path):
    given = [str(patients / "p1" / "brain.nii.gz"), str(patients / "p2" / "b*"), str(patients / "p1" / "2020")]
    assert found(given, tmp_path / "out") == {
        str(patients / "p1" / "brain.nii.gz"): "p1/brain_translated.nii.gz",
        str(patients / "p2" / "brain.nii.gz"): "p2/brain_translated.nii.gz",
        str(patients / "p1" / "2020" / "ct"): "p1/2020/ct_translated",
    }
    with pytest.raises(FileNotFoundError, match=r"nowhere\.nii' does not exist"):
        find_images([given[0], "nowhere.nii"])


def test_no_result_leads_out_of_its_folder(patients, tmp_path, monkeypatch):
    """Nor with paths that go up."""
    monkeypatch.chdir(patients / "p1")
    nifti(tmp_path / "x.nii")
    results = found(["../a.nii.gz", "brain.nii.gz", "../../x.nii"], tmp_path / "out")
    assert sorted(results.values()) == [
        "patients/a_translated.nii.gz", "patients/p1/brain_translated.nii.gz", "x_translated.nii",
    ]  # fmt: skip


# Zips


@pytest.fixture
def disc(tmp_path):
    """What an archive exports: one folder with two series, a scout, a segmentation, a picture of a report; and more."""
    flat = tmp_path / "disc" / "DICOM"
    write_series(flat, VOLUME)
    write_series(flat, VOLUME, series="1.2.3.5")
    write_series(flat, VOLUME[..., :1], series="1.2.3.6", edit=scout)
    write_segmentation(flat / "SEG")
    write_xray(tmp_path / "disc" / "SC" / "REPORT", levels(12))
    Image.new("L", (4, 3)).save(tmp_path / "disc" / "logo.png")
    nifti(tmp_path / "disc" / "extra.nii")
    write_series(tmp_path / "disc" / "other", VOLUME, series="1.2.3.7")
    return packed(tmp_path / "disc", tmp_path / "disc.zip")


def test_each_series_of_a_zip_is_found_at_its_place(disc, tmp_path, capsys):
    out = tmp_path / "out"
    assert found(disc, out) == {
        f"{disc}/DICOM/1.2.3.4": "DICOM/1.2.3.4_translated",
        f"{disc}/DICOM/1.2.3.5": "DICOM/1.2.3.5_translated",
        f"{disc}/extra.nii": "extra_translated.nii",
        f"{disc}/other": "other_translated",
    }
    told = capsys.readouterr().err
    for line in ("SC/REPORT, a 2D image beside volumes", "logo.png, a 2D image beside", "SEG, DICOM of the kind SEG"):
        assert f"passed over: {disc}/" in told and line in told
    assert "a localizer, which is not a volume" in told and ".part" not in told
    assert not list(out.iterdir())


def test_of_a_zip_one_series_can_be_taken(disc, tmp_path, capsys):
    assert found(disc, tmp_path / "out", series_uid="1.2.3.5") == {
        f"{disc}/DICOM/1.2.3.5": "DICOM/1.2.3.5_translated",
        f"{disc}/extra.nii": "extra_translated.nii",
    }
    assert f"passed over: {disc}/other, of another series than series_uid" in capsys.readouterr().err


def test_a_folder_of_a_zip_that_cannot_be_told_apart_stays(tmp_path):
    """Opening it tells why, as it may hold the series."""
    write_series(tmp_path / "disc" / "good", VOLUME, series="1.2.3.5")
    for series in ("1.2.3.6", "1.2.3.7"):
        write_series(tmp_path / "disc" / "bad", VOLUME, series=series)
    (tmp_path / "disc" / "bad" / "cut.dcm").touch()
    disc = packed(tmp_path / "disc", tmp_path / "disc.zip")
    sources = find_sources(disc, series_uid="1.2.3.5", folder=tmp_path / "out")
    bad, good = sorted(sources["images"])
    assert [str(origin_of(image)) for image in (bad, good)] == [f"{disc}/bad", f"{disc}/good"]
    with pytest.raises(ImageError, match=r"cut\.dcm"):
        open_image(bad, "1.2.3.6")
    sources.close()


def test_a_series_that_a_zip_has_not_is_told(disc, tmp_path):
    with pytest.raises(ImageError, match=r"disc\.zip' holds no image series with series_uid '1\.2'; leave it out"):
        find_sources(disc, series_uid="1.2", folder=tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())


def test_a_damaged_zip_does_not_end_the_others(disc, tmp_path, capsys):
    """It fails when its turn comes; alone it ends the run."""
    (tmp_path / "broken.zip").write_bytes(disc.read_bytes()[:-99])
    results = found(str(tmp_path / "*.zip"), tmp_path / "out")
    assert len(results) == 5 and str(tmp_path / "broken.zip") in results
    assert f"note: zip '{tmp_path}/broken.zip' is damaged" in capsys.readouterr().err
    with pytest.raises(ImageError, match=r"broken\.zip' is a zip that is not unpacked: it was refused, see above"):
        open_image(tmp_path / "broken.zip")
    with pytest.raises(ImageError, match=r"broken\.zip' is damaged"):
        find_sources(str(tmp_path / "b*.zip"), folder=tmp_path / "out")


def test_a_series_that_fills_a_zip_is_named_as_the_zip(tmp_path):
    write_series(tmp_path / "ct", VOLUME)
    path = packed(tmp_path / "ct", tmp_path / "scan 1.ZIP")
    assert found(path, tmp_path / "out") == {str(path): "scan 1_translated"}


def test_several_zips_keep_apart(tmp_path):
    for name in ("p1", "p2"):
        write_series(tmp_path / name / "ct", VOLUME)
        packed(tmp_path / name, tmp_path / f"{name}.zip")
    assert found(str(tmp_path / "*.zip"), tmp_path / "out") == {
        str(tmp_path / "p1.zip" / "ct"): "p1/ct_translated",
        str(tmp_path / "p2.zip" / "ct"): "p2/ct_translated",
    }


def test_xrays_alone_are_the_images_of_a_zip(tmp_path):
    write_xray(tmp_path / "x" / "a.dcm", levels(12))
    path = packed(tmp_path / "x", tmp_path / "x.zip")
    assert found(path, tmp_path / "out") == {str(path / "a.dcm"): "a_translated.dcm"}


def test_a_zip_with_a_slice_that_may_be_lost_is_not_told_apart(tmp_path, capsys):
    """So that its folder fails, with the reason."""
    write_series(tmp_path / "x" / "ct", VOLUME)
    write_series(tmp_path / "x" / "ct", VOLUME, series="1.2.3.5")
    (tmp_path / "x" / "ct" / "IM9").touch()
    path = packed(tmp_path / "x", tmp_path / "x.zip")
    sources = find_sources(path, folder=tmp_path / "out")
    assert [origin_of(image) for image in sources["images"]] == [path / "ct"]
    assert f"note: {path}/ct is taken as one series: " in capsys.readouterr().err
    with pytest.raises(ImageError, match="has to hold one image series"):
        series_files(*sources["images"])
    with pytest.raises(ImageError, match="IM9' is empty"):
        series_files(*sources["images"], "1.2.3.4")


def test_a_series_uid_of_a_zip_is_no_path(tmp_path):
    """A header's value names no folder, if it is none of digits and dots."""
    for uid in ("../../x", "1.2.3.4"):
        (tmp_path / "x").mkdir(exist_ok=True)
        for number in range(2):
            path = tmp_path / "x" / f"{uid[-1]}{number}"
            header = dataset(path, "1.2.3.4")
            header.Rows, header.Columns, header.PixelSpacing = 2, 2, [1, 1]
            header.ImagePositionPatient, header.ImageOrientationPatient = [0, 0, number], [1, 0, 0, 0, 1, 0]
            header.add_new(0x0020000E, "LO", uid)
            header.save_as(path)
    sources = find_sources(packed(tmp_path / "x", tmp_path / "x.zip"), folder=tmp_path / "out")
    assert [Path(image).name for image in sources["images"]] == ["x"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "x.zip"]


def test_a_zip_without_an_image_is_told_and_nothing_stays(tmp_path):
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "notes.txt").write_text("nothing")
    path = packed(tmp_path / "x", tmp_path / "x.zip")
    with pytest.raises(FileNotFoundError, match=rf"dataset_dir '{path}' holds no image"):
        find_sources(path, folder=tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())


def test_programs_without_a_folder_of_results_find_zips_too(disc, tmp_path, monkeypatch):
    """In the folder for temporary files, until they end."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    kept = []
    monkeypatch.setattr("bundle.images.listing._kept", kept)
    images = find_images(disc)
    assert len(images) == 4 and all(Path(image).is_relative_to(tmp_path / "temporary") for image in images)
    kept.clear()
    assert not list((tmp_path / "temporary").iterdir())


# Names


NAMES = [
    "1001",
    "0001",
    "1e5",
    "a#1",
    "a::b",
    "None",
    "True",
    "1,2",
    "@x",
    "$y",
    "%z",
    "a b",
    "Füße",
    "[a]",
    "~t",
    "-x",
]


@pytest.mark.parametrize("name", NAMES)
def test_any_name_of_file_folder_and_zip_is_right(tmp_path, name, monkeypatch):
    monkeypatch.chdir(tmp_path)
    nifti(Path(name) / f"{name}.nii.gz")
    write_series(Path("z") / name, VOLUME)
    packed(Path("z"), Path(f"{name}.zip"))
    out = Path("out") / name
    for path in (name, f"{name}/{name}.nii.gz", f"{name}/*"):
        assert found(path, out) == {f"{name}/{name}.nii.gz": f"{name}_translated.nii.gz"}
    assert found(f"{name}.zip", out) == {f"{name}.zip/{name}": f"{name}_translated"}
