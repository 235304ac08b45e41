"""Weights that a network cannot take are refused in one short line, before an image is read."""

import nibabel
import numpy as np
import pytest
import torch
from monai.bundle import ConfigWorkflow
from torch import nn

from bundle.runtime.errors import cause_of
from bundle.runtime.weights import check_weights
from tests.processes import ROOT


@pytest.fixture
def network():
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.Conv2d(2, 1, 3))


def saved(path, state):
    torch.save(state, path)
    return path


def test_its_own_weights_pass(network, tmp_path):
    state = network.state_dict()
    check_weights(saved(tmp_path / "flat.pt", state), network)
    check_weights(saved(tmp_path / "named.pt", {"model": state}), network)
    some = {name: state[name] for name in list(state)[:2]}
    check_weights(saved(tmp_path / "some.pt", some), network, strict=False)
    with pytest.raises(ValueError, match="2 of its 4 tensors are missing, 0 have another shape, and 0 are"):
        check_weights(saved(tmp_path / "some.pt", some), network)


def test_those_of_another_network_are_told_shortly(network, tmp_path):
    wide = nn.Sequential(nn.Conv2d(1, 8, 3), *(nn.Conv2d(8, 8, 3) for _ in range(100)))
    for strict in (True, False):
        with pytest.raises(ValueError, match=r"^weights '.*wide.pt' are those of another net.* 4 have another") as told:
            check_weights(saved(tmp_path / "wide.pt", wide.state_dict()), network, strict)
        assert len(str(told.value)) < 400 + len(str(tmp_path)) and str(told.value).endswith("or other weights.")


def test_what_holds_no_weights_is_told_without_unsafe_advice(network, tmp_path):
    (tmp_path / "scan.nii").write_bytes(b"no weights")
    for path in (tmp_path / "scan.nii", saved(tmp_path / "a.pt", [1]), saved(tmp_path / "b.pt", {"a": 1})):
        with pytest.raises(
            ValueError, match="are no checkpoint that holds tensors alone; give a file that training"
        ) as told:
            check_weights(path, network)
        assert "weights_only" not in str(told.value)


@pytest.mark.parametrize("path", ["", "nowhere.pt", "."])
def test_missing_weights_are_told(network, path):
    with pytest.raises(
        FileNotFoundError, match=rf"^weights '{path}' do not exist; give a file that training has written"
    ):
        check_weights(path, network)


@pytest.mark.parametrize(
    ("names", "run_id"), [((), "inference"), (("plan",), "planning"), (("check",), "inspecting")], ids=str
)
@pytest.mark.parametrize("keys", [{"weights": "nowhere.pt"}, {"conditioning": "anchored"}], ids=str)
def test_each_way_of_inference_refuses_them_before_an_image_is_read(tmp_path, names, run_id, keys):
    nibabel.Nifti1Image(np.zeros((8, 8, 8), np.int16), np.eye(4)).to_filename(tmp_path / "scan.nii")
    workflow = ConfigWorkflow(
        [str(ROOT / "configs" / f"{name}.json") for name in ("inference", *names)],
        workflow_type="infer",
        run_id=run_id,
        logging_file=False,
        bundle_root=str(ROOT),
        dataset_dir=str(tmp_path / "scan.nii"),
        output_dir=str(tmp_path / "out"),
        **keys,
    )
    with pytest.raises(RuntimeError) as raised:
        workflow.initialize()
    assert str(cause_of(raised.value)).startswith("weights '") and "do not exist; give" in str(cause_of(raised.value))
