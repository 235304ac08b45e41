"""The JSON files: what MONAI, the model zoo, MONAI Label and MONAI Deploy ask of them."""

import hashlib
import json
from pathlib import Path
from pydoc import locate

import numpy as np
import pydicom
import pytest
import torch
from monai.bundle import ComponentLocator, ConfigParser, ConfigWorkflow, ckpt_export, load, verify_net_in_out
from monai.bundle.reference_resolver import ReferenceResolver
from monai.transforms import SaveImaged
from PIL import Image

from bundle.cascade import CONDITIONINGS, CascadeInferer
from bundle.examples.phantom import ThoraxPhantom
from bundle.examples.phantom.__main__ import write
from bundle.images.reader import ScanReader
from tests.dicom_series import write_series
from tests.laws import image
from tests.processes import ran
from tests.results import results_in

ROOT = Path(__file__).parents[2]
CONFIGS = sorted((ROOT / "configs").glob("*.json"))
INFERENCE, TRAIN, EVALUATE, METADATA = (
    str(ROOT / "configs" / f"{name}.json") for name in ("inference", "train", "evaluate", "metadata")
)
#: What both files declare: MONAI Label reads each alone.
SHARED = ["spatial_dims", "window", "limits", "source", "target", "edges", "network_def"]


@pytest.fixture(scope="module")
def scans(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scans")
    for seed in (0, 1):
        write(
            str(folder / f"phantom_{seed}.nii.gz"), shape=(56, 48, 24), spacing=(1.5, 1.5, 4.0), seed=seed, noise=60.0
        )
    return folder


def targets(node):
    if isinstance(node, dict):
        if "_target_" in node:
            yield node["_target_"]
        for value in node.values():
            yield from targets(value)
    elif isinstance(node, list):
        for value in node:
            yield from targets(value)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_every_target_resolves(path):
    names = ComponentLocator()
    for target in targets(json.loads(path.read_text())):
        known = locate(target) if "." in target else names.get_component_module_name(target)
        assert known is not None and known != [], target


def test_inference_and_training_declare_the_same_network():
    inference, train = json.loads(Path(INFERENCE).read_text()), json.loads(Path(TRAIN).read_text())
    assert {key: inference[key] for key in SHARED} == {key: train[key] for key in SHARED}
    assert inference["displayable_configs"]["conditioning"] == train["conditioning"]
    ours, theirs = (
        {"default": config["mode"]["default"], **config["mode"]["options"]} for config in (inference, train)
    )
    assert ours.keys() == theirs.keys() == {"default", *CONDITIONINGS}
    for name, settings in ours.items():  # training has more, but loads no weights
        settings.pop("strict", None)
        assert settings == {key: theirs[name][key] for key in settings}


def leaves(node, name=""):
    """Every text in a config, with the id that it stands at."""
    if isinstance(node, (dict, list)):
        for key, value in node.items() if isinstance(node, dict) else enumerate(node):
            yield from leaves(value, f"{name}#{key}".removeprefix("#"))
    elif isinstance(node, str):
        yield name, node


@pytest.mark.parametrize(("path", "most"), [(TRAIN, 65), (INFERENCE, 70), (EVALUATE, 30)])
def test_a_config_has_few_keys(path, most):
    assert len(json.loads(Path(path).read_text())) <= most


@pytest.mark.parametrize("path", [TRAIN, INFERENCE, EVALUATE])
def test_every_reference_leads_somewhere(path):
    """As it is written, and not by a place in a list."""
    parser = ConfigParser()
    parser.read_config(path)
    found = 0
    for name, text in leaves(parser.config):
        if text.startswith("%"):
            assert text[1:] in parser, (name, text)
        for reference in ReferenceResolver.match_refs_pattern(text):
            assert reference in parser, (name, text)
            assert not any(part.isdigit() for part in reference.split("::")), (name, text)
            found += 1
    assert found > 30


@pytest.mark.parametrize("path", [TRAIN, INFERENCE])
def test_what_depends_on_the_conditioning_stands_in_one_table(path):
    assert not [text for _, text in leaves(json.loads(Path(path).read_text())) if "@conditioning " in text]


def test_a_conditioning_that_is_not_known_is_told():
    parser = ConfigParser()
    parser.read_config(TRAIN)
    parser["conditioning"] = "edges"
    with pytest.raises(RuntimeError) as error:
        parser.get_parsed_content("network_def")
    assert "conditioning 'edges' is not known; take one of image, anchored, sketch, none." in str(error.value.__cause__)


def test_inference_has_all_that_monai_asks_for(scans, tmp_path):
    workflow = ConfigWorkflow(
        workflow_type="inference",
        config_file=INFERENCE,
        meta_file=METADATA,
        logging_file=str(ROOT / "configs" / "logging.conf"),
        bundle_root=str(ROOT),
        dataset_dir=str(scans),
        output_dir=str(tmp_path),
    )
    workflow.initialize()
    assert workflow.check_properties() == []


def test_training_has_all_that_monai_asks_for(scans, tmp_path):
    workflow = ConfigWorkflow(
        workflow_type="train",
        config_file=TRAIN,
        meta_file=METADATA,
        logging_file=str(ROOT / "configs" / "logging.conf"),
        bundle_root=str(ROOT),
        dataset_dir=str(scans),
        output_dir=str(tmp_path),
        num_folds=2,
        **{"train#dataloader#num_workers": 0, "validate#dataset#number": 1},
    )
    workflow.initialize()
    assert workflow.check_properties() == []


def test_the_network_takes_and_gives_what_the_metadata_say():
    verify_net_in_out(
        net_id="network_def", meta_file=METADATA, config_file=INFERENCE, bundle_root=str(ROOT), device="cpu"
    )


def test_the_weights_are_a_flat_state_dict_below_25_mb():
    path = ROOT / "models" / "model.pt"
    state = torch.load(path, weights_only=True)
    assert path.stat().st_size < 25e6 and all(isinstance(value, torch.Tensor) for value in state.values())
    # MONAI Label takes the shortest name in the folder
    assert min((file.name for file in path.parent.glob("*.pt")), key=len) == "model.pt"


def test_scripted_by_monai_it_gives_the_same(tmp_path):
    """For MONAI Deploy, which loads a TorchScript file with the configs inside."""
    out = tmp_path / "model.ts"
    ckpt_export(
        "network_def",
        filepath=str(out),
        ckpt_file=str(ROOT / "models" / "model.pt"),
        meta_file=METADATA,
        config_file=INFERENCE,
    )
    extra = {"metadata.json": "", "inference.json": ""}
    scripted = torch.jit.load(out, _extra_files=extra)
    assert json.loads(extra["inference.json"])["network_def"] == json.loads(Path(INFERENCE).read_text())["network_def"]
    parser = ConfigParser()
    parser.read_config(INFERENCE)
    network = parser.get_parsed_content("network_def").eval()
    network.load_state_dict(torch.load(ROOT / "models" / "model.pt", weights_only=True))
    x = image((40, 33, 12))
    inferer = CascadeInferer(24, progress=False)
    assert torch.allclose(inferer(x, scripted), inferer(x, network), atol=1e-5)
    assert CascadeInferer(None, "100MiB", progress=False)(x, scripted).shape == x.shape


def test_other_programs_find_what_they_look_for():
    """The rules that MONAI Label 0.8 and MONAI Deploy 4 were found to keep."""
    config, meta = json.loads(Path(INFERENCE).read_text()), json.loads(Path(METADATA).read_text())
    assert list(meta["network_data_format"]["inputs"]) == ["image"]
    assert list(meta["network_data_format"]["outputs"]) == ["pred"]
    assert "channel_def" not in meta["network_data_format"]["outputs"]["pred"]
    steps = {
        part: [config[step[1:]] if isinstance(step, str) else step for step in listed]
        for part, listed in {
            "opening": config["opening"],
            "postprocessing": config["postprocessing"]["transforms"],
        }.items()
    }
    before, after = ([step["_target_"] for step in part] for part in steps.values())
    assert "LoadImage" in before[0] and "SaveImage" in after[-1]
    assert config["preprocessing"]["transforms"] == "$@opening + @showing"
    assert {"keys": "image_path", "_target_": "DeleteItemsd"} in config["opening"]
    assert {"keys": "result_dtype", "_target_": "DeleteItemsd"} in config["postprocessing"]["transforms"]
    inverts = [step for step in steps["postprocessing"] if step["_target_"] == "Invertd"]
    assert inverts and inverts[0]["nearest_interp"] is False


def test_monai_label_finds_what_its_train_button_needs():
    """Keys that its app sets by name, and options that it shows."""
    config = json.loads(Path(TRAIN).read_text())
    assert {"bundle_root", "device", "network", "network_def", "run"} <= set(config)
    assert "max_epochs" in config["train"]["trainer"]
    assert "data" in config["train"]["dataset"] and "data" in config["validate"]["dataset"]
    assert isinstance(config["train"]["handlers"], list)
    # its own run_id is empty, by which MONAI would run everything that the file holds, gathering of weights among it
    assert config["displayable_configs"]["run_id"] in config
    for option in config["displayable_configs"].keys() - {"run_id"}:
        assert config[option] == f"@displayable_configs#{option}"


@pytest.mark.parametrize("device", ["cpu", torch.device("cpu")], ids=["string", "object"])
def test_as_monai_label_runs_it(scans, device):
    """Transforms one by one, `image_path` and `result_dtype` in the data, saving left out, the device as text."""
    parser = ConfigParser()
    parser.read_config(INFERENCE)
    parser.update({"bundle_root": str(ROOT), "device": device, "tile_size": 32})
    path = str(scans / "phantom_0.nii.gz")
    data = {"image": path, "image_path": path, "result_dtype": "uint8", "device": "cpu"}
    network = parser.get_parsed_content("network")
    network.load_state_dict(torch.load(ROOT / "models" / "model.pt", weights_only=True))
    for transform in parser.get_parsed_content("preprocessing").transforms:
        data = transform(data)
    data["pred"] = parser.get_parsed_content("inferer")(data["image"][None].to(device), network.eval())[0]
    for transform in parser.get_parsed_content("postprocessing").transforms:
        if not isinstance(transform, SaveImaged):
            data = transform(data)
    assert "result_dtype" not in data and data["result_extension"] == ".nii.gz"
    assert data["pred"].dtype == torch.int16 and data["pred"].shape == (1, 56, 48, 24)


def run(*arguments, cwd=ROOT):
    return ran("-m", "monai.bundle", "run", *arguments, cwd=cwd)


def read(path):
    reader = ScanReader()
    return reader.get_data(reader.read(str(path)))


@pytest.mark.slow
def test_tile_sizes_agree_through_the_command_line(scans, tmp_path):
    found = {}
    for tile in ("48", "96"):
        out = tmp_path / tile
        done = run(
            "inference", "--config_file", "configs/inference.json", "--dataset_dir", str(scans / "phantom_0.nii.gz"),
            "--output_dir", str(out), "--tile_size", tile,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        (file,) = results_in(out)
        found[tile], meta = read(file)
    source, source_meta = read(scans / "phantom_0.nii.gz")
    assert file.name == "phantom_0_translated.nii.gz"
    assert np.abs(found["48"].astype(int) - found["96"].astype(int)).max() <= 1
    assert found["48"].shape == source.shape and np.array_equal(meta["affine"], source_meta["affine"])
    # in HU, nothing wrapped: of the source in the mean of blocks larger than any noise
    blocks = [image.reshape(8, 7, 6, 8, 4, 6).mean((1, 3, 5)) for image in (found["96"].astype(float), source)]
    assert np.abs(blocks[0] - blocks[1]).max() < 100 and found["96"].dtype == np.int16


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--dataset_dir", "nowhere"], "dataset_dir 'nowhere' does not exist"),
        (["--tile_size", "0"], "tile_size 0 is neither a whole number of voxels from 1 on"),
        (["--conditioning", "edges"], "conditioning 'edges' is not known"),
    ],
)
def test_bad_input_gives_one_clear_error(scans, tmp_path, arguments, message):
    out = tmp_path / "out"
    done = run(
        "inference", "--config_file", "configs/inference.json", "--dataset_dir", str(scans), "--output_dir", str(out),
        *arguments,
    )  # fmt: skip
    assert done.returncode != 0 and message in done.stderr
    assert not out.exists() or not any(out.iterdir())


@pytest.mark.slow
def test_it_runs_from_another_folder_and_without_a_run_id(scans, tmp_path):
    done = run(
        "--config_file", INFERENCE, "--bundle_root", str(ROOT), "--dataset_dir", str(scans / "phantom_1.nii.gz"),
        "--output_dir", str(tmp_path / "out"), cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert [file.name for file in results_in(tmp_path / "out")] == ["phantom_1_translated.nii.gz"]


def test_monai_can_load_it():
    network = load(ROOT.name, bundle_dir=str(ROOT.parent), source="monaihosting", device="cpu")
    assert network.num_scales == 4


def test_a_cropped_run_leaves_the_rest_alone(scans, tmp_path):
    parser = ConfigParser()
    parser.read_config(INFERENCE)
    parser.update(
        {
            "bundle_root": str(ROOT),
            "device": "cpu",
            "dataset_dir": str(scans),
            "output_dir": str(tmp_path),
            "crop_lungs": True,
        }
    )
    item = parser.get_parsed_content("dataset")[0]
    item["pred"] = torch.zeros_like(item["image"])
    result = np.asarray(parser.get_parsed_content("postprocessing")(item)["pred"])
    source = np.asarray(ThoraxPhantom((56, 48, 24), spacing=(1.5, 1.5, 4.0), seed=0, noise=60.0)[:, :, :])[None]
    changed = np.argwhere((result != source).any(0))
    assert 0 < len(changed) < source.size
    assert (result[result != source] == -400).mean() > 0.9  # the middle of the window, where the source lies within it


def test_a_dicom_series_goes_in_and_one_comes_out(tmp_path):
    """Of several in a folder, the one chosen; its result beside it, from the weights that are named."""
    volume = ThoraxPhantom((40, 32, 8), spacing=(8.0, 8.0, 20.0), seed=0, noise=60.0)[:, :, :]
    affine = np.diag([-8.0, 8, 20, 1])
    write_series(tmp_path / "study", volume, affine, series="1.2.3.4", description="B80f")
    write_series(tmp_path / "study", volume // 2, affine, series="1.2.3.5")
    parser = ConfigParser()
    parser.read_config(INFERENCE)
    parser.update(
        {
            "bundle_root": str(ROOT),
            "device": "cpu",
            "dataset_dir": str(tmp_path / "study"),
            "series_uid": "1.2.3.4",
            "output_dir": str(tmp_path / "out"),
            "tile_size": 24,
        }
    )
    parser.get_parsed_content("evaluator").run()
    result, meta = read(tmp_path / "out" / "study_translated")
    reader = ScanReader("1.2.3.4")
    source, source_meta = reader.get_data(reader.read(str(tmp_path / "study")))
    assert result.shape == source.shape and np.array_equal(meta["affine"], source_meta["affine"])
    assert 0 < np.abs(result - source).mean() < 100
    header = pydicom.dcmread(next((tmp_path / "out" / "study_translated").iterdir()))
    assert header.SeriesDescription == "Synthetic soft kernel: B80f"
    weights = hashlib.sha256((ROOT / "models" / "model.pt").read_bytes()).hexdigest()
    assert header.SoftwareVersions == [weights, json.loads(Path(METADATA).read_text())["version"]]


@pytest.mark.filterwarnings("ignore:Image with name:UserWarning")
def test_a_photo_goes_in_and_a_photo_comes_out(tmp_path):
    """2D by the same config: only the numbers change."""
    photo = ThoraxPhantom((64, 48), seed=0)[:, :]
    grey = np.clip((photo.astype(float) + 1000) / 8, 0, 255).astype(np.uint8)
    Image.fromarray(grey.T).save(tmp_path / "chest.png")
    parser = ConfigParser()
    parser.read_config(INFERENCE)
    parser.update(
        {
            "bundle_root": str(ROOT),
            "device": "cpu",
            "dataset_dir": str(tmp_path / "chest.png"),
            "output_dir": str(tmp_path / "out"),
            "spatial_dims": 2,
            "window": [0, 255],
            "limits": [0, 255],
            "output_dtype": "uint8",
            "tile_size": 24,
            "weights": str(tmp_path / "random.pt"),
        }
    )
    torch.save(parser.get_parsed_content("network_def").state_dict(), tmp_path / "random.pt")
    parser.get_parsed_content("evaluator").run()
    with Image.open(tmp_path / "out" / "chest_translated.png") as result:
        assert result.size == (64, 48) and result.mode == "L"
