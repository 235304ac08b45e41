"""What is told of a result beside it: right, by the schema, and without a name."""

import json
import re
import shutil
from pathlib import Path

import jsonschema
import numpy as np
import pydicom
import pytest
from monai.bundle import ConfigWorkflow

from bundle import __version__
from bundle.examples.phantom import ThoraxPhantom
from bundle.images.provenance import PROVENANCE, content_hash, owned
from bundle.runtime import file_hash
from bundle.runtime.errors import cause_of
from bundle.transforms.provenance import differing, is_told
from tests.dicom_series import write_series
from tests.processes import ROOT
from tests.results import results_in

SCHEMA = json.loads((ROOT / "docs" / "provenance.schema.json").read_text(encoding="utf-8"))


def run(path, folder, *overlays, run_id="run", **keys):
    workflow = ConfigWorkflow(
        config_file=[str(ROOT / "configs" / f"{name}.json") for name in ("inference", *overlays)],
        workflow_type="infer",
        run_id=run_id,
        bundle_root=str(ROOT),
        dataset_dir=str(path),
        output_dir=str(folder),
        **keys,
    )
    workflow.initialize()
    workflow.run()
    return results_in(folder)


@pytest.fixture
def series(tmp_path):
    """A CT series of a patient with a name."""
    folder = tmp_path / "in" / "ct"
    phantom = ThoraxPhantom((24, 20, 6), spacing=(15.0, 15.0, 40.0), noise=20.0)
    write_series(folder, phantom[:, :, :].astype(np.int16), np.diag([15.0, 15.0, 40.0, 1.0]))
    for file in folder.iterdir():
        header = pydicom.dcmread(file)
        header.PatientName, header.PatientID, header.PatientBirthDate = "DOE^JANE", "4711-0815", "19700101"
        header.save_as(file)
    return folder


@pytest.mark.parametrize("streaming", [False, True])
def test_it_tells_what_made_a_result_and_no_name(tmp_path, series, streaming, capfd):
    if streaming:
        pytest.importorskip("zarr", minversion="3", reason="streaming needs zarr 3, which needs Python 3.11")
    (result,) = run(series, tmp_path / "out", streaming=streaming, seed=3)
    text = (tmp_path / "out" / (result.name + PROVENANCE)).read_text(encoding="utf-8")
    told = json.loads(text)
    jsonschema.validate(told, SCHEMA)
    assert told["version"] == __version__ and told["seed"] == 3 and told["device"] == "cpu"
    assert told["weights"]["sha256"] == file_hash(ROOT / "models" / "model.pt")
    assert told["source"]["sha256"] == content_hash(series, sorted(str(file) for file in series.iterdir()))
    assert owned(result).told == told and [scale["grid"] for scale in told["tiles"]][-1] == [24, 20, 6]
    assert told["settings"] == {"seed": 3, "streaming": streaming}
    assert any("the kernel of the image is not known" in warning for warning in told["warnings"])
    printed = capfd.readouterr()
    for name in ("DOE", "JANE", "4711", "0815", "19700101"):
        assert name not in text + printed.out + printed.err + result.name


def test_the_next_run_replaces_it_or_is_skipped(tmp_path, series, capsys):
    (result,) = run(series, tmp_path / "out")
    before = owned(result)
    (result,) = run(series, tmp_path / "out", seed=1)
    assert owned(result).told["result"]["replaces"] == before.sha256
    capsys.readouterr()
    run(series, tmp_path / "out", seed=1, skip_existing=True)
    assert "skipped: " in capsys.readouterr().out
    (result.parent / (result.name + PROVENANCE)).unlink()
    with pytest.raises(RuntimeError) as raised:
        run(series, tmp_path / "out")
    assert "is not known as this bundle's own" in str(raised.value) + str(raised.value.__cause__)
    (result,) = run(series, tmp_path / "out", overwrite="all", provenance=False)
    assert not Path(str(result) + PROVENANCE).exists()


def test_a_generated_image_has_one(tmp_path):
    keys = {"num_samples": 1, "image_size": 64, "seed": 5}
    (result,) = run("", tmp_path / "out", "generate", run_id="generating", **keys)
    told = json.loads((result.parent / (result.name + PROVENANCE)).read_text(encoding="utf-8"))
    jsonschema.validate(told, SCHEMA)
    assert told["source"] == {"sha256": None, "place": None} and told["seed"] == 5
    shutil.rmtree(tmp_path / "out")


def test_generated_images_that_are_there_are_skipped(tmp_path, capsys):
    keys = {"image_size": [70, 64], "seed": 5, "skip_existing": True}

    def made(count, **more):
        run("", tmp_path / "out", "generate", run_id="generating", num_samples=count, **{**keys, **more})
        lines = capsys.readouterr().out.splitlines()
        told = [line.split() for line in lines if line.startswith(("written: ", "skipped: "))]
        return [(words[0][:-1], Path(words[1]).name) for words in told]

    assert made(1) == [("written", "sample_0005.png")]
    assert made(2) == [("skipped", "sample_0005.png"), ("written", "sample_0006.png")]
    assert made(2) == [("skipped", "sample_0005.png"), ("skipped", "sample_0006.png")]
    assert made(1, report="json") == [("written", "sample_0005.png")]
    assert made(1, report="json") == [("skipped", "sample_0005.png")]
    assert made(1, skip_existing=False) == made(1, image_size=64) == [("written", "sample_0005.png")]


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"num_samples": 0}, "num_samples 0 is not a whole number from 1 on; take one such as 16"),
        ({"num_samples": -3}, "num_samples -3 is not a whole number"),
        ({"num_samples": "two"}, "num_samples 'two' is not a whole number"),
        ({"image_size": 64.5}, "image_size 64.5 is neither a whole number of voxels from 1 on nor a list"),
        ({"output_ext": ".jpg"}, "output_ext '.jpg' cannot be written; take '.png' or another format"),
        ({"output_dtype": "float32"}, "output_dtype 'float32' is unknown to .png; take int16, or output_ext '.nii.gz'"),
    ],
)
def test_what_cannot_be_generated_is_told_before_anything_is_written(tmp_path, keys, message):
    with pytest.raises(RuntimeError) as raised:
        run("", tmp_path / "out", "generate", run_id="generating", **{"image_size": 64, "num_samples": 1, **keys})
    assert str(cause_of(raised.value)).startswith(message)
    assert not (tmp_path / "out").exists()


def test_a_source_of_generated_images_is_refused(tmp_path):
    with pytest.raises(RuntimeError) as raised:
        run("x", tmp_path / "out", "generate", run_id="generating", image_size=64, num_samples=1)
    assert str(cause_of(raised.value)).startswith("dataset_dir 'x' changes nothing: images are generated from noise;")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("kernel_choice#catalogue", "k.json", False),
        ("kernel_choice", {"_target_": "x", "catalogue": 1001}, False),
        ("kernel_choice#target_kernel", "B30f", False),
        ("summary#folder", "Doe_John", False),
        ("own", "/data/Doe_John/k.json", False),
        ("own", ["a", {"b": "Doe_John\\k.json"}], False),
        ("own", Path("k.json"), False),
        ("own", "there.json", False),
        ("own", "nowhere.json", False),
        ("own", "$open('/data/Doe_John/k.json')", False),
        ("series_description", "$open('/data/Doe_John/k.json')", False),
        ("own", "$2 * @edges[0] / (@window[1] - @window[0])", True),
        ("own", {"b": [1.5, None, "@window", {"_target_": "UNet"}]}, True),
        ("series_description", "soft/smooth", True),
        ("series_description", "there.json", True),
        ("own#series_description", "there.json", True),
    ],
)
def test_no_path_is_told(tmp_path, monkeypatch, key, value, told):
    """In whatever block a user gives it, whatever files there are."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there.json").touch()
    assert is_told(key, value, {"_target_", "series_description"}) == told


def test_a_text_is_told_whatever_files_there_are(tmp_path, series, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("warn").touch()
    (result,) = run(series, tmp_path / "out", check_input="warn", series_description="soft/smooth", streaming=False)
    assert owned(result).told["settings"] == {
        "check_input": "warn",
        "series_description": "soft/smooth",
        "streaming": False,
    }


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"handlers#0#load_path": "own.pt"}, "handlers load 'own.pt', but results would name the weights '.*model.pt'"),
        ({"job#weights": "own.pt"}, "handlers load '.*model.pt', but results would name the weights 'own.pt'; leave"),
        ({"handlers": []}, "handlers hold no CheckpointLoader, so the weights '.*model.pt' would not be loaded"),
        ({"evaluator#val_handlers": None}, "handlers hold no CheckpointLoader"),
    ],
)
def test_weights_that_would_not_be_named_are_refused(tmp_path, series, monkeypatch, keys, message):
    monkeypatch.chdir(tmp_path)
    shutil.copy(ROOT / "models" / "model.pt", "own.pt")
    with pytest.raises(RuntimeError) as raised:
        run(series, tmp_path / "out", **keys)
    assert re.match(message, str(cause_of(raised.value)))
    assert not list((tmp_path / "out").rglob("*translated*"))
    assert run(series, tmp_path / "out", weights=str(tmp_path / "own.pt"))


def test_settings_differ_by_key():
    defaults = {"a": 1, "b": {"c": [1, 2], "_target_": "x"}, "d": "@a"}
    assert differing({"a": 1, "b": {"c": [1, 3], "_target_": "x", "e": 5}, "d": 2}, defaults) == {
        "b#c": [1, 3],
        "b#e": 5,
        "d": 2,
    }
