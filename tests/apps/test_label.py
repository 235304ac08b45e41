"""MONAI Label's server answers with the voxels and the geometry of `monai.bundle run`, and trains; all on loopback."""

import importlib.util
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import itk
import nibabel
import numpy as np
import pytest

from apps.label.__main__ import settings
from apps.label.folder import NAME, lay_out
from bundle.examples.phantom import ThoraxPhantom
from bundle.images.reader import ScanReader
from tests.label_server import ROOT, STORED, copy_bundle, guarded, make_studies, needs_label, stock
from tests.results import results_in
from tests.slicer_stub import Volume, geometry, load

#: A real CT to translate besides, or nothing.
REAL = os.environ.get("LABEL_CT", "")
#: Of an image to train on: its coarsest scale is large enough for the discriminator.
TRAINED = (144, 128, 96)


@pytest.fixture(scope="module")
def studies(tmp_path_factory):
    return make_studies(tmp_path_factory.mktemp("studies"))


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return copy_bundle(tmp_path_factory.mktemp("bundle"))


def run(source, out, *options):
    """What `monai.bundle run` makes of an image, or of a folder of them."""
    config = ("--config_file", "configs/inference.json", "--dataset_dir", str(source), "--output_dir", str(out))
    command = [sys.executable, "-m", "monai.bundle", "run", "inference", *config, *options]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    return out


@pytest.fixture(scope="module")
def expected(studies, tmp_path_factory):
    """The results of the command line, of every image that is stored."""
    return run(studies, tmp_path_factory.mktemp("expected"))


def read(path):
    reader = ScanReader()
    voxels, meta = reader.get_data(reader.read(str(path)))
    return voxels, np.asarray(meta["affine"])


def assert_same(answer, result):
    """Within 1 HU, on the same grid, and no label map."""
    (voxels, affine), (wanted, grid) = read(answer), read(result)
    assert voxels.shape == wanted.shape and voxels.min() < -300 and len(np.unique(voxels)) > 300
    assert np.abs(voxels.astype(int) - wanted.astype(int)).max() <= 1
    np.testing.assert_allclose(affine, grid, atol=1e-4)


@pytest.fixture(scope="module")
def server(studies, bundle, tmp_path_factory):
    with guarded(studies, bundle, tmp_path_factory.mktemp("label")) as served:
        yield served


@needs_label
def test_the_bundle_is_offered_as_one_that_has_no_labels(server):
    info = server.ask("GET", "/info/").json()
    (model,) = info["models"].values()
    assert list(info["models"]) == list(info["trainers"]) == [NAME]
    assert model["labels"] == {} == dict.fromkeys(info["labels"]) and model["dimension"] == 3
    options = json.loads((ROOT / "configs" / "inference.json").read_text())["displayable_configs"]
    assert {key: model["config"][key] for key in options} == options
    assert min(model["config"]["model_filename"], key=len) == model["config"]["model_filename"][0] == "model.pt"


@needs_label
@pytest.mark.parametrize("name", STORED)
def test_a_stored_image_is_answered_as_by_the_command_line(server, expected, tmp_path, name):
    answer = server.infer(tmp_path / f"answer{STORED[name]}", name)
    assert_same(answer, expected / f"{name}_translated{STORED[name]}")


@needs_label
def test_a_dicom_folder_of_the_studies_is_as_well(server, expected, tmp_path):
    assert_same(server.infer(tmp_path / "answer.nii.gz", "series"), expected / "series_translated")


@needs_label
def test_dicom_files_that_are_sent_are_as_well(server, studies, expected, tmp_path):
    files = [("files", (file.name, file.read_bytes())) for file in (studies / "series").iterdir()]
    session = server.ask("PUT", "/session/", files=files).json()["session_id"]
    answer = server.infer(tmp_path / "answer.nii.gz", query=f"&session_id={session}")
    assert_same(answer, expected / "series_translated")


@needs_label
def test_named_kernels_are_as_well(server, studies, tmp_path):
    kernels = {"source_kernel": "B70f", "target_kernel": "B30f"}
    options = [word for key, name in kernels.items() for word in (f"--{key}", name)]
    named = run(studies / "plain.nii", tmp_path / "named", *options) / "plain_translated.nii"
    assert_same(server.infer(tmp_path / "named.nii", "plain", kernels), named)
    plain = server.infer(tmp_path / "plain.nii", "plain", dict.fromkeys(kernels, ""))
    assert not np.array_equal(read(plain)[0], read(named)[0])


@needs_label
@pytest.mark.parametrize("name", ["packed", "oblique", "meta"])
def test_an_image_that_is_sent_is_as_well(server, studies, expected, tmp_path, name):
    sent = studies / f"{name}{STORED[name]}"
    answer = server.infer(tmp_path / f"answer{STORED[name]}", upload=sent)
    assert_same(answer, expected / f"{name}_translated{STORED[name]}")


@needs_label
def test_the_plugin_s_request_for_bytes_does_not_destroy_hu(server, expected, tmp_path):
    """As Slicer's MONAI Label module sends it."""
    params = {"result_extension": ".nrrd", "result_dtype": "uint8"}
    assert_same(server.infer(tmp_path / "answer.nrrd", "plain", params), expected / "plain_translated.nii")


@needs_label
def test_a_memory_budget_changes_nothing(server, expected, tmp_path):
    params = {"memory_budget": "64MiB", "seed": 3}
    assert_same(server.infer(tmp_path / "answer.nii", "plain", params), expected / "plain_translated.nii")


@needs_label
def test_another_conditioning_has_its_weights_and_leaves_the_next_request_alone(server, studies, expected, tmp_path):
    sketched = run(studies / "plain.nii", tmp_path / "sketch", "--conditioning", "sketch") / "plain_translated.nii"
    assert_same(server.infer(tmp_path / "sketch.nii", "plain", {"conditioning": "sketch"}), sketched)
    assert_same(server.infer(tmp_path / "image.nii", "plain"), expected / "plain_translated.nii")
    assert np.abs(read(sketched)[0].astype(int) - read(tmp_path / "image.nii")[0]).mean() > 5


@needs_label
@pytest.mark.parametrize(
    "image, params, message",
    [
        ("plain", {"conditioning": "edges"}, "conditioning 'edges' is not known; take one of"),
        ("plain", {"conditioning": "anchored"}, "conditioning 'anchored' has no weights"),
        ("plain", {"memory_budget": "much"}, "'much' is not a positive number of bytes"),
        ("plain", {"seed": "x"}, "seed 'x' is not a whole number"),
        ("nobody", {}, "image 'nobody' is not among the studies, which hold meta, oblique, packed, plain"),
    ],
)
def test_bad_requests_are_told_what_is_wrong(server, image, params, message):
    answer = server.ask("POST", f"/infer/{NAME}?image={image}&output=image", data={"params": json.dumps(params)})
    assert answer.status_code >= 400 and message in answer.json()["detail"]


@needs_label
def test_others_are_answered_while_it_translates(server, tmp_path):
    work = threading.Thread(target=server.infer, args=(tmp_path / "a.nii", "plain", {"conditioning": "sketch"}))
    begun, answered = time.monotonic(), []
    work.start()
    while work.is_alive():
        asked = time.monotonic()
        server.ask("GET", "/info/")
        answered.append((asked - begun, work.is_alive()))
        time.sleep(0.05)
    took = time.monotonic() - begun
    assert any(when > took / 3 and during for when, during in answered)


@needs_label
def test_slicer_s_module_gets_the_same(server, studies, expected, monkeypatch):
    module, scene = load(monkeypatch)
    source = scene.add(Volume(itk.imread(str(studies / "oblique.nrrd")), "Chest"))
    logic = module.KernelTranslationLogic()
    result = logic.translate(source, server.address, {"conditioning": "image", "memory_budget": "2GiB"})
    wanted = itk.imread(str(expected / "oblique_translated.nrrd"))
    np.testing.assert_allclose(geometry(result.image), geometry(source.image), atol=1e-5)
    assert np.abs(itk.array_from_image(result.image).astype(int) - itk.array_from_image(wanted)).max() <= 1
    with pytest.raises(module.ServerError, match="refused: conditioning 'edges' is not known"):
        logic.translate(source, server.address, {"conditioning": "edges"})


@needs_label
def test_a_server_started_by_monai_label_s_own_command_answers_the_same(studies, bundle, expected, tmp_path):
    """Nothing of `apps.label` runs in it: the bundle alone, in the stock app."""
    with stock(studies, bundle, tmp_path) as served:
        params = {"result_dtype": "uint8"}
        assert_same(served.infer(tmp_path / "answer.nii", "plain", params), expected / "plain_translated.nii")


@needs_label
@pytest.mark.skipif(not REAL, reason="no real CT: name one by LABEL_CT=/path/to/image")
def test_a_real_ct_is_answered_as_by_the_command_line(server, tmp_path):
    (result,) = results_in(run(REAL, tmp_path / "expected"))
    answer = server.infer(tmp_path / "answer.nii.gz", "", {"result_dtype": "uint8"}, Path(REAL))
    assert_same(answer, result)
    (voxels, _), (wanted, _) = read(answer), read(result)
    print(f"real CT {voxels.shape}: at most {np.abs(voxels.astype(int) - wanted.astype(int)).max()} HU off")


@needs_label
def test_training_changes_the_weights_that_answer(server, bundle, tmp_path):
    """On pairs that are stored as image and label; last, because the server's answers are others from here on."""
    before = read(server.infer(tmp_path / "before.nii", "plain"))[0]
    for seed in (0, 1):
        for part, noise, place in (("file", 60.0, "image"), ("label", 0.0, "label")):
            made = ThoraxPhantom(TRAINED, (2.5, 2.5, 2.5), seed=seed, noise=noise)
            file = tmp_path / f"pair{seed}.nii.gz"
            nibabel.Nifti1Image(made[...], made.affine).to_filename(file)
            sent = {part: (file.name, file.read_bytes())}
            assert server.ask("PUT", f"/datastore/{place}?image=pair{seed}", files=sent).status_code == 200
    weights = bundle / "models" / "model.pt"
    told, written = weights.read_bytes(), weights.stat().st_mtime_ns
    # all that is offered, as Slicer's module sends it: the first of each list; and the fewest steps
    config = server.ask("GET", "/info/").json()["trainers"][NAME]["config"]
    offered = {key: value[0] if isinstance(value, list) else value for key, value in config.items()}
    request = {**offered, "max_epochs": 1, "val_split": 0.5, "scale": 0, "update_weights": True}
    assert server.ask("POST", f"/train/{NAME}", json=request).json()["status"] in ("SUBMITTED", "RUNNING")
    while (task := server.ask("GET", "/train/").json())["status"] in ("SUBMITTED", "RUNNING"):
        time.sleep(1)
    assert task["status"] == "DONE", "\n".join(task["details"])
    assert weights.stat().st_mtime_ns > written and weights.read_bytes() != told
    assert (ROOT / "models" / "model.pt").read_bytes() == told
    after = read(server.infer(tmp_path / "after.nii", "plain"))[0]
    assert after.shape == before.shape and (after != before).any()


def test_settings_keep_the_server_to_itself(tmp_path):
    """One image at a time, and what is sent to it stays in its own folder."""
    kept = settings(tmp_path / "app")
    assert kept["MONAI_LABEL_INFER_CONCURRENCY"] == "1"
    assert Path(kept["MONAI_LABEL_SESSION_PATH"]).parent == tmp_path
    assert {suffix[1:] for suffix in json.loads(kept["MONAI_LABEL_DATASTORE_FILE_EXT"])} == set(STORED.values())


@pytest.mark.skipif(importlib.util.find_spec("monailabel") is not None, reason="MONAI Label is installed")
def test_without_monai_label_the_way_out_is_told(tmp_path):
    with pytest.raises(ModuleNotFoundError, match="make label"):
        lay_out(tmp_path, ROOT)
