"""Reports of runs, whatever the image and the way it is read; of results that exist already; and of many."""

import csv
import json

import nibabel
import numpy as np
import pydicom
import pytest
from monai.bundle import ConfigWorkflow
from PIL import Image

from bundle.examples.phantom import ThoraxPhantom
from bundle.report.case import ENDS
from bundle.runtime.errors import cause_of
from tests.dicom_series import write_series
from tests.processes import ROOT
from tests.results import results_in
from tests.transforms.test_provenance_told import run

AFFINE = np.diag([-5.9, -5.6, 10.0, 1.0])  # of a small phantom: to the left, back and head


def thorax(path, seed=1):
    """A CT of 64 x 52 x 30 voxels."""
    path.parent.mkdir(parents=True, exist_ok=True)
    voxels = ThoraxPhantom((64, 52, 30), seed=seed, noise=40.0)[...]
    nibabel.Nifti1Image(voxels, AFFINE).to_filename(path)
    return path


def reports(folder):
    return sorted(path.name for path in folder.iterdir() if path.name.endswith(tuple(ENDS.values())))


def report(folder, name):
    return json.loads((folder / f"{name}.report.json").read_text(encoding="utf-8"))


def reporting(**keys):
    config = str(ROOT / "configs" / "report.json")
    workflow = ConfigWorkflow(
        config, workflow_type="infer", run_id="reporting", bundle_root=str(ROOT), logging_file=False, **keys
    )
    workflow.initialize()
    workflow.run()


def table(folder):
    with (folder / "summary.csv").open(encoding="utf-8", newline="") as file:
        return {row["image"]: row for row in csv.DictReader(file)}


@pytest.mark.slow
def test_streamed_it_tells_the_same(tmp_path):
    pytest.importorskip("zarr", minversion="3", reason="streaming needs zarr 3, which needs Python 3.11")
    source, told = thorax(tmp_path / "in" / "scan.nii.gz"), []
    for streaming in (False, True):
        folder = tmp_path / str(streaming)
        run(
            source,
            folder,
            streaming=streaming,
            tile_size=64,
            report="json,html",
            match_kernel=False,
            densitometry=streaming,
        )
        assert reports(folder) == ["scan_translated.nii.gz.report.html", "scan_translated.nii.gz.report.json"]
        assert not (folder / "summary.csv").exists()
        told.append(report(folder, "scan_translated.nii.gz"))
        assert told[-1]["densitometry"]["after"]["both"]["volume_ml"] > 1000
        assert any("has pixels of 5.9 mm" in warning for warning in told[-1]["warnings"])
        told[-1] = {key: value for key, value in told[-1].items() if key not in ("provenance", "noise", "kernel")}
    one, two = told
    assert one.pop("values")["difference"] == pytest.approx(two.pop("values")["difference"], abs=0.02)
    for when in ("before", "after"):
        for side in ("left", "right", "both"):
            lungs = [each["densitometry"][when][side] for each in told]
            assert lungs[0] == pytest.approx(lungs[1], abs=0.5)
    assert {**one, "densitometry": None} == {**two, "densitometry": None}


def test_a_folder_has_a_table_and_images_that_fail_are_in_it(tmp_path, capsys):
    thorax(tmp_path / "in" / "a.nii.gz")
    series = tmp_path / "in" / "b"
    write_series(series, ThoraxPhantom((64, 52, 30), noise=40.0)[...], AFFINE)
    for file in series.iterdir():
        header = pydicom.dcmread(file)
        header.PatientName, header.PatientID = "DOE^JANE", "4711-0815"
        header.save_as(file)
    (tmp_path / "in" / "broken.nii.gz").write_bytes(b"no image")
    folder, keys = tmp_path / "out", {"report": ["html", "json"], "tile_size": 64, "match_kernel": False}
    with pytest.raises(SystemExit):
        run(tmp_path / "in", folder, **keys)
    rows = table(folder)
    assert {name: row["status"].split(":")[0] for name, row in rows.items()} == {
        "a.nii.gz": "done",
        "b": "done",
        "broken.nii.gz": "failed",
    }
    assert rows["b"]["result"] == "b_translated" and float(rows["b"]["volume_ml_after"]) > 1000
    assert "DOE" not in (folder / "b_translated.report.html").read_text(encoding="utf-8")
    assert "4711" not in str(report(folder, "b_translated"))
    printed = capsys.readouterr()
    assert printed.out.index("written: ") < printed.out.index("report: ") and "DOE" not in printed.out + printed.err


def test_what_a_result_that_is_skipped_lacks_is_made(tmp_path, capsys, monkeypatch):
    """As it is after a kill, and when a later command asks for more."""
    source, folder = thorax(tmp_path / "in" / "scan.nii.gz").parent, tmp_path / "out"
    keys = {"tile_size": 64, "match_kernel": False, "skip_existing": True, "densitometry": True}
    run(source, folder, **keys)
    result, densities = results_in(folder)
    before, measures = result.stat(), densities.read_text()
    densities.unlink()
    capsys.readouterr()
    run(source, folder, **keys, report="json,html")
    assert densities.read_text() == measures and result.stat() == before
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines if line[:5] in ("skipp", "writt", "repor")] == [
        "skipped",
        *2 * ["report"],
    ]
    told, rows = report(folder, result.name), table(folder)
    assert told["warnings"] and told["densitometry"]["after"] == json.loads(measures)["after"]
    assert rows["scan.nii.gz"]["status"] == "done"
    monkeypatch.setattr("bundle.report.case.facts_of", None)
    run(source, folder, **keys, report="json")
    densities.unlink()
    monkeypatch.setattr("bundle.transforms.densitometry.measured", None)
    with pytest.raises(SystemExit):
        run(source, folder, **keys)
    assert "failed: nothing beside the result of" in capsys.readouterr().err


def test_what_is_beside_a_result_goes_before_another_takes_its_place(tmp_path, monkeypatch):
    """A process that is killed in between leaves no measurement of another result."""
    source, folder = thorax(tmp_path / "scan.nii.gz"), tmp_path / "out"
    keys = {"tile_size": 64, "match_kernel": False}
    run(source, folder, **keys, report="json")
    result, told = results_in(folder)
    seen = []
    monkeypatch.setattr("bundle.runtime.files.replace", lambda *_: seen.append(told.exists()))
    run(source, folder, **keys, seed=1)
    assert seen[-1] is False and result.exists()


def test_a_format_that_is_none_ends_the_run_before_the_first_image(tmp_path):
    with pytest.raises(RuntimeError) as raised:
        run(thorax(tmp_path / "scan.nii.gz"), tmp_path / "out", report="word")
    assert "report 'word' is not a format; take one or more of json, html, pdf, sr" in str(raised.value.__cause__)
    assert not (tmp_path / "out").exists()


def test_a_structured_report_without_highdicom_ends_it_too(tmp_path, monkeypatch):
    monkeypatch.setattr("bundle.runtime.settings.find_spec", lambda _: None)
    with pytest.raises(RuntimeError) as raised:
        run(thorax(tmp_path / "scan.nii.gz"), tmp_path / "out", report="html,sr")
    assert "report 'sr' needs highdicom, which is not installed; run pip install" in str(raised.value.__cause__)
    assert not (tmp_path / "out").exists()


def test_a_new_result_takes_the_reports_of_the_old_one_away(tmp_path):
    source, folder = thorax(tmp_path / "scan.nii.gz"), tmp_path / "out"
    run(source, folder, report="json", tile_size=64, match_kernel=False)
    assert reports(folder)
    run(source, folder, tile_size=64, match_kernel=False, seed=1)
    assert not reports(folder) and len(results_in(folder)) == 1


def test_an_x_ray_gets_what_applies(tmp_path):
    voxels = np.random.default_rng(0).integers(0, 255, (64, 80), dtype=np.uint8)
    (tmp_path / "in").mkdir()
    Image.fromarray(voxels).save(tmp_path / "in" / "xray.png")
    run(tmp_path / "in" / "xray.png", tmp_path / "out", "xray_2d", report="json,html,pdf")
    told = report(tmp_path / "out", "xray_translated.png")
    assert (told["kind"], told["kernel"], told["noise"], told["densitometry"]) == ("image", None, None, None)
    assert told["shape"] == [80, 64] and "difference" in told["values"]
    assert len(reports(tmp_path / "out")) == 3


def test_contrasts_that_differ_have_no_difference(tmp_path):
    voxels = ThoraxPhantom((40, 36, 24))[...] + 1000
    (tmp_path / "in").mkdir()
    nibabel.Nifti1Image(voxels.clip(0).astype(np.int16), np.eye(4)).to_filename(tmp_path / "in" / "t1.nii.gz")
    run(tmp_path / "in" / "t1.nii.gz", tmp_path / "out", "brain_t1_t2", report="json,html", tile_size=48)
    told = report(tmp_path / "out", "t1_translated.nii.gz")
    assert told["kind"] == "image" and "difference" not in told["values"] and "before" in told["values"]


def test_generated_images_have_reports_and_a_table(tmp_path):
    keys = {"num_samples": 2, "image_size": 64, "seed": 5, "report": "json,html"}
    run("", tmp_path / "out", "generate", run_id="generating", **keys)
    told = report(tmp_path / "out", "sample_0005.png")
    assert "before" not in told["values"] and told["provenance"]["seed"] == 5
    assert list(table(tmp_path / "out")) == ["sample_0005.png", "sample_0006.png"]


@pytest.mark.slow
@pytest.mark.parametrize("provenance", [True, False])
def test_results_that_exist_get_reports(tmp_path, provenance):
    for seed in (1, 2):
        thorax(tmp_path / "in" / f"{seed}.nii.gz", seed)
        thorax(tmp_path / "truth" / f"{seed}.nii.gz", seed + 2)
    keys = {"tile_size": 64, "match_kernel": False, "output_postfix": "soft", "provenance": provenance}
    run(tmp_path / "in", tmp_path / "soft", **keys)
    folders = {"source": tmp_path / "in", "result": tmp_path / "soft", "truth": tmp_path / "truth"}
    reporting(**{name: str(path) for name, path in folders.items()}, output_dir=str(tmp_path / "reports"))
    assert [path.name for path in sorted((tmp_path / "reports").iterdir())] == [
        *(f"{seed}_soft.nii.gz.report.{end}" for seed in (1, 2) for end in ("html", "json")),
        "bland_altman.png",
        "summary.csv",
    ]
    told = report(tmp_path / "reports", "1_soft.nii.gz")
    assert told["kind"] == "ct" and bool(told["provenance"]) is provenance
    row = table(tmp_path / "reports")["1.nii.gz"]
    assert float(row["mean_hu_truth"]) == pytest.approx(told["densitometry"]["truth"]["both"]["mean_hu"])
    assert not reports(tmp_path / "soft")


def test_the_plot_shows_the_images_of_this_run_alone(tmp_path, monkeypatch):
    """The table keeps the rows of earlier runs into the same folder."""
    shown = []
    monkeypatch.setattr("bundle.report.reporting.draw_agreement", lambda _, rows: shown.append([*rows]))
    for name in ("a", "-b"):  # a spreadsheet takes the second for a formula
        folder = str(thorax(tmp_path / name / f"{name}.nii.gz").parent)
        reporting(source=folder, result=folder, truth=folder, output_dir=str(tmp_path / "reports"), report="json")
    assert [[row["image"] for row in rows] for rows in shown] == [["a.nii.gz"], ["'-b.nii.gz"]]
    assert sorted(table(tmp_path / "reports")) == ["'-b.nii.gz", "a.nii.gz"]


@pytest.mark.parametrize("keys", [{"hu": "no"}, {"hu": "maybe"}, {"hu": 1}, {"recursive": "yes"}], ids=str)
def test_what_is_neither_true_nor_false_is_refused(tmp_path, keys):
    with pytest.raises(RuntimeError) as raised:
        reporting(source="a.nii", result="b.nii", output_dir=str(tmp_path / "out"), **keys)
    ((key, value),) = keys.items()
    assert f"{key} {value!r} is neither True nor False; take one of them." in str(cause_of(raised.value))
    assert not (tmp_path / "out").exists()


def test_reporting_needs_source_and_result(tmp_path):
    with pytest.raises(Exception) as raised:
        reporting(output_dir=str(tmp_path))
    assert "source and result are needed" in str(raised.value.__cause__ or raised.value)
    source = str(thorax(tmp_path / "scan.nii.gz"))
    with pytest.raises(Exception) as raised:
        reporting(source=source, result=source, output_dir=str(tmp_path), report="")
    assert "report '' names no format; take one or more, such as html" in str(raised.value.__cause__ or raised.value)


def test_one_report_that_fails_does_not_end_the_others(tmp_path, capsys):
    for name in ("a", "b"):
        thorax(tmp_path / "in" / f"{name}.nii.gz")
        thorax(tmp_path / "out" / f"{name}.nii.gz")
    nibabel.Nifti1Image(np.zeros((4, 4, 4), np.int16), AFFINE).to_filename(tmp_path / "out" / "a.nii.gz")
    with pytest.raises(SystemExit) as ended:
        reporting(source=str(tmp_path / "in"), result=str(tmp_path / "out"), output_dir=str(tmp_path / "reports"))
    assert ended.value.code == 1
    assert capsys.readouterr().err.splitlines()[-1] == "error: 1 of 2 reports failed, see the lines above."
    assert reports(tmp_path / "reports") == ["b.nii.gz.report.html", "b.nii.gz.report.json"]
    assert table(tmp_path / "reports")["b.nii.gz"]["status"] == "done"


@pytest.mark.parametrize("source", ["series", "scan.nii.gz"])
def test_a_structured_report_that_cannot_be_made_ends_with_status_1(tmp_path, source, capsys):
    """No lung is in the series, and the other is none; results and other reports are kept."""
    pytest.importorskip("highdicom", reason="needs highdicom: pip install highdicom")
    noise = np.random.default_rng(0).normal(40, 10, (24, 20, 3)).round()
    if source == "series":
        write_series(tmp_path / source, noise)
    else:
        nibabel.Nifti1Image(noise.astype(np.int16), AFFINE).to_filename(tmp_path / source)
    with pytest.raises(SystemExit) as raised:
        run(tmp_path / source, tmp_path / "out", report="json,sr", check_input="off", match_kernel=False)
    told = capsys.readouterr().err
    why = "no lung was measured" if source == "series" else "source and result have to be DICOM series"
    assert raised.value.code == 1 and f": sr: {why}" in told and told.rstrip().endswith("all results are whole.")
    assert len(reports(tmp_path / "out")) == 1


def test_a_structured_report_of_generated_images_is_refused(tmp_path):
    pytest.importorskip("highdicom", reason="needs highdicom: pip install highdicom")
    with pytest.raises(RuntimeError, match="Failed") as raised:
        run("", tmp_path / "out", "generate", run_id="generating", num_samples=1, image_size=64, report="sr")
    assert "report 'sr' is of DICOM series, which no generated image is; take others" in str(raised.value.__cause__)
