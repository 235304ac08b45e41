"""The experiments' overlays: short, and on top of the same configs train, translate and evaluate."""

import csv
import json
import re
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
import torch
from monai.bundle import ConfigParser, ConfigWorkflow
from PIL import Image

from bundle.examples.phantom import ThoraxPhantom
from bundle.scanner import SOFT
from tests.dicom_series import write_series
from tests.results import results_in

ROOT = Path(__file__).parents[2]
OVERLAYS = [ROOT / "configs" / f"{name}.json" for name in ("xray_2d", "brain_t1_t2", "low_dose", "generate")]
XRAY, BRAIN, LOW_DOSE, GENERATE = OVERLAYS
HEAD = BRAIN.with_name("head_t1_t2.json")
BASES = ("inference", "train", "evaluate")
overlays = pytest.mark.parametrize("overlay", OVERLAYS, ids=lambda path: path.stem)
bases = pytest.mark.parametrize("base", BASES)


SMALL = {"train#dataloader#num_workers": 0, "validate#dataset#number": 2, "patch#patch_size": 16}


def files(base, overlay):
    """The configs of a run: what inference needs, and what training or evaluation needs besides or instead."""
    own = overlay.with_name(f"{overlay.stem}_{base}.json")
    shared = [BRAIN.with_name("brain_t1_t2_train.json")] if overlay == HEAD else []
    after = {"inference": [overlay], "train": [overlay, *shared, own], "evaluate": [own]}[base]
    return [str(ROOT / "configs" / f"{base}.json"), *map(str, after)]


def parser(base, overlay, **keys):
    found = ConfigParser()
    found.read_config(files(base, overlay))
    found.update({"bundle_root": str(ROOT), "device": torch.device("cpu"), **keys})
    return found


def random_weights(overlay, path, **keys):
    """Weights of which every scale does something."""
    network = parser("inference", overlay, **keys).get_parsed_content("network_def")
    torch.manual_seed(0)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.03)
    torch.save(network.state_dict(), path)
    return str(path)


def run(base, overlay, run_id, **keys):
    workflow = ConfigWorkflow(
        files(base, overlay),
        workflow_type="train" if base == "train" else "infer",
        logging_file=False,
        init_id="initialize",
        run_id=run_id,
        bundle_root=str(ROOT),
        device="cpu",
        **keys,
    )
    workflow.initialize()
    workflow.run()
    return workflow


def grey(shape, seed=0):
    """A picture with edges in it."""
    picture = ThoraxPhantom(shape, (0.8, 0.8), seed=seed)[...]
    return ((picture.clip(-1000, 200) + 1000) * 255 / 1200).round().astype(np.uint8)


@overlays
def test_densitometry_is_for_ct(overlay):
    """Refused before anything is translated."""
    assert parser("inference", overlay).get_parsed_content("postprocessing").transforms[-1].densitometry is None
    asked = parser("inference", overlay, densitometry=True)
    if overlay == LOW_DOSE:
        assert asked.get_parsed_content("postprocessing").transforms[-1].densitometry is not None
        return
    with pytest.raises(RuntimeError) as error:
        asked.get_parsed_content("postprocessing")
    causes = [error.value]
    while causes[-1].__cause__:
        causes.append(causes[-1].__cause__)
    assert "densitometry needs thorax CTs in HU, of three axes, but " in str(causes[-1])


@bases
@overlays
def test_an_overlay_holds_no_network(base, overlay):
    for file in files(base, overlay)[1:]:
        text = Path(file).read_text()
        assert '"network_def":' not in text and "bundle.cascade.Cascade" not in text and "UNet" not in text


@overlays
def test_every_key_of_an_overlay_is_of_some_use(overlay):
    """Each is one of a config that it lies on, a run id, or used by another of its keys."""
    for base in ("inference", "train", "evaluate"):
        under, *others = files(base, overlay)
        known = ConfigParser()
        known.read_config([str(ROOT / "configs" / "inference.json"), under] if base == "train" else under)
        for file in others:
            text = Path(file).read_text()
            own = json.loads(text)
            names = {re.sub("^mode#options#[a-z]+", "mode#default", key) for key in own} - {"generating", "comparing"}
            assert [name for name in names if name not in known and f"@{name}" not in text] == []


@overlays
def test_an_overlay_is_short(overlay):
    assert all(len(json.loads(Path(file).read_text())) <= 22 for base in BASES for file in files(base, overlay)[1:])


@bases
@overlays
def test_an_overlay_leaves_what_is_run(base, overlay):
    """A key of the same name would be run in its place, without a word."""
    for file in files(base, overlay)[1:]:
        own = json.loads(Path(file).read_text())
        assert not {"initialize", "run", "inference", "training", "evaluating", "gather"} & own.keys()


def test_x_rays_that_are_evaluated_were_not_trained_on():
    assert parser("train", XRAY)["held_out"] == parser("evaluate", XRAY)["cases#names"]


@overlays
def test_training_and_inference_have_the_same_network(overlay):
    made = [parser(base, overlay).get_parsed_content("network_def") for base in ("train", "inference")]
    shapes = [{key: value.shape for key, value in network.state_dict().items()} for network in made]
    assert shapes[0] == shapes[1] and made[0].reach == made[1].reach and made[0].sees_image == made[1].sees_image


@overlays
def test_shipped_weights_are_of_that_network(overlay):
    found = parser("inference", overlay)
    path = Path(found.get_parsed_content("weights"))
    if not path.exists():
        pytest.skip(f"{path.name} is not shipped")
    found.get_parsed_content("network_def").load_state_dict(torch.load(path, weights_only=True))


@pytest.mark.parametrize("scale", [0, 2])
@pytest.mark.parametrize("overlay", [XRAY, GENERATE], ids=lambda path: path.stem)
def test_training_on_pictures(tmp_path, overlay, scale):
    with (tmp_path / "manifest.csv").open("w", newline="") as text:
        csv.writer(text).writerows([["file", "patient"], ["a.png", "1"], ["b.png", "1"], ["c.png", "2"]])
    for seed, name in enumerate("abc"):
        Image.fromarray(grey((450, 420), seed).T).save(tmp_path / f"{name}.png")
    made = run(
        "train", overlay, "training", dataset_dir=str(tmp_path), output_dir=str(tmp_path / "out"), scale=scale,
        held_out=[], num_folds=2, max_epochs=1, iterations_per_epoch=2, batch_size=2 if overlay == GENERATE else 1,
        progress=False, weights=str(tmp_path / "none.pt"), **SMALL,
    )  # fmt: skip
    assert all(value.isfinite().all() for value in torch.load(tmp_path / "out" / f"scale_{scale}.pt").values())
    folds = made.parser.get_parsed_content("folds")
    assert sorted(len(fold) for fold in folds) == [1, 2]


@pytest.mark.parametrize(("overlay", "scale"), [(BRAIN, 0), (BRAIN, 2), (HEAD, 0), (HEAD, 1)])
def test_training_from_real_pairs(tmp_path, overlay, scale):
    for folder, gain in (("t1", 1), ("t2", -1)):
        (tmp_path / folder).mkdir()
        for seed, name in enumerate(("a", "b")):
            voxels = 500 + gain * ThoraxPhantom((64, 60, 56), (4.0, 4.0, 4.0), seed=seed)[...] / 3
            nibabel.Nifti1Image(voxels.clip(0, 1000).astype(np.int16), np.eye(4)).to_filename(
                tmp_path / folder / f"{name}.nii"
            )
    run(
        "train", overlay, "training", dataset_dir=str(tmp_path / "t1"), label_dir=str(tmp_path / "t2"),
        output_dir=str(tmp_path / "out"), scale=scale, max_epochs=1, iterations_per_epoch=2, batch_size=1,
        progress=False, weights=str(tmp_path / "none.pt"), **SMALL,
    )  # fmt: skip
    assert all(value.isfinite().all() for value in torch.load(tmp_path / "out" / f"scale_{scale}.pt").values())
    record = json.loads((tmp_path / "out" / f"scale_{scale}.json").read_text(encoding="utf-8"))
    drawn = [f"{name}_drawn_{turn}.nii" for name in "ab" for turn in (0, 1)]
    assert record["settings"]["trained_on"] == ["a.nii", "b.nii", *drawn]


def test_an_x_ray_keeps_its_size(tmp_path):
    Image.fromarray(grey((131, 97)).T).save(tmp_path / "chest.png")
    run(
        "inference", XRAY, "inference", dataset_dir=str(tmp_path / "chest.png"), output_dir=str(tmp_path / "out"),
        weights=random_weights(XRAY, tmp_path / "random.pt"), amp=False,
    )  # fmt: skip
    with Image.open(tmp_path / "out" / "chest_translated.png") as made:
        assert made.size == (131, 97) and made.mode == "L"


def test_t2_is_made_of_a_t1_image_as_it_comes(tmp_path):
    """Whatever its gain and offset; the background stays, and dark fluid inside the head is translated."""
    t1 = (ThoraxPhantom((64, 60, 56), (4.0, 4.0, 4.0))[...].clip(-1000, 200) + 1000) / 2
    t1[28:34, 26:32, 24:30] = 0
    for name, gain, offset in (("one", 1.0, 0.0), ("other", 2.0, 40.0)):
        nibabel.Nifti1Image((t1 * gain + offset).astype(np.float32), np.eye(4)).to_filename(tmp_path / f"{name}.nii")
        run(
            "inference", BRAIN, "inference", dataset_dir=str(tmp_path / f"{name}.nii"),
            output_dir=str(tmp_path / "out"), weights=random_weights(BRAIN, tmp_path / "random.pt"), amp=False,
        )  # fmt: skip
    one, other = (
        np.asarray(nibabel.load(tmp_path / "out" / f"{name}_translated.nii").dataobj, int) for name in ("one", "other")
    )
    assert np.abs(one - other).max() <= 1
    assert one[0, 0, 0] == 0 and np.all(one[28:34, 26:32, 24:30] != 0)


def test_a_sample_is_its_seed_s_whatever_the_tiles(tmp_path):
    """But for rounding: libraries may add in another order for another tile; a pixel in thousands rounds otherwise."""
    weights = random_weights(GENERATE, tmp_path / "random.pt")
    for tile in (80, 57):
        run(
            "inference", GENERATE, "generating", output_dir=str(tmp_path / str(tile)), weights=weights,
            image_size=[190, 130], num_samples=2, seed=5, tile_size=tile, amp=False,
        )  # fmt: skip
    one, other = (results_in(tmp_path / str(tile)) for tile in (80, 57))
    assert [file.name for file in one] == ["sample_0005.png", "sample_0006.png"] == [file.name for file in other]
    for left, right in zip(one, other, strict=True):
        difference = np.abs(np.asarray(Image.open(left), int) - np.asarray(Image.open(right), int))
        assert difference.max() <= 1 and np.count_nonzero(difference) <= difference.size / 1000
    assert one[0].read_bytes() != one[1].read_bytes()
    with Image.open(one[0]) as sample:
        assert sample.size == (190, 130) and np.asarray(sample).std() > 1


@pytest.mark.parametrize("overlay", [XRAY, BRAIN, LOW_DOSE], ids=lambda path: path.stem)
def test_shipped_weights_are_evaluated(overlay):
    translation = parser("evaluate", overlay).get_parsed_content("translation")
    weights = translation.parser().get_parsed_content("weights")
    assert weights == parser("inference", overlay).get_parsed_content("weights")
    assert Path(weights).is_file()


def test_heads_with_skull_differ_in_scale_networks_and_weights_alone():
    brain, head = (json.loads((ROOT / "configs" / f"{name}_t1_t2.json").read_text()) for name in ("brain", "head"))
    changed = {key for key, value in head.items() if brain.get(key, "") != value}
    fine = {f"network_def#fine#{name}" for name in ("blocks", "kernel_sizes", "detail")}
    assert changed == {"source#limits", "median", "weights", "network_def#coarse"} | fine
    assert set(brain) - set(head) == {f"mode#options#image#coarse_{name}" for name in ("channels", "strides")}
    assert head["weights"] == brain["weights"].replace("model_t1_t2", "model_t1_t2_head")
    found = parser("evaluate", ROOT / "configs" / "head_t1_t2.json").get_parsed_content("translation").parser()
    assert found["median"] == 500 and found["percentiles"]
    assert Path(found.get_parsed_content("weights")).is_file()


def test_weights_of_a_conditioning_are_evaluated():
    found = parser("evaluate", BRAIN, overrides={"percentiles": None, "conditioning": "sketch"})
    keys = found.get_parsed_content("translation").parser()
    assert keys.get_parsed_content("weights").endswith("model_t1_t2_sketch.pt")


def test_pictures_are_evaluated_from_their_own_sketch(tmp_path):
    for name in "ab":
        Image.fromarray(grey((96, 90), ord(name)).T).save(tmp_path / f"{name}.png")
    weights = random_weights(XRAY, tmp_path / "random.pt")
    run(
        "evaluate", XRAY, "evaluating", source=str(tmp_path), weights=weights, patch_weights=weights,
        output_dir=str(tmp_path / "out"), tile_size=48, **{"cases#names": ["a"], "evaluation#fresh": False},
    )  # fmt: skip
    rows = list(csv.DictReader((tmp_path / "out" / "table.csv").read_text().splitlines()))
    assert [row["method"] for row in rows] == ["ours", "small", "patch", "target"]
    assert {row["case"] for row in rows} == {"a"}
    assert float(rows[-1]["ssim"]) == 1 and all(0 < float(row["mae"]) < 1 for row in rows[:-1])
    assert all(row["lung_percent"] == "nan" for row in rows)
    report = (tmp_path / "out" / "report.md").read_text()
    assert "Chest X-rays" in report and "0 to 255 grey values" in report and "Lung:" not in report


def test_low_dose_is_acquired_with_the_kernel_of_the_target():
    (acquisition,) = parser("evaluate", LOW_DOSE).get_parsed_content("cases#kernels")
    assert acquisition.kernel == SOFT


def test_low_dose_is_evaluated_with_frechet_distances(tmp_path):
    voxels = ThoraxPhantom((64, 60, 24), (1.5, 1.5, 2.5))[...].astype(np.int16)
    nibabel.Nifti1Image(voxels, np.diag([1.5, 1.5, 2.5, 1])).to_filename(tmp_path / "scan.nii")
    run(
        "evaluate", LOW_DOSE, "evaluating", dataset_dir=str(tmp_path / "scan.nii"), output_dir=str(tmp_path / "out"),
        weights=random_weights(LOW_DOSE, tmp_path / "random.pt"), tile_size=48,
        **{"evaluation#fresh": False, "evaluation#only": ["ours"], "evaluation#slices": 16},
    )  # fmt: skip
    report = (tmp_path / "out" / "report.md").read_text()
    assert "Simulated low dose on real CT" in report and "Frechet distances, EfficientNet-Lite0" in report
    source, target = (
        np.asarray(nibabel.load(path).dataobj, float)
        for path in (next((tmp_path / "out" / "pairs").glob(f"*{which}.nii")) for which in ("source", "target"))
    )
    assert np.array_equal(target, voxels[..., 4:20])  # the scan itself is the truth
    assert 20 < (source - target)[8:-8, 8:-8].std() < 80


def test_a_low_dose_series_is_not_called_a_soft_kernel(tmp_path):
    volume = ThoraxPhantom((40, 32, 8), spacing=(8.0, 8.0, 20.0), seed=0, noise=60.0)[:, :, :]
    write_series(tmp_path / "ct", volume, np.diag([-8.0, 8, 20, 1]), description="Low dose")
    weights = random_weights(LOW_DOSE, tmp_path / "model.pt")
    run(
        "inference", LOW_DOSE, "inference", weights=weights,
        dataset_dir=str(tmp_path / "ct"), output_dir=str(tmp_path / "out"),
    )  # fmt: skip
    headers = [pydicom.dcmread(file) for file in (tmp_path / "out" / "ct_translated").iterdir()]
    assert {header.SeriesDescription for header in headers} == {"Synthetic high dose: Low dose"}
    assert all(header.DerivationDescription.startswith("Synthetic high dose, by neural network") for header in headers)
