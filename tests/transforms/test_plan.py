"""A plan tells what a run then does: tiles, disk, refusals; and no voxel is read for it."""

import gc
import importlib.util
import json
import math
import shutil
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest
from monai.bundle import ConfigWorkflow

from bundle.cascade import pace, rows, scratch, slabs
from bundle.cascade.scratch import stored_bytes
from bundle.examples.phantom import ThoraxPhantom
from bundle.images import open_image
from bundle.runtime import prefetch
from bundle.runtime.errors import last_line
from bundle.runtime.files import atomic, trying
from bundle.runtime.host_memory import resident_memory
from bundle.runtime.locks import END
from bundle.runtime.process import age
from bundle.runtime.resolver import deferred
from bundle.transforms import plan, prepare, rehearsal
from bundle.transforms.plan_table import as_json, duration, lines, size, total
from tests.dicom_series import write_series
from tests.golden_inputs import write_nifti

ROOT = Path(__file__).parents[2]
HAS_ZARR = importlib.util.find_spec("zarr") is not None
SHAPE = (56, 48, 40)
NEEDS_ZARR = pytest.mark.skipif(not HAS_ZARR, reason="zarr")


def workflow(run_id, source, output, overlays=(), **keys):
    names = ["inference", *overlays, *(["plan"] if run_id == "planning" else [])]
    made = ConfigWorkflow(
        [str(ROOT / "configs" / f"{name}.json") for name in names],
        workflow_type="infer",
        run_id=run_id,
        logging_file=False,
        bundle_root=str(ROOT),
        dataset_dir=str(source),
        output_dir=str(output),
        device="cpu",
        **keys,
    )
    made.initialize()
    return made


def planned(source, output, overlays=(), **keys):
    """What a plan tells, and whether its status would be 0."""
    path = Path(output).parent / "plan.json"
    path.unlink(missing_ok=True)
    made = workflow("planning", source, output, overlays, plan_file=str(path), **keys)
    try:
        made.run()
    except SystemExit as end:
        assert end.code == 1
        return json.loads(path.read_text()), False
    return json.loads(path.read_text()), True


def first_line(source, output, **keys):
    """The last line of a run that is refused."""
    with pytest.raises(Exception) as error:
        workflow("inference", source, output, **keys).run()
    return last_line(error.value).removeprefix("error: ")


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """One tile is measured, once."""
    monkeypatch.setattr(pace, "ENOUGH", 1e-9)
    monkeypatch.setattr(rehearsal, "HASHED", 2**16)


def one_by_one(*work):
    """`bundle.runtime.prefetch`, without threads."""
    return prefetch(*work[:4], threads=False)


@pytest.fixture
def scan(tmp_path):
    """A phantom in the file's own axes, which are not those of the cascade."""
    path = tmp_path / "scan.nii"
    phantom = ThoraxPhantom(SHAPE, 6.0, noise=20)
    write_nifti(path, phantom[...][:, ::-1], phantom.affine @ np.diag([1.0, -1, 1, 1]))
    return path


def test_a_plan_replaces_a_plan_and_no_other_file(tmp_path, scan):
    keys = {"check_input": "off", "match_kernel": False, "tile_size": 24}
    for _ in range(2):
        workflow("planning", scan, tmp_path / "out", plan_file=str(tmp_path / "plan.json"), **keys).run()
    (tmp_path / "notes.json").write_text('{"images": []}\n')
    for taken in (scan, tmp_path / "notes.json"):
        before = taken.read_bytes()
        with pytest.raises(Exception) as error:
            workflow("planning", scan, tmp_path / "out", plan_file=str(taken), **keys).run()
        assert last_line(error.value) == (
            f"error: {str(taken)!r} exists already, and is not a plan of this bundle; give plan_file another name."
        )
        assert taken.read_bytes() == before


def test_what_the_plan_does_not_know_is_noted(tmp_path, scan):
    """The box around the lungs, and how long a report takes."""
    notes = {}
    for name, keys in {"": {}, "crop": {"crop_lungs": True}, "report": {"report": "json"}}.items():
        told, ok = planned(scan, tmp_path / "out", check_input="off", match_kernel=False, tile_size=24, **keys)
        assert ok
        (notes[name],) = (image["notes"] for image in told["images"])
    assert notes == {"": [], "crop": [plan.NOT_CROPPED], "report": [plan.NOT_REPORTED]}


@pytest.mark.parametrize(
    ("streaming", "keep"),
    [
        (False, None),
        pytest.param(True, False, marks=NEEDS_ZARR),
        pytest.param(True, True, marks=[NEEDS_ZARR, pytest.mark.slow]),
    ],
)
def test_tiles_and_scratch_are_those_of_the_run(tmp_path, scan, streaming, keep, monkeypatch):
    keys = {"streaming": streaming, "tile_size": [24, 16, 12], "check_input": "off", "preparing#keep": keep}
    most, parts = [0], []

    def watched(write):
        def writing(self, *given):
            """What the run has put there, but for the headers of its arrays and slabs."""
            write(self, *given)
            group = next((tmp_path / "out").glob(".part_scan_*[!k]"), None)
            if group is None:  # the plan's own rehearsal
                return
            sizes = [file.stat().st_size for file in group.glob("*/c/**/*") if file.is_file()]
            sizes += [np.load(file, mmap_mode="r").nbytes for file in group.glob("*/*.npy")]
            most[0] = max(most[0], sum(sizes))
            parts.append({folder.name for folder in group.iterdir() if folder.is_dir()})

        return writing

    monkeypatch.setattr(rows, "ROW", 1)
    monkeypatch.setattr(rows, "prefetch", one_by_one)
    monkeypatch.setattr(prepare, "SLAB", 4 * 56 * 48 * 7)
    for kind, name in ((scratch.ScratchImage, "__setitem__"), (slabs.SlabFiles, "write")):
        monkeypatch.setattr(kind, name, watched(getattr(kind, name)))
    told, ok = planned(scan, tmp_path / "out", **keys)
    (image,) = told["images"]
    assert ok and not (tmp_path / "out").exists() and not parts
    workflow("inference", scan, tmp_path / "out", **keys).run()
    made = json.loads((tmp_path / "out" / "scan_translated.nii.provenance.json").read_text())
    scales = [{"grid": scale["shape"], "tile": scale["tile"], "number": scale["number"]} for scale in image["scales"]]
    assert scales == made["tiles"] and image["tiles"] == sum(scale["number"] for scale in scales) > len(scales)
    assert Path(image["result"]) == tmp_path / "out" / "scan_translated.nii" and Path(image["result"]).exists()
    assert image["streamed"] == streaming
    assert image["scratch"] == most[0]
    assert image["result_bytes"] == 2 * math.prod(SHAPE)


def test_no_voxel_is_read(tmp_path, scan, monkeypatch):
    def closed(path, series_uid=""):
        def read(window):
            raise AssertionError(f"voxels {window} were read")

        return replace(open_image(path, series_uid), read=read)

    monkeypatch.setattr(plan, "open_image", closed)
    told, ok = planned(scan, tmp_path / "out")
    assert ok and told["images"][0]["tiles"] > 0 and not (tmp_path / "out").exists()
    assert any("check_input looks at voxels" in note for note in told["images"][0]["notes"])
    assert {"networks", "prepare", "find the kernel"} <= set(told["images"][0]["seconds"])
    assert told["total"]["seconds"] > sum(told["images"][0]["seconds"].values()) > 0


def test_the_total_is_of_all_images_that_are_not_refused(tmp_path, scan, capsys):
    folder = tmp_path / "scans"
    folder.mkdir()
    for name in ("a.nii", "b.nii"):
        shutil.copy(scan, folder / name)
    (folder / "c.nii").write_bytes(scan.read_bytes()[:5000])
    told, ok = planned(folder, tmp_path / "out")
    a, b, c = told["images"]
    assert not ok and c["refused"] and not a["refused"] and told["total"]["images"] == 3
    assert capsys.readouterr().err.splitlines()[-1] == "error: 1 of 3 images would be refused, see the lines above."
    assert told["total"]["refused"] == 1 and told["refused"] is None
    assert told["total"]["disk"] == a["result_bytes"] + b["result_bytes"]
    assert told["total"]["tiles"] == a["tiles"] + b["tiles"]
    steps = sum(sum(image["seconds"].values()) for image in (a, b))
    assert told["total"]["seconds"] == pytest.approx(told["total"]["start_seconds"] + steps, abs=0.02)
    assert told["total"]["host_memory"] == max(a["host_memory"], b["host_memory"]) > a["device_memory"] > 2**20


def test_too_small_a_disk_for_all_together_is_noted(tmp_path, scan):
    told, _ = planned(scan, tmp_path / "out")
    assert not any(line.startswith("note: all results") for line in lines(told))
    told["machine"]["free_disk"] = told["total"]["disk"] - 1
    assert any(line.startswith("note: all results together may take more than the ") for line in lines(told))


def cut_short(path, _):
    path.write_bytes(path.read_bytes()[:5000])


def four_axes(path, _):
    nibabel.Nifti1Image(np.zeros((4, 4, 4, 2), np.int16), np.eye(4)).to_filename(path)


def no_memory(_, patch):
    patch.setattr(prepare, "free_memory", lambda: 1000)


def no_disk(_, patch):
    patch.setattr("bundle.runtime.files.free_space", lambda _: 1000)


def foreign(path, _):
    (path.parent / "out").mkdir(exist_ok=True)
    (path.parent / "out" / "scan_translated.nii").write_bytes(b"mine")


@pytest.mark.parametrize(
    ("make", "keys"),
    [
        (cut_short, {}),
        (four_axes, {}),
        (no_memory, {"streaming": False}),
        (no_disk, {}),
        (foreign, {}),
        (lambda *_: None, {"output_ext": ".png"}),
        (lambda *_: None, {"output_ext": ".dcm"}),
        (lambda *_: None, {"memory_budget": 1000}),
    ],
    ids=["cut short", "four axes", "no memory", "no disk", "foreign result", "png", "dcm", "budget"],
)
def test_refusals_are_those_of_the_run(tmp_path, scan, monkeypatch, make, keys):
    make(scan, monkeypatch)
    told, ok = planned_without_writing(scan, tmp_path / "out", **keys)
    refused = told["refused"] or told["images"][0]["refused"]
    assert not ok and refused == first_line(scan, tmp_path / "out", **keys)
    assert told["total"]["refused"] == 1 and told["total"]["tiles"] == 0


def planned_without_writing(source, output, **keys):
    """A plan by its parts: a full disk does not take its file."""
    made = workflow("planning", source, output, **keys)
    found = made.parser.get_parsed_content("plan")
    images = list(found)
    whole = total(found, images)
    return {"refused": found.refused, "images": list(map(as_json, images)), "total": whole}, not whole["refused"]


def test_another_modality_is_refused_by_its_header(tmp_path, capsys):
    def mr(header, **_):
        header.Modality = "MR"

    phantom = ThoraxPhantom(SHAPE, 6.0, noise=20)
    write_series(tmp_path / "series", phantom[...].astype(np.int16), phantom.affine, edit=mr)
    told, ok = planned(tmp_path / "series", tmp_path / "out")
    refused = first_line(tmp_path / "series", tmp_path / "out")
    assert not ok and told["images"][0]["refused"] == refused
    assert f"error: {refused}" in capsys.readouterr().err.splitlines()


def test_a_dicom_series_and_what_is_skipped(tmp_path, capsys):
    phantom = ThoraxPhantom(SHAPE, 6.0, noise=20)
    write_series(tmp_path / "series", phantom[...].astype(np.int16), phantom.affine)
    told, ok = planned(tmp_path / "series", tmp_path / "out")
    assert ok and told["images"][0]["shape"] == list(SHAPE) and not (tmp_path / "out").exists()
    workflow("inference", tmp_path / "series", tmp_path / "out").run()
    before = sorted((tmp_path / "out").rglob("*"))
    told, ok = planned(tmp_path / "series", tmp_path / "out", skip_existing=True)
    assert ok and told["images"] == [] and told["total"]["tiles"] == 0 and "skipped: " in capsys.readouterr().out
    assert sorted((tmp_path / "out").rglob("*")) == before


@pytest.mark.parametrize("overlay", ["low_dose", "xray_2d", "brain_t1_t2", "head_t1_t2", "generate"])
def test_every_experiment_can_be_planned(tmp_path, scan, overlay):
    source, keys = scan, {}
    if overlay == "xray_2d":
        source = tmp_path / "xray.nii"
        nibabel.Nifti1Image(np.zeros((90, 80), np.uint8), np.eye(4)).to_filename(source)
    if overlay == "generate":
        source, keys = "", {"image_size": 96, "num_samples": 2}
    told, ok = planned(source, tmp_path / "out", [overlay], **keys)
    assert ok and len(told["images"]) == (2 if overlay == "generate" else 1)
    assert all(image["tiles"] >= len(image["scales"]) > 1 for image in told["images"])
    assert not (tmp_path / "out").exists()
    if overlay == "generate":
        assert [Path(image["result"]).name for image in told["images"]] == ["sample_0000.png", "sample_0001.png"]


@pytest.mark.skipif(not HAS_ZARR, reason="zarr 3 needs Python 3.11")
def test_what_an_interrupted_run_has_left_is_told(tmp_path, scan, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("bundle.cascade.inferer.TileGenerator", stop)
        workflow("inference", scan, tmp_path / "out", streaming=True, check_input="off").run()
    gc.collect()  # the traceback holds the lock of the image
    before = sorted((tmp_path / "out").rglob("*"))
    assert not any(path.suffix == END for path in before)
    told, ok = planned(scan, tmp_path / "out", streaming=True, check_input="off")
    assert ok and told["images"][0]["resumed"] >= 4 * math.prod(SHAPE)
    assert sorted((tmp_path / "out").rglob("*")) == before


def test_chunks_at_the_border_are_whole():
    assert stored_bytes((10, 7), (4, 7)) == 4 * 12 * 7


def test_trying_writes_nothing_there(tmp_path):
    with trying(), atomic(tmp_path / "new" / "file.txt", needed=2**62) as part:
        part.write_text("x")
        assert tmp_path not in part.parents
    assert list(tmp_path.iterdir()) == [] and not part.exists()


def test_a_key_is_of_a_config():
    with pytest.raises(ValueError, match="key 'results' belongs to no config"):
        deferred("results")


def test_a_process_has_an_age_and_memory(tmp_path, monkeypatch):
    assert 0 < age() < 10**6 and (resident_memory() or 2**28) > 2**26
    monkeypatch.setattr("bundle.runtime.process.STAT", tmp_path / "none")
    monkeypatch.setattr("bundle.runtime.host_memory.STATUS", tmp_path / "none")
    assert age() > 0 and resident_memory() is None


def test_sizes_and_times_as_text():
    assert [size(number) for number in (0, 999, 1500, 3 * 2**20, 5 * 2**30)] == [
        *("0 B", "999 B", "1.46 KiB", "3 MiB", "5 GiB")
    ]
    assert [duration(seconds) for seconds in (7.4, 600, 7300)] == ["7 s", "10 min", "2.0 h"]
