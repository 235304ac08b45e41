"""What is streamed is what is made in memory, whatever the format, and an interrupted run loses nothing."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import itk
import nibabel
import numpy as np
import pytest
import torch

pytest.importorskip("zarr", minversion="3", reason="streaming needs zarr 3, which needs Python 3.11")

from monai.bundle import ConfigWorkflow
from monai.transforms import Compose, Orientationd
from PIL import Image

from bundle.cascade import SlabFiles
from bundle.cascade.scratch import write_tile
from bundle.examples.phantom import ThoraxPhantom
from bundle.images import Volume, create_image, held, open_image
from bundle.runtime import Job
from bundle.runtime.replace import aside
from bundle.scanner import SHARP, acquire
from bundle.transforms import FinishImaged, LoadImageOrSeriesd, PrepareImaged
from tests.dicom_series import write_series
from tests.images.ways import through
from tests.processes import DYING, nameless, ran, together, torchrun
from tests.results import results_in

ROOT = Path(__file__).parents[2]
SHAPE = (44, 40, 26)
#: Left, up, back: every axis is turned.
TURNED = np.array([[0, 0, -2.5, 30], [-0.8, 0, 0, 20], [0, 0.9, 0, -15], [0, 0, 0, 1]], float)
FORMATS = [".nii", ".nii.gz", ".mha", "_packed.mha", ".mhd", ".nrrd", ".ome.zarr", ".mgz", "dicom"]


@pytest.fixture(scope="module")
def voxels():
    return ThoraxPhantom(SHAPE, seed=1)[...].astype(np.int16)


def scan(folder, form, voxels, affine=TURNED):
    """A file of a format; what a format cannot say of the affine it does not say."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"scan{form}"
    if form == "dicom":
        write_series(folder / "scan", voxels)
        return folder / "scan"
    if form == ".mgz":
        nibabel.MGHImage(voxels, affine).to_filename(path)
    elif form.startswith(".nii"):
        nibabel.Nifti1Image(voxels, affine).to_filename(path)
    elif form == ".ome.zarr":
        with create_image(path, held(voxels, affine), np.int16) as write:
            write(tuple(slice(0, n) for n in SHAPE), voxels)
    else:
        picture = itk.image_from_array(np.ascontiguousarray(voxels.T))
        picture.SetSpacing([0.8, 0.9, 2.5])
        itk.imwrite(picture, str(path), compression=form == "_packed.mha")
    return path


def run_inference(path, folder, **keys):
    """Through configs/inference.json, without matching kernels."""
    keys = {"match_kernel": False, **keys}
    workflow = ConfigWorkflow(
        config_file=str(ROOT / "configs" / "inference.json"),
        workflow_type="infer",
        bundle_root=str(ROOT),
        dataset_dir=str(path),
        output_dir=str(folder),
        **keys,
    )
    workflow.initialize()
    workflow.run()


def translate(path, folder, **keys):
    """Into a new folder, by small tiles; returns what was written."""
    shutil.rmtree(folder, ignore_errors=True)
    run_inference(path, folder, **{"tile_size": 20, "seed": 0, **keys})
    (written,) = results_in(folder)
    return written


def read(path):
    """Voxels in the axes of the file, and the affine."""
    image = open_image(path)
    return image.whole(), image.affine


@pytest.mark.parametrize("form", FORMATS)
def test_any_part_of_a_file_is_that_of_the_whole(tmp_path, voxels, form):
    path = scan(tmp_path, form, voxels)
    opened = open_image(path)
    window = (slice(3, 30), slice(10, 11), slice(5, 25))
    assert tuple(opened.shape) == SHAPE
    assert np.array_equal(np.asarray(opened[window]), voxels[window])
    slab = (slice(0, SHAPE[0]), slice(0, SHAPE[1]), slice(4, 9))
    assert np.array_equal(np.asarray(opened[slab]), voxels[slab])
    assert np.array_equal(np.asarray(opened[(slice(None),) * 3]), voxels)


@pytest.mark.parametrize("place", [0, 7, -1])
def test_a_slice_that_cannot_be_read_is_named(tmp_path, voxels, place):
    file = Path(write_series(tmp_path / "source", voxels)[place])
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(ValueError, match=f"DICOM file .*/{file.name}' is cut short: it holds"):
        read(tmp_path / "source")


@pytest.mark.parametrize("form", FORMATS)
def test_streamed_is_in_memory_for_every_format(tmp_path, voxels, form):
    """To the last voxel but for rounding; on the same grid."""
    path = scan(tmp_path / "source", form, voxels)
    memory = read(translate(path, tmp_path / "memory", output_ext=".nii"))
    streamed = read(translate(path, tmp_path / "streamed", output_ext=".nii", streaming=True))
    assert streamed[0].dtype == memory[0].dtype == np.int16
    assert np.abs(streamed[0].astype(int) - memory[0]).max() <= 1
    assert (streamed[0] != memory[0]).mean() < 1e-3
    assert np.allclose(streamed[1], memory[1], atol=1e-5)


@pytest.mark.parametrize(
    "keep", [pytest.param(True, marks=pytest.mark.slow), False], ids=["the staged image is kept", "made again"]
)
@pytest.mark.parametrize("form", [".nii", pytest.param(".nii.gz", marks=pytest.mark.slow)])
def test_rows_of_a_result_are_finished_as_they_are_made(tmp_path, voxels, form, keep, monkeypatch):
    """Slices of the file are those of the cascade, turned, mirrored and in reverse; byte for byte as in memory."""
    monkeypatch.setattr("bundle.cascade.rows.ROW", 1)
    monkeypatch.setattr("bundle.transforms.prepare.SLAB", 4 * SHAPE[0] * SHAPE[1] * 4)
    turned = np.array([[0, -0.9, 0, 30], [0.8, 0, 0, 20], [0, 0, -2.5, 40], [0, 0, 0, 1]], float)
    path, rows, most = scan(tmp_path / "source", form, voxels, turned), [], []

    def finish(self, result, start, stop):
        kept(self, result, start, stop)
        rows.append((start, stop))
        most.append(len(list(result.folder.glob("image/*.npy"))))

    kept = FinishImaged.finish
    monkeypatch.setattr(FinishImaged, "finish", finish)
    streamed = translate(path, tmp_path / "streamed", streaming=True, tile_size=[20, 20, 6], **{"preparing#keep": keep})
    memory = translate(path, tmp_path / "memory", tile_size=[20, 20, 6])
    assert rows == [(0, 6), (6, 12), (12, 18), (18, 24), (24, 26)]
    assert max(most) == 7 if keep else max(most) < 7
    assert streamed.read_bytes() == memory.read_bytes()


@pytest.mark.parametrize("last", [4, pytest.param(9, marks=pytest.mark.slow), 10])
def test_a_run_that_ends_in_the_middle_of_finishing_goes_on(tmp_path, voxels, monkeypatch, last):
    """A row that is finished, or half, is not made again; nor any if all are, and the file is half written (10)."""
    monkeypatch.setattr("bundle.cascade.rows.ROW", 1)
    monkeypatch.setattr("bundle.transforms.prepare.SLAB", 4 * SHAPE[0] * SHAPE[1] * 4)
    path, keys = scan(tmp_path / "source", ".nii", voxels, np.diag([0.8, 0.8, 2.5, 1])), {"tile_size": [22, 20, 6]}
    memory, finest, slabs = translate(path, tmp_path / "memory", **keys), [], []
    write, read, store = SlabFiles.write, SlabFiles.__getitem__, write_tile

    def dying(self, part, given):
        if self.folder.name == "finished":
            slabs.append(part)
            if len(slabs) == last:
                raise KeyboardInterrupt
        write(self, part, given)

    def read_dying(self, window):
        if self.folder.name == "finished" and window[-1].start and not slabs.count("file"):
            slabs.append("file")
            raise KeyboardInterrupt
        return read(self, window)

    def counted(out, tile, given):
        finest.extend([tile] * (out.name == "result_3"))
        store(out, tile, given)

    monkeypatch.setattr(SlabFiles, "write", dying)
    monkeypatch.setattr(SlabFiles, "__getitem__", read_dying if last == 10 else read)
    monkeypatch.setattr("bundle.cascade.rows.write_tile", counted)
    with pytest.raises(KeyboardInterrupt):
        translate(path, tmp_path / "out", streaming=True, **keys)
    assert len(finest) == 4 * min((last + 1) // 2, 5) and len(slabs) == last
    run_inference(path, tmp_path / "out", seed=0, streaming=True, **keys)
    (written,) = results_in(tmp_path / "out")
    assert written.read_bytes() == memory.read_bytes()
    assert len(finest) == len({str(tile) for tile in finest}) == 2 * 2 * 5


def test_a_matched_kernel_is_matched_in_the_stream(tmp_path):
    """A scan with enough flat tissue to find its kernel."""
    path, flat = tmp_path / "scan.nii", torch.full((220, 220, 6), 40.0)
    (sharp,) = acquire(flat, (0.7, 0.7, 2.0), (SHARP,), 100.0)
    nibabel.Nifti1Image(sharp.round().numpy().astype(np.int16), np.diag([0.7, 0.7, 2.0, 1])).to_filename(path)
    keys = {"match_kernel": True, "tile_size": 64}
    plain = read(translate(path, tmp_path / "plain", tile_size=64))[0]
    memory = read(translate(path, tmp_path / "memory", **keys))[0]
    streamed = read(translate(path, tmp_path / "streamed", streaming=True, **keys))[0]
    assert np.abs(plain.astype(int) - memory).max() > 20
    assert np.abs(streamed.astype(int) - memory).max() <= 1


def test_a_zarr_image_in_memory_gives_zarr(tmp_path, voxels):
    path = scan(tmp_path / "source", ".ome.zarr", voxels)
    written = translate(path, tmp_path / "memory")
    assert written.name == "scan_translated.ome.zarr"
    streamed = read(translate(path, tmp_path / "streamed", streaming=True))
    assert np.abs(read(written)[0].astype(int) - streamed[0]).max() <= 1
    assert np.allclose(read(written)[1], TURNED)


@pytest.mark.slow
def test_two_processes_give_what_one_gives(tmp_path, voxels):
    """Both make tiles of one volume, by torchrun; without streaming, each takes volumes of its own."""
    path = scan(tmp_path / "source", ".nii", voxels)
    scan(tmp_path / "source", ".nii.gz", voxels + 5)
    one = read(translate(path, tmp_path / "one", streaming=True))[0]
    environment = nameless(tmp_path / "nameless")
    for streaming in (True, False):
        out = tmp_path / f"two_{streaming}"
        words = [
            *("monai.bundle", "run", "inference"),
            *("--config_file", "['configs/inference.json','configs/multi_gpu_inference.json']"),
            *("--dataset_dir", str(tmp_path / "source"), "--output_dir", str(out), "--streaming", str(streaming)),
            *("--tile_size", "20", "--match_kernel", "False"),
        ]
        if streaming:
            command = [*torchrun(2), "-m", *words]
            ended = [subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=environment, timeout=300)]
        else:
            ended = together(2, *words)
        assert all(done.returncode == 0 for done in ended), [done.stderr[-3000:] for done in ended]
        assert [file.name for file in results_in(out)] == ["scan_translated.nii", "scan_translated.nii.gz"]
        assert np.abs(read(out / "scan_translated.nii")[0].astype(int) - one).max() <= int(not streaming)


@pytest.mark.slow
def test_an_image_that_fails_in_one_of_two_processes_does_not_end_their_run(tmp_path, voxels):
    """All is told as by one process, and the others are done: b cannot be opened, c not read, d not finished."""
    for name in "aceg":
        scan(tmp_path / name, ".nii", voxels).rename(tmp_path / f"{name}.nii")
    (tmp_path / "b.nii").write_bytes(b"no image")
    packed = scan(tmp_path / "c", ".nii.gz", np.random.default_rng(0).integers(-1000, 500, SHAPE, np.int16))
    (tmp_path / "c.nii").unlink()
    (tmp_path / "c.nii.gz").write_bytes(packed.read_bytes()[:-20000])
    broken = voxels.astype(np.float32)
    broken[20, 20, 13] = np.nan
    for name in "df":
        scan(tmp_path / name, ".nii", broken).rename(tmp_path / f"{name}.nii")
    out = tmp_path / "out"
    words = [
        *("monai.bundle", "run", "inference"),
        *("--config_file", "['configs/inference.json','configs/multi_gpu_inference.json']"),
        *("--dataset_dir", str(tmp_path / "?.nii*"), "--output_dir", str(out), "--streaming", "True"),
        *("--tile_size", "20", "--match_kernel", "False", "--report", "json", "--check_input", "off"),
    ]
    ended = together(2, *words)
    assert [done.returncode for done in ended] == [1, 1], [done.stderr[-3000:] for done in ended]
    assert sorted(file.name for file in out.glob("*.nii")) == [f"{name}_translated.nii" for name in "aeg"]
    *_, b, c, d, f, last = ended[0].stderr.splitlines()
    assert last == "error: 4 of 7 images failed, see the lines above; the other 3 are done."
    assert all(line.startswith("failed: image") for line in (b, c, d, f)) and "b.nii" in b and "c.nii.gz" in c
    assert all(f"{name}.nii" in line and "not finite numbers" in line for name, line in (("d", d), ("f", f)))
    assert (out / "summary.csv").read_text().count("failed: ") == 4


def test_a_ct_series_gives_the_series_that_it_gives_in_memory(tmp_path, voxels):
    """Byte for byte."""
    path = scan(tmp_path / "source", "dicom", voxels)
    memory = translate(path, tmp_path / "memory")
    streamed = translate(path, tmp_path / "streamed", streaming=True)
    assert streamed.name == memory.name == "scan_translated"
    names = sorted(file.name for file in memory.iterdir())
    assert len(names) == SHAPE[2] and names == sorted(file.name for file in streamed.iterdir())
    same = [(memory / name).read_bytes() == (streamed / name).read_bytes() for name in names]
    assert np.abs(read(memory)[0].astype(int) - read(streamed)[0].astype(int)).max() <= 1
    if np.array_equal(read(memory)[0], read(streamed)[0]):
        assert all(same)


@pytest.mark.parametrize("end", [".nii", ".nii.gz", ".ome.zarr", ".mha", ".nrrd", ".mgz"])
def test_the_format_is_the_source_s(tmp_path, voxels, end):
    """In memory and streamed, byte for byte."""
    path = scan(tmp_path / "source", end, voxels)
    written = [translate(path, tmp_path / name, streaming=name == "streamed") for name in ("memory", "streamed")]
    assert [path.name for path in written] == [f"scan_translated{end}"] * 2
    assert np.allclose(read(written[0])[1], read(path)[1])
    if written[0].is_file() and np.array_equal(read(written[0])[0], read(written[1])[0]):
        assert written[0].read_bytes() == written[1].read_bytes()


def test_the_scales_of_the_cascade_are_the_pyramid_of_ome_zarr(tmp_path, voxels):
    """Each half as large, where the pyramid says so; the same place in the body is at the same millimetre."""
    import zarr

    path = scan(tmp_path / "source", ".nii", voxels)
    written = translate(path, tmp_path / "out", streaming=True, output_ext=".ome.zarr")
    group = zarr.open_group(str(written), mode="r")
    (about,) = group.attrs["ome"]["multiscales"]
    assert [group[level["path"]].shape[::-1] for level in about["datasets"]] == [
        (44, 40, 26),
        (22, 20, 26),
        (11, 10, 26),
        (6, 10, 13),
    ]
    finest = np.asarray(group["0"][...], float)
    begin = np.asarray(about["datasets"][0]["coordinateTransformations"][1]["translation"])
    for level in about["datasets"][1:]:
        scale, shift = (np.asarray(step[step["type"]]) for step in level["coordinateTransformations"])
        array = np.asarray(group[level["path"]][...], float)
        size = np.asarray(about["datasets"][0]["coordinateTransformations"][0]["scale"])
        step = np.round(scale / size).astype(int)
        first = np.round((shift - begin - (scale - size) / 2) / size).astype(int)
        # Blocks of the finest scale, its border repeated, have the means that the coarse scale was made with, or so.
        pad = [(-a, n * s + a - side) for a, n, s, side in zip(first, array.shape, step, finest.shape, strict=True)]
        whole = np.pad(finest, pad, mode="edge")
        sides = [n for pair in zip(array.shape, step, strict=True) for n in pair]
        means = whole.reshape(sides).mean((1, 3, 5))
        alike = [np.corrcoef(means.ravel(), np.roll(array, shift, 2).ravel())[0, 1] for shift in (0, -1, 1)]
        assert alike[0] > 0.95 > max(alike[1:])


@pytest.mark.parametrize("streaming", [False, True])
def test_a_nifti_keeps_its_units_and_codes_and_no_free_text(tmp_path, voxels, streaming):
    path = tmp_path / "scan.nii"
    image = nibabel.Nifti1Image(voxels, TURNED)
    for name in ("descrip", "aux_file", "db_name", "intent_name"):
        image.header[name] = b"DOE^JANE"
    for code in ("comment", "dicom"):
        image.header.extensions.append(nibabel.nifti1.Nifti1Extension(code, b"DOE^JANE" if code == "dicom" else b"a"))
    image.set_qform(TURNED, code=3)
    image.set_sform(TURNED, code=4)
    image.header.set_xyzt_units("mm", "msec")
    image.to_filename(path)
    written = translate(path, tmp_path / "out", streaming=streaming)
    header = nibabel.load(written).header
    assert b"DOE" not in written.read_bytes() and len(header.extensions) == 1
    assert (int(header["qform_code"]), int(header["sform_code"])) == (3, 4)
    assert header.get_xyzt_units() == ("mm", "msec")


def test_two_dimensions_stream_as_well(tmp_path):
    photo = np.random.default_rng(0).integers(0, 255, (50, 70)).astype(np.uint8)
    Image.fromarray(photo).save(tmp_path / "photo.png")
    volume = Volume(tmp_path / "photo.png")
    assert volume.shape == (70, 50, 1) and volume.is_picture
    assert np.array_equal(volume.slab(0, 1)[..., 0].numpy(), photo.T)


@pytest.mark.slow
def test_a_killed_run_goes_on_where_it_was(tmp_path, voxels):
    """Killed after some tiles; the next run makes the others, and the result is that of a run in one go."""
    path = scan(tmp_path / "source", ".nii", voxels)
    whole = read(translate(path, tmp_path / "whole", streaming=True))[0]
    out = tmp_path / "out"
    command = ["-c", DYING, str(path), str(out)]
    first = ran(*command, "12")
    assert first.returncode == 9, first.stderr[-2000:]
    assert {entry.name[:11] for entry in out.iterdir()} == {".part_scan_"}  # its folder, and its lock
    second = ran(*command, "-1")
    assert second.returncode == 0, second.stderr[-2000:]
    made = json.loads(second.stdout.splitlines()[-1])["made"]
    assert [path.name for path in results_in(out)] == ["scan_translated.nii"]
    assert np.array_equal(read(out / "scan_translated.nii")[0], whole)
    assert made == 19 - 12


@pytest.mark.parametrize("other", ["nothing", "version", "settings", "image"])
def test_what_a_killed_run_left_is_gone_on_with_only_where_nothing_has_changed(tmp_path, voxels, monkeypatch, other):
    path = scan(tmp_path / "source", ".nii", voxels)
    preprocessing = Compose(
        [LoadImageOrSeriesd("image", ensure_channel_first=True), Orientationd("image", "RAS", labels=None)]
    )
    options = {"folder": tmp_path / "out", "preprocessing": preprocessing, "streaming": True}
    left = PrepareImaged("image", job=Job(settings=[1]), **options)({"image": str(path)})["image"].folder / "left"
    left.write_text("")
    if other == "version":
        monkeypatch.setattr("bundle.runtime.job.__version__", "another")
    if other == "image":
        os.utime(path, (1, 1))
    PrepareImaged("image", job=Job(settings=[2 if other == "settings" else 1]), **options)({"image": str(path)})
    assert left.exists() == (other == "nothing")


def test_a_run_in_memory_removes_what_a_killed_stream_of_the_same_job_has_left(tmp_path, voxels):
    path, out = scan(tmp_path / "source", ".nii", voxels), tmp_path / "out"
    preprocessing = Compose(
        [LoadImageOrSeriesd("image", ensure_channel_first=True), Orientationd("image", "RAS", labels=None)]
    )
    streamed = PrepareImaged("image", preprocessing, True, out)
    image = streamed({"image": str(path)})["image"]
    in_memory = PrepareImaged("image", preprocessing, False, out)
    in_memory({"image": str(path)})
    assert image.folder.exists()  # in use
    image.about["lock"].release()
    in_memory({"image": str(path)})
    assert not list(out.iterdir())


@pytest.mark.parametrize(("form", "lies"), [(".nii", "there"), ("dicom", "there"), ("dicom", "aside")])
def test_a_stream_that_is_refused_at_its_end_leaves_nothing(tmp_path, voxels, form, lies):
    """Another image's result has come meanwhile; one that a killed process has put aside gets its name back."""
    path, other = (scan(tmp_path / name, form, voxels + number) for number, name in enumerate(("source", "other")))
    out = tmp_path / "out"
    result = out / f"scan_translated{'' if form == 'dicom' else form}"
    prepared = {}

    class Meanwhile(FinishImaged):
        def __call__(self, data):
            prepared["folder"] = data["pred"].folder
            made = through(other, tmp_path / "made", False)
            (shutil.copytree if made.is_dir() else shutil.copyfile)(made, result if lies == "there" else aside(result))
            return super().__call__(data)

    with pytest.raises(FileExistsError, match=r"exists already, and is not known.*move it away"):
        through(path, out, True, finishing=Meanwhile, overwrite="own")
    assert not prepared["folder"].exists()
    assert [entry.name for entry in out.iterdir()] == [result.name]


def test_cropping_is_refused_with_the_reason(tmp_path, voxels):
    path = scan(tmp_path / "source", ".nii", voxels)
    with pytest.raises(RuntimeError) as error:
        translate(path, tmp_path / "out", streaming=True, crop_lungs=True)
    causes, cause = [], error.value
    while cause:
        causes.append(str(cause))
        cause = cause.__cause__
    assert any("streaming cannot be combined with crop_lungs" in text for text in causes)


def test_a_file_that_lacks_slices_does_not_appear(tmp_path):
    with (
        pytest.raises(ValueError, match="lacks 3 of 5 slices"),
        create_image(tmp_path / "a.nii", held(np.zeros((4, 4, 5)), np.eye(4)), np.int16) as write,
    ):
        write((slice(0, 4), slice(0, 4), slice(0, 2)), np.zeros((4, 4, 2)))
    assert not list(tmp_path.iterdir())


def test_same_voxels_give_the_same_compressed_bytes(tmp_path):
    noise = np.random.default_rng(0).integers(-1000, 1000, (9, 8, 7))
    for name in "ab":
        with create_image(tmp_path / f"{name}.nii.gz", held(noise, TURNED), np.int16) as write:
            for part in (slice(0, 3), slice(3, 7)):
                write((slice(0, 9), slice(0, 8), part), noise[..., part])
    assert (tmp_path / "a.nii.gz").read_bytes() == (tmp_path / "b.nii.gz").read_bytes()
    assert np.array_equal(np.asarray(nibabel.load(tmp_path / "a.nii.gz").dataobj), noise)


def test_zarr_of_several_channels_is_refused(tmp_path):
    import zarr

    zarr.create_array(str(tmp_path / "a.zarr"), shape=(2, 4, 4, 4), dtype="i2")
    with pytest.raises(ValueError, match="more than one channel or time point"):
        open_image(tmp_path / "a.zarr")
    zarr.create_array(str(tmp_path / "b.zarr"), shape=(1, 1, 3, 4, 5), dtype="i2")
    assert open_image(tmp_path / "b.zarr").shape == (5, 4, 3)
    assert torch.is_tensor(Volume(tmp_path / "b.zarr").slab(0, 1))
