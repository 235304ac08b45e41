"""The files of one stack of slices are found in a DICOM folder, in order; what is not an upright stack is refused."""

from pathlib import Path

import numpy as np
import pytest

from bundle.images import ImageError, is_series, series_files
from bundle.images.dicom_stack import series_in
from tests.dicom_series import backwards, hounsfield, oblique, write_segmentation, write_series


def gather(folder, *series):
    """Move the files of several series, written one by one, into one folder."""
    folder.mkdir()
    for n, files in enumerate(series):
        for file in files:
            (folder.parent / file).rename(folder / f"{n}_{file[-3:]}")
    return folder


# Order


@pytest.mark.parametrize("affine", [None, oblique()], ids=["straight", "oblique"])
def test_files_follow_the_position(tmp_path, affine):
    """Not the instance number nor the file name says where a slice lies."""
    files = write_series(tmp_path, hounsfield(), affine)
    assert files != sorted(files)
    assert series_files(tmp_path) == files


def test_files_follow_the_direction_across_the_slices(tmp_path):
    """Whatever order the scanner had, rows, columns and slices make a right-handed system."""
    files = write_series(tmp_path, hounsfield(), backwards())
    assert series_files(tmp_path) == files[::-1]


def test_one_slice_is_a_series(tmp_path):
    files = write_series(tmp_path, hounsfield((4, 3, 1)))
    assert series_files(tmp_path) == files


# Which series


def test_what_is_no_slice_is_left_aside(tmp_path):
    files = write_series(tmp_path, hounsfield())
    write_segmentation(tmp_path / "0_segmentation")
    (tmp_path / "notes.txt").write_text("no DICOM")
    (tmp_path / "folder").mkdir()
    assert is_series(tmp_path) and series_files(tmp_path) == files


def test_localizers_and_multi_frame_images_are_left_aside(tmp_path):
    def localizer(header, **_):
        header.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]

    def frames(header, **_):
        header.NumberOfFrames = 2

    files = write_series(tmp_path, hounsfield())
    write_series(tmp_path, hounsfield((9, 8, 2)), oblique(), series="1.2.3.5", edit=localizer)
    write_series(tmp_path, hounsfield((9, 8, 2)), series="1.2.3.6", edit=frames)
    assert series_files(tmp_path) == files


def test_several_series_are_named(tmp_path):
    write_series(tmp_path, hounsfield(), series="1.2.3.4", description="B20f")
    write_series(tmp_path, hounsfield(), series="1.2.3.5", description="B80f")
    with pytest.raises(ValueError, match=r"1\.2\.3\.4 \(B20f\), 5 slices; 1\.2\.3\.5 \(B80f\), 5 .* by series_uid"):
        series_files(tmp_path)


def test_one_of_several_series_is_chosen(tmp_path):
    """Traps of the others do not matter."""
    write_series(tmp_path, hounsfield(), series="1.2.3.4", skip=(2,))
    files = write_series(tmp_path, hounsfield(), series="1.2.3.5")
    assert series_files(tmp_path, "1.2.3.5") == files


def test_what_may_be_a_lost_slice_is_told_where_series_are_told_apart(tmp_path):
    """A folder of one series is looked at when it is opened."""
    (tmp_path / "ct").mkdir()
    files = write_series(tmp_path / "ct", hounsfield())
    (tmp_path / "ct" / "cut.dcm").write_bytes(b"")
    assert {uid: sorted(found) for uid, found in series_in(tmp_path / "ct").items()} == {"1.2.3.4": sorted(files)}
    with pytest.raises(ImageError, match=r"cut\.dcm"):
        series_files(tmp_path / "ct")
    write_series(tmp_path / "other", hounsfield(), series="1.2.3.9")
    for file in sorted((tmp_path / "other").iterdir()):
        file.rename(tmp_path / "ct" / f"other_{file.name}")
    with pytest.raises(ImageError, match=r"cut\.dcm"):
        series_in(tmp_path / "ct")


def test_an_unknown_series_is_named(tmp_path):
    write_series(tmp_path, hounsfield(), series="1.2.3.4")
    with pytest.raises(ValueError, match=r"no image series with series_uid '1\.2\.3'; it holds: 1\.2\.3\.4 \(syn"):
        series_files(tmp_path, "1.2.3")


@pytest.mark.parametrize("series_uid", ["", "1.2.3.4"])
def test_there_has_to_be_a_series(tmp_path, series_uid):
    write_segmentation(tmp_path / "segmentation")
    with pytest.raises(ValueError, match="holds: none"):
        series_files(tmp_path, series_uid)


# Which stack


def test_a_missing_slice_is_noticed(tmp_path):
    """And where it is missing."""
    files = write_series(tmp_path, hounsfield(), oblique(), skip=(2,))
    between = " and ".join(repr(file.rsplit("/", 1)[1]) for file in files[1:3])
    with pytest.raises(ValueError, match=rf"2\.500 to 5\.000 mm apart, the most between {between}.*missing"):
        series_files(tmp_path)


@pytest.mark.parametrize("slices", [1, 3])
def test_time_points_are_noticed(tmp_path, slices):
    """And by what they can be told apart."""

    def times(point):
        def edit(header, **_):
            header.AcquisitionNumber, header.ContentTime = point, f"12000{point}"

        return edit

    points = [write_series(tmp_path / str(n), hounsfield((4, 3, slices)), edit=times(n)) for n in (1, 2)]
    folder = gather(tmp_path / "both", *points)
    told = "AcquisitionNumber: 1, 2; ContentTime: 120001, 120002"
    with pytest.raises(ValueError, match=rf"{2 * slices} slices lie at {slices} positions.*{told}"):
        series_files(folder)


def test_copies_are_noticed(tmp_path):
    copies = [write_series(tmp_path / name, hounsfield(), skip=skip) for name, skip in (("a", ()), ("b", (0, 1, 2, 3)))]
    with pytest.raises(ValueError, match=r"6 slices lie at 5 positions.*copies \(the headers agree\)"):
        series_files(gather(tmp_path / "both", *copies))


@pytest.mark.parametrize(
    ("shape", "affine"),
    [((4, 4, 3), None), ((4, 3, 3), np.diag([2.0, 1, 1, 1])), ((4, 3, 3), oblique())],
    ids=["shape", "spacing", "orientation"],
)
def test_another_grid_is_noticed(tmp_path, shape, affine):
    stack = write_series(tmp_path / "stack", hounsfield((4, 3, 3)), skip=(2,))
    other = write_series(tmp_path / "other", hounsfield(shape), affine, skip=(0, 1))
    with pytest.raises(ValueError, match="differ in shape, pixel spacing or orientation"):
        series_files(gather(tmp_path / "both", stack, other))


def test_a_damaged_value_of_several_lines_is_told_in_one(tmp_path):
    def edit(header, z):
        header.RescaleType = "H\n\x85U" if z == 4 else "HU"

    write_series(tmp_path, hounsfield(), edit=edit)
    with pytest.raises(ImageError, match="RescaleType") as raised:
        series_files(tmp_path)
    assert len(str(raised.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("keyword", "value"), [("FrameOfReferenceUID", "1.2.3.2"), ("RescaleType", "OD"), ("SOPClassUID", "1.2.3.3")]
)
def test_another_space_or_unit_is_noticed(tmp_path, keyword, value):
    """By both values and a file of each; a slice that does not name its own may be one of them."""

    def edit(header, z):
        setattr(header, keyword, value) if z == 4 else None

    files = write_series(tmp_path, hounsfield(), edit=edit)
    with pytest.raises(ValueError, match=rf"the slices differ in {keyword}, .* and {value} in '{files[4][-5:]}'; keep"):
        series_files(tmp_path)
    if keyword != "SOPClassUID":
        files = write_series(tmp_path, hounsfield(), edit=lambda ds, z: delattr(ds, keyword) if z == 4 else None)
        assert series_files(tmp_path) == files


@pytest.mark.parametrize(("tilt", "seen"), [(0.5, False), (12.0, True), (-12.0, True)])
def test_a_gantry_tilt_is_noticed(tmp_path, tilt, seen):
    """Slices shifted by less than half a pixel in all are as good as upright."""

    def shear(header, **_):
        x, y, depth = header.ImagePositionPatient
        header.ImagePositionPatient = [x, y + depth * np.tan(np.deg2rad(tilt)), depth]

    files = write_series(tmp_path, hounsfield(), np.diag([1, 1, 2.5, 1]), edit=shear)
    if not seen:
        assert series_files(tmp_path) == files
        return
    with pytest.raises(ValueError, match=r"shifted in their plane, by 2\.13 mm .* gantry tilt of 12\.0 degrees"):
        series_files(tmp_path)


def test_a_folder_is_sorted_out_anew_when_a_file_of_it_changes(tmp_path):
    """What was found is kept, for a series is named, read and written: three times the same headers."""
    write_series(tmp_path, hounsfield((5, 4, 3)))
    assert series_files(tmp_path) == series_files(tmp_path)
    (tmp_path / "one_more.dcm").write_bytes(b"")
    with pytest.raises(ImageError, match=r"one_more\.dcm.* is empty"):
        series_files(tmp_path)
    (tmp_path / "one_more.dcm").unlink()
    found = series_files(tmp_path)
    Path(found[0]).write_bytes(Path(found[0]).read_bytes()[:300])
    with pytest.raises(ImageError, match="cut short"):
        series_files(tmp_path)
