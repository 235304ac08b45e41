"""Whole or not at all: a file or folder that cannot be written leaves nothing, and one line says why."""

import errno
import os
import re
import shutil
import subprocess
import sys
from collections import namedtuple
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser
from monai.transforms import Compose, Invertd, Orientationd

from bundle.images import find_images
from bundle.images.readback import check_itk, check_mgz, check_nifti, check_tail
from bundle.runtime import files
from bundle.runtime.errors import last_line
from bundle.runtime.files import NotWrittenError, atomic, check_space
from bundle.transforms import FinishImaged, LoadImageOrSeriesd, PrepareImaged, SaveImageAsSourced
from tests.dicom_series import write_series
from tests.processes import ran
from tests.results import results_in
from tests.xray_files import write_xray

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

ROOT = Path(__file__).parents[2]
#: Noise, which no format makes smaller than half; a slice is larger than `LIMIT`.
SHAPE = (160, 150, 4)
#: Options of a command that has to take it for a CT.
NOISE = ["--check_input", "off"]
#: Bytes that a file may have, and that a disk has.
LIMIT, DISK = 16 * 2**10, 64 * 2**10
Usage = namedtuple("Usage", "total used free")

IN_MEMORY = [".nii", ".nii.gz", ".mha", ".nrrd", ".mgz", ".ome.zarr", ".png", ".tif", "series", "xray"]
STREAMED = [".nii", ".nii.gz", ".mha", ".nrrd", ".mgz", ".ome.zarr", "series"]
needs_zarr = pytest.mark.skipif(sys.version_info < (3, 11), reason="zarr 3 needs Python 3.11")


def marked(forms):
    return [pytest.param(form, marks=needs_zarr) if form == ".ome.zarr" else form for form in forms]


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """A volume, a series, a photo and an X-ray of noise."""
    folder = tmp_path_factory.mktemp("sources")
    noise = np.random.default_rng(0).integers(-1000, 1000, SHAPE, dtype=np.int16)
    nibabel.Nifti1Image(noise, np.eye(4)).to_filename(folder / "scan.nii")
    write_series(folder / "series", noise)
    levels = np.random.default_rng(0).integers(0, 65536, (300, 200), dtype=np.uint16)
    write_xray(folder / "xray.dcm", levels, bits=16)
    return folder


def source_of(sources, form):
    names = {"series": "series", **dict.fromkeys(("xray", ".png", ".tif"), "xray.dcm")}
    return sources / names.get(form, "scan.nii")


def in_memory(sources, form, folder):
    """What saves an image of a format that was made in memory."""
    image = LoadImageOrSeriesd("image", ensure_channel_first=True)({"image": str(source_of(sources, form))})["image"]
    save = SaveImageAsSourced("pred", folder, output_ext=form if form.startswith(".") else "")
    return partial(save, {"pred": image})


def streamed(sources, form, folder, scratch):
    """The same of an image on disk."""
    path = str(source_of(sources, form))
    image = PrepareImaged("image", OPENING, True, scratch)({"image": path})["image"]
    result = image.sibling("result_0", image.shape[2:], (64, 64, 4))
    result[..., slice(0, SHAPE[0]), slice(0, SHAPE[1]), slice(0, SHAPE[2])] = image[
        ..., slice(0, SHAPE[0]), slice(0, SHAPE[1]), slice(0, SHAPE[2])
    ]
    save = SaveImageAsSourced("pred", folder, output_ext=form if form.startswith(".") else "")
    restoring = Invertd("pred", OPENING, "image", nearest_interp=False)
    return partial(FinishImaged("pred", Compose([restoring, save]), OPENING.transforms), {"pred": result})


OPENING = Compose([LoadImageOrSeriesd("image", ensure_channel_first=True), Orientationd("image", "RAS", labels=None)])
WAYS = [("memory", form) for form in IN_MEMORY] + [("streamed", form) for form in STREAMED]


@pytest.fixture(params=WAYS, ids=" ".join)
def saving(request, sources, tmp_path):
    """Every way of writing a result: given a folder, what writes one there, and what it is called."""
    way, form = request.param
    if way == "streamed" or form == ".ome.zarr":
        pytest.importorskip("zarr", minversion="3")

    def prepared(folder):
        return in_memory(sources, form, folder) if way == "memory" else streamed(sources, form, folder, tmp_path / "s")

    return prepared


@pytest.fixture
def small_disk(tmp_path):
    """A folder on a disk that is too small."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if not shutil.which("mount"):
        pytest.skip("a small disk cannot be mounted here: there is no 'mount'.")
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK}", "tmpfs", str(folder)], capture_output=True)
    if done.returncode:
        pytest.skip("a small disk cannot be mounted here: " + done.stderr.decode().strip())
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


@contextmanager
def small_files():
    """No file may be larger than `LIMIT`."""
    if resource is None:
        pytest.skip("this system has no limit on the size of files")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (LIMIT, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def assert_told(error, cause, folder):
    """One line: cause, file, way out."""
    text = str(error)
    assert re.match(cause, text) and "\n" not in text
    assert str(folder) in text and "take another output_dir." in text


# Every format


def test_a_result_is_written_and_nothing_else(saving, tmp_path, capsys):
    saving(tmp_path / "out")()
    (made,) = results_in(tmp_path / "out")
    assert capsys.readouterr().out == f"written: {made}\n"
    assert files.size_of(made) > DISK


def test_a_full_disk_is_told_before_anything_is_written(saving, small_disk, capsys):
    save = saving(small_disk / "out")
    with pytest.raises(NotWrittenError) as told:
        save()
    assert_told(told.value, r"disk full: .* needs at least \d+ bytes, and \d+ bytes are free on its disk", small_disk)
    assert told.value.errno == errno.ENOSPC
    assert "written" not in capsys.readouterr().out
    assert not list(small_disk.glob("out/*"))


@pytest.mark.parametrize("older", [False, True], ids=["new", "over an older one"])
def test_a_disk_that_gets_full_leaves_nothing(saving, small_disk, monkeypatch, capsys, older):
    """As if someone else had filled it meanwhile."""
    save, out = saving(small_disk / "out"), small_disk / "out"
    monkeypatch.setattr(files, "check_space", lambda *_: None)
    if older:
        out.mkdir()
        for end in (".nii", ".nii.gz", ".mha", ".nrrd", ".mgz", ".png", ".tif", ".dcm"):
            name = "xray_translated" if end in (".png", ".tif", ".dcm") else "scan_translated"
            (out / f"{name}{end}").write_bytes(b"older")
    before = sorted(out.glob("*"))
    with pytest.raises(NotWrittenError) as told:
        save()
    assert_told(told.value, "disk full: ", small_disk)
    assert "written" not in capsys.readouterr().out
    assert sorted(out.glob("*")) == before
    assert all(path.read_bytes() == b"older" for path in before)


def test_a_file_that_gets_too_large_leaves_nothing(saving, tmp_path, capsys):
    """Without a mount: the system refuses to write on."""
    save = saving(tmp_path / "out")
    with small_files(), pytest.raises(NotWrittenError) as told:
        save()
    assert_told(told.value, "file larger than allowed|not written: ", tmp_path / "out")
    assert "written:" not in capsys.readouterr().out
    assert not list((tmp_path / "out").iterdir())


def test_the_space_is_asked_for(saving, tmp_path, monkeypatch):
    save = saving(tmp_path / "out")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10**9, 10**9 - 77, 77))
    with pytest.raises(NotWrittenError, match=r"needs at least \d+ bytes, and 77 bytes are free on its disk\. Free"):
        save()
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())


# Before the work


@pytest.mark.parametrize(("form", "needed"), [("", 192000), (".nii.gz", 24000), (".mha", 192000)])
def test_a_result_without_room_is_refused_at_the_start(sources, tmp_path, monkeypatch, form, needed):
    image = {"image": str(sources / "scan.nii")}
    prepare = PrepareImaged("image", OPENING, False, tmp_path / "not" / "yet", output_ext=form)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(0, 0, needed))
    assert prepare(image)["image"].shape == (1, *SHAPE)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(0, 0, needed - 1))
    with pytest.raises(NotWrittenError, match=rf"disk full: .*/not/yet/scan\.nii' needs at least {needed} bytes, and"):
        prepare(image)


def everything(image):
    return image[(..., *(slice(0, side) for side in image.shape[2:]))]


def test_streaming_without_room_is_refused_at_the_start(sources, tmp_path, monkeypatch):
    """Voxels of the file and, before that is written, 256 slices of image and result as float32; what is there counts.

    What is given the whole result at its end needs all of it as float32.
    """
    pytest.importorskip("zarr", minversion="3")
    voxels, path = int(np.prod(SHAPE)), {"image": str(sources / "scan.nii")}
    finishing = FinishImaged("pred", Compose([]))
    for finisher, needed in ((finishing, 10), (None, 8)):
        prepare = PrepareImaged("image", OPENING, True, tmp_path / "out", finishing=finisher, keep=True)
        monkeypatch.setattr(shutil, "disk_usage", lambda _, free=needed * voxels - 1: Usage(0, 0, free))
        with pytest.raises(NotWrittenError, match=rf"disk full: .* needs at least {needed * voxels} bytes"):
            prepare(path)
        assert not (tmp_path / "out").exists()
        monkeypatch.setattr(shutil, "disk_usage", lambda _, free=needed * voxels: Usage(0, 0, free))
        image = prepare(path)["image"]
        everything(image)
        monkeypatch.setattr(shutil, "disk_usage", lambda _, free=(needed - 4) * voxels: Usage(0, 0, free))
        prepare(path)
        shutil.rmtree(tmp_path / "out")


def test_many_slices_need_less_room(tmp_path, monkeypatch):
    """What lies on disk as float32 does not grow with them."""
    pytest.importorskip("zarr", minversion="3")
    path, slices = tmp_path / "scan.nii", 5 * 256
    nibabel.Nifti1Image(np.zeros((4, 3, slices), np.int16), np.eye(4)).to_filename(path)
    prepare = PrepareImaged("image", OPENING, True, tmp_path / "out", finishing=FinishImaged("pred", Compose([])))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(0, 0, 1))
    with pytest.raises(NotWrittenError, match=rf"needs at least {12 * (2 * slices + max(2 * slices, 8 * 256))} bytes"):
        prepare({"image": str(path)})


def test_a_disk_that_gets_full_while_streaming_is_told(sources, small_disk, monkeypatch):
    """What is done so far stays, so that the run resumes when there is room."""
    pytest.importorskip("zarr", minversion="3")
    monkeypatch.setattr(PrepareImaged, "check_space", lambda *_: None)
    image = PrepareImaged("image", OPENING, True, small_disk)({"image": str(sources / "scan.nii")})["image"]
    with pytest.raises(NotWrittenError, match=r"disk full: '.*/\.part_scan_\w+' .* bytes are free"):
        everything(image)
    assert all(path.name.startswith(".part_scan_") for path in small_disk.iterdir())


# The writer itself


def test_a_block_that_fails_leaves_what_was_there(tmp_path):
    for error in (ValueError("wrong"), KeyboardInterrupt(), RuntimeError("no"), FileExistsError("there")):
        with pytest.raises(type(error)) as told, atomic(tmp_path / "a.txt") as part:
            part.write_text("half")
            raise error
        assert told.value is error
        assert not list(tmp_path.iterdir())
    with atomic(tmp_path / "a.txt") as part:
        part.write_text("whole")
        assert not (tmp_path / "a.txt").exists()
    with pytest.raises(ValueError, match="wrong"), atomic(tmp_path / "a.txt") as part:
        part.write_text("half")
        raise ValueError("wrong")
    assert (tmp_path / "a.txt").read_text() == "whole"
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_a_folder_takes_the_place_of_an_older_one(tmp_path):
    for name in ("first", "second"):
        with atomic(tmp_path / "deep" / "folder") as part:
            part.mkdir()
            (part / name).write_text(name)
    assert [path.name for path in (tmp_path / "deep").rglob("*")] == ["folder", "second"]


def test_a_file_does_not_take_the_place_of_a_folder(tmp_path):
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "own.txt").touch()
    with pytest.raises(FileExistsError, match="is a folder"), atomic(tmp_path / "there") as part:
        part.touch()
    (tmp_path / "file").touch()
    with pytest.raises(FileExistsError, match="is a file"), atomic(tmp_path / "file") as part:
        part.mkdir()
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["file", "own.txt", "there"]


@pytest.mark.parametrize("what", ["fsync", "verify", "rename", "nothing"])
def test_whatever_fails_is_told(tmp_path, monkeypatch, what):
    def fails(*_, **__):
        raise OSError(errno.EIO, "Input/output error")

    def write():
        with atomic(tmp_path / "a.txt", verify=fails if what == "verify" else None) as part:
            if what != "nothing":
                part.write_text("whole")
            if what == "fsync":
                monkeypatch.setattr(os, "fsync", fails)
            if what == "rename":
                monkeypatch.setattr(Path, "replace", fails)

    with pytest.raises(NotWrittenError, match=r"^not written: '.*a\.txt': .*(Input/output|No such file)") as told:
        write()
    monkeypatch.undo()
    assert told.value.errno in (errno.EIO, errno.ENOENT)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("code", "cause"), [(errno.ENOSPC, "disk full"), (errno.EDQUOT, "disk quota used up"), (errno.EFBIG, "file larger")]
)
def test_a_full_disk_has_several_names(tmp_path, code, cause):
    with pytest.raises(NotWrittenError, match=f"^{cause}.*a.txt.* bytes are free") as told, atomic(tmp_path / "a.txt"):
        raise OSError(code, "")
    assert told.value.errno == code


def test_an_error_without_a_number_on_a_full_disk_is_told(tmp_path, monkeypatch):
    """As ITK's are: what is free is less than what is missing."""

    def write():
        with atomic(tmp_path / "a.txt", needed=100) as part:
            part.write_bytes(bytes(50))
            monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(0, 0, 3))
            raise RuntimeError("could not write")

    with pytest.raises(NotWrittenError, match=r"^disk full: .* needs at least 100 bytes, and 3 bytes"):
        write()


def test_space_is_asked_of_the_nearest_folder(tmp_path):
    check_space(tmp_path / "not" / "yet" / "there.nii", 1)
    with pytest.raises(NotWrittenError, match=r"there\.nii' needs at least 1000000000000000 bytes"):
        check_space(tmp_path / "not" / "yet" / "there.nii", 10**15)


def test_what_a_killed_run_has_left_is_no_image(sources, tmp_path):
    with atomic(tmp_path / "xray.dcm") as part:
        shutil.copy(sources / "xray.dcm", part)
        shutil.copytree(part.parent, tmp_path / f"{part.parent.name}_left")
    assert find_images(tmp_path) == [str(tmp_path / "xray.dcm")]


# Reading back


@pytest.mark.parametrize("end", [".nii", ".nii.gz", ".mha", ".nrrd", ".mgz"])
def test_a_file_that_is_cut_short_is_not_whole(sources, tmp_path, end):
    """By a byte, by half, or of another shape or type."""
    in_memory(sources, end, tmp_path)()
    (path,) = tmp_path.iterdir()
    check = {".nii": check_nifti, ".nii.gz": check_nifti, ".mgz": check_mgz}.get(end, check_itk)
    check(path, SHAPE, np.int16)
    for shape, kind in (((160, 150, 5), np.int16), (SHAPE, np.float32)):
        with pytest.raises(OSError, match="read back"):
            check(path, shape, kind)
    whole = path.read_bytes()
    for kept in (len(whole) - 1, len(whole) // 2, 100, 0):
        path.write_bytes(whole[:kept])
        with pytest.raises((OSError, nibabel.wrapstruct.WrapStructError, EOFError)):
            check(path, SHAPE, np.int16)


def test_a_nifti_2_is_known_by_the_size_of_its_header(tmp_path):
    """Which a result has if an axis is longer than 16 bits count."""
    nibabel.Nifti2Image(np.ones((3, 4, 5), np.int16), np.eye(4)).to_filename(tmp_path / "a.nii")
    check_nifti(tmp_path / "a.nii", (3, 4, 5), np.int16)
    with pytest.raises(OSError, match="read back"):
        check_nifti(tmp_path / "a.nii", (3, 4, 6), np.int16)


def test_the_end_of_a_file_is_compared(tmp_path):
    (tmp_path / "a").write_bytes(b"header1234")
    check_tail(tmp_path / "a", b"1234")
    for tail in (b"1235", b"12345", b"x" * 100):
        with pytest.raises(OSError, match="read back"):
            check_tail(tmp_path / "a", tail)


# The last line


def test_the_last_line_is_the_cause():
    """What MONAI puts around an error is taken off; what our own errors were made from is not."""

    def fails(_):
        try:
            raise RuntimeError("itk:\n something")
        except RuntimeError as error:
            raise ValueError("image 'a.nii' cannot\nbe read") from error

    with pytest.raises(RuntimeError, match="applying transform") as told:
        Compose([Compose([fails])])(torch.zeros(1))
    assert last_line(told.value) == "error: image 'a.nii' cannot be read"
    assert last_line(KeyError()) == "error: KeyError"


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("$x", "name 'x' is not defined"),
        ("$5 mm", "invalid syntax (<unknown>, line 1)"),
        ("$@a['b'] + 1", "list indices must be integers or slices, not str"),
    ],
)
def test_an_expression_that_is_wrong_is_told_with_its_key(text, cause):
    with pytest.raises(Exception) as told:
        ConfigParser({"a": [], "own": {"postfix": text}, "b": "@own"}).get_parsed_content("b")
    assert last_line(told.value) == (
        f"error: own#postfix {text!r} is an expression, as it begins with $, and cannot be evaluated: {cause}; correct "
        "it, or the keys in it, or begin a text with another sign."
    )


def test_what_an_expression_calls_has_errors_of_its_own():
    with pytest.raises(Exception) as told:
        ConfigParser({"a": "$__import__('bundle.runtime').runtime.parse_bytes('7 miles')"}).get_parsed_content("a")
    assert last_line(told.value).startswith("error: memory size '7 miles' ")


CODE = """
from bundle.runtime.errors import end_in_one_line
end_in_one_line(); end_in_one_line()
try:
    raise OSError("disk full: 'a.nii'")
except OSError as error:
    raise RuntimeError("Failed to evaluate x") from error
"""


def test_the_last_line_comes_last():
    done = subprocess.run([sys.executable, "-c", CODE], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1
    note, *_, last = done.stderr.splitlines()
    path = Path(note.removeprefix("traceback: "))
    assert path.read_text().startswith("Traceback")
    path.unlink()
    assert last == "error: disk full: 'a.nii'"
    asked = {**os.environ, "MONAI_DEBUG": "true"}
    done = subprocess.run([sys.executable, "-c", CODE], cwd=ROOT, capture_output=True, text=True, env=asked)
    assert "Traceback" in done.stderr
    assert [line for line in done.stderr.splitlines() if line.startswith("error:")] == ["error: disk full: 'a.nii'"]
    assert done.stderr.splitlines()[-1] == "error: disk full: 'a.nii'"


@pytest.mark.slow
@pytest.mark.parametrize("streaming", [False, True], ids=["in memory", "streamed"])
@pytest.mark.parametrize("what", ["disk", "limit", "input"])
def test_the_command_ends_with_status_1_and_one_line(sources, tmp_path, request, streaming, what):
    """A disk that is too small, a limit on the size of files, an image that is none."""
    if streaming:
        pytest.importorskip("zarr", minversion="3")
    out = request.getfixturevalue("small_disk") if what == "disk" else tmp_path / "out"
    given = sources / ("none.nii" if what == "input" else "scan.nii")
    command = ["-m", "monai.bundle", "run", "inference", "--config_file", "configs/inference.json"]
    command += ["--dataset_dir", str(given), "--output_dir", str(out), "--streaming", str(streaming)]
    command += ["--tile_size", "64", "--match_kernel", "False", "--memory_budget", "1GiB", *NOISE]

    def limited():
        resource.setrlimit(resource.RLIMIT_FSIZE, (2**17, 2**17))

    if what == "limit" and resource is None:
        pytest.skip("this system has no limit on the size of files")
    if what == "limit":
        python = [sys.executable, *command]
        done = subprocess.run(python, cwd=ROOT, capture_output=True, text=True, preexec_fn=limited)
    else:
        done = ran(*command)
    last = done.stderr.splitlines()[-1]
    assert done.returncode == 1
    assert "written:" not in done.stdout
    if what == "input":
        assert re.match(r"error: dataset_dir '.*none\.nii' does not exist; give", last)
    else:
        cause = "disk full" if what == "disk" else "file larger than allowed"
        assert re.match(rf"error: {cause}.*'{re.escape(str(out))}/.*scan.*bytes are free .*output_dir\.$", last)
        assert not [path for path in out.glob("*") if not (streaming and path.name.startswith(".part_scan_"))]


@pytest.mark.slow
def test_a_damaged_image_does_not_end_the_others(sources, tmp_path):
    """It is named at the end, with status 1; a misspelt key ends the run before anything is read."""
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    for name in ("a", "c"):
        shutil.copy(sources / "scan.nii", folder / f"{name}.nii")
    (folder / "b.nii").write_bytes(b"damaged" * 99)
    command = ["-m", "monai.bundle", "run", "inference", "--config_file", "configs/inference.json"]
    command += ["--dataset_dir", str(folder), "--output_dir", str(out), "--match_kernel", "False", "--tile_size", "64"]
    command += NOISE
    done = ran(*command, "--tile_sise", "32")
    assert done.returncode == 1
    assert "did you mean --tile_size?" in done.stderr.splitlines()[-1]
    assert not out.exists()
    done = ran(*command)
    assert done.returncode == 1
    *_, failed, last = done.stderr.splitlines()
    assert re.match(r"failed: image '.*b\.nii' cannot be read", failed)
    assert last == "error: 1 of 3 images failed, see the lines above; the other 2 are done."
    assert [path.name for path in results_in(out)] == ["a_translated.nii", "c_translated.nii"]
