"""From one modality to another: source and target have windows of their own, and an overlay says so."""

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser, ConfigWorkflow

from bundle.examples.phantom import ThoraxPhantom

ROOT = Path(__file__).parents[2]
AFFINE = np.diag([-1.5, 1.5, 4.0, 1.0])
#: MR to CT, as a user would write it.
OVERLAY = {
    "source": {"window": [0.0, 1000.0], "limits": [0.0, 1500.0]},
    "target": {"window": [-1000.0, 1000.0], "limits": [-1024.0, 2000.0]},
    "edges": [30.0, 90.0],
    "mode#options#image#kernel_pairs": False,
    "mode#options#image#coarse_channels": [16, 32],
    "mode#options#image#coarse_strides": [2],
    "network_def#base": "previous",
    "network_def#fine#blocks": [1],
    "network_def#fine#kernel_sizes": [3],
}
SMALL = {"train#dataloader#num_workers": 0, "validate#dataset#number": 2, "patch#patch_size": 16}


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    """Images whose grey values are a function of the HU: dark air, bright fat, middling tissue."""
    folder = tmp_path_factory.mktemp("pairs")
    for seed, name in enumerate("ab"):
        hu = ThoraxPhantom((64, 60, 24), (1.5, 1.5, 4.0), seed=seed)[...].clip(-1000, 1000)
        mr = np.interp(hu, [-1000, -700, -100, 50, 1000], [0, 100, 900, 500, 50])
        for modality, voxels in (("mr", mr), ("ct", hu)):
            (folder / modality).mkdir(exist_ok=True)
            nibabel.Nifti1Image(voxels.astype(np.int16), AFFINE).to_filename(folder / modality / f"{name}.nii")
    (folder / "mr_to_ct.json").write_text(json.dumps(OVERLAY))
    return folder


def run(base, pairs, run_id, **keys):
    workflow = ConfigWorkflow(
        [str(ROOT / "configs" / f"{base}.json"), str(pairs / "mr_to_ct.json")],
        workflow_type="train" if base == "train" else "infer",
        logging_file=False,
        init_id="initialize",
        run_id=run_id,
        bundle_root=str(ROOT),
        device="cpu",
        dataset_dir=str(pairs / "mr"),
        **keys,
    )
    workflow.initialize()
    workflow.run()
    return workflow


@pytest.fixture(scope="module")
def trained(pairs):
    """Weights of both scales, trained for a moment."""
    weights = str(pairs / "model.pt")
    for scale, epochs in ((0, 12), (1, 1)):
        run(
            "train", pairs, "training", label_dir=str(pairs / "ct"), output_dir=str(pairs / "training"), scale=scale,
            max_epochs=epochs, iterations_per_epoch=5, batch_size=1, num_folds=2, progress=False, weights=weights,
            learning_rate=0.003, amp=False, **SMALL,
        )  # fmt: skip
    run("train", pairs, "gather", label_dir=str(pairs / "ct"), output_dir=str(pairs / "training"), weights=weights)
    return weights


@pytest.mark.parametrize("streaming", [False, True])
def test_an_mr_image_becomes_a_ct(pairs, trained, tmp_path, streaming):
    """In HU, on the grid: lung, which is dark in MR and above 0, comes out far below 0."""
    run(
        "inference", pairs, "inference", output_dir=str(tmp_path), weights=trained, amp=False, streaming=streaming,
        tile_size=32,
    )  # fmt: skip
    for name in "ab":
        made = nibabel.load(tmp_path / f"{name}_translated.nii")
        voxels = np.asarray(made.dataobj, float)
        ct = np.asarray(nibabel.load(pairs / "ct" / f"{name}.nii").dataobj, float)
        assert made.shape == ct.shape and np.array_equal(made.affine, AFFINE) and made.get_data_dtype() == np.int16
        lung, body = ct < -500, np.abs(ct) < 100
        assert voxels[lung].mean() < -400 and abs(voxels[body].mean()) < 200
        assert np.corrcoef(voxels.ravel(), ct.ravel())[0, 1] > 0.85


def configured(base, **keys):
    parser = ConfigParser()
    parser.read_config(str(ROOT / "configs" / f"{base}.json"))
    parser.update({"bundle_root": str(ROOT), "device": torch.device("cpu"), **keys})
    return parser


def test_training_and_inference_show_the_network_the_same():
    """Source and target each in its own window; beyond the limits nothing is shown."""
    hu = torch.tensor([-3000.0, -1000.0, 0.0, 1000.0, 3000.0]).reshape(1, 5, 1)
    mr = torch.tensor([-100.0, 0.0, 500.0, 1000.0, 3000.0]).reshape(1, 5, 1)
    windows = {key: OVERLAY[key] for key in ("source", "target")}
    trained = configured("train", **windows).get_parsed_content("windowing")({"image": mr, "label": hu})
    assert trained["image"].flatten().tolist() == [-1, -1, 0, 1, 2]
    assert trained["label"].flatten().tolist() == pytest.approx([-1.024, -1, 0, 1, 2])
    inference = configured("inference", **windows)
    assert torch.equal(inference.get_parsed_content("windowing")({"image": mr})["image"], trained["image"])
    back = inference.get_parsed_content("unwindowing")({"pred": trained["label"]})["pred"]
    assert back.flatten().tolist() == pytest.approx([-1024, -1000, 0, 1000, 2000], abs=1e-3)


@pytest.mark.parametrize(
    ("keys", "window"),
    [
        ({"label_dir": "ct"}, "source"),
        ({"mode#options#image#kernel_pairs": True}, "source"),
        ({}, "target"),
        ({"conditioning": "sketch"}, "target"),
    ],
)
def test_an_image_that_is_its_own_target_has_the_target_s_window(keys, window):
    """Without pairs the images to train on are of the target's modality."""
    parser = configured("train", **{**OVERLAY, **keys})
    assert parser.get_parsed_content("image").items() >= OVERLAY[window].items()
    made = parser.get_parsed_content("windowing")(
        {"image": torch.full((1, 4, 4), -500.0), "label": torch.zeros(1, 4, 4)}
    )
    assert made["image"].max().item() == pytest.approx({"source": -1.0, "target": -0.5}[window])


@pytest.mark.parametrize(("target", "kept"), [([-1000.0, 200.0], True), ([-1000.0, 1000.0], False)])
def test_the_source_is_kept_beyond_its_limits_where_windows_are_one(target, kept):
    """Between modalities its values mean nothing."""
    pasting = configured("inference", **{"target#window": target}).get_parsed_content("pasting")
    source = torch.tensor([-3000.0, 0.0, 3000.0]).reshape(1, 3, 1)
    made = pasting({"pred": torch.full_like(source, 7.0), "source": source})["pred"]
    assert made.flatten().tolist() == ([-3000, 7, 3000] if kept else [7, 7, 7])


def test_edges_are_in_the_source_s_units():
    sketch = configured("inference", **{"source#window": [0.0, 400.0]}, edges=[20.0, 60.0])
    made = sketch.get_parsed_content("network_def").sketch
    assert (made.low, made.high) == pytest.approx((0.1, 0.3))
