"""One scale is trained at a time, on its conditions alone, and the scales' weights meet in one checkpoint."""

import errno
import json
import math
import re
import shutil
import subprocess
from copy import deepcopy
from pathlib import Path
from types import SimpleNamespace

import nibabel
import numpy as np
import pytest
import torch
from ignite.engine import Engine, Events
from monai.bundle import ConfigWorkflow
from monai.networks.nets import PatchDiscriminator
from monai.transforms import Compose, Lambdad, RandGaussianNoised
from torch import nn

from bundle.cascade import CONDITIONINGS, CascadeInferer
from bundle.examples.phantom import ThoraxPhantom
from bundle.geometry import channels_last, crop, upsample
from bundle.runtime.errors import last_line
from bundle.training import (
    THIN,
    AdversarialLosses,
    ClipGradients,
    CrossFitting,
    FixedPatches,
    KeepBest,
    PrepareScaleBatch,
    ScaleDiscriminator,
    ScaleGenerator,
    StopOnNaN,
    finished,
    gather,
    images_of,
    least_sides,
    scale_parameters,
    warm_average,
    write_record,
)
from bundle.training.checks import check_images
from bundle.training.data import PackedImage, kernel_pair_reach, restored, window_side
from bundle.training.data.packing import find_pairs, pack
from bundle.training.record import mark_finished
from tests.laws import tiny_cascade, with_spacing
from tests.processes import nameless, torchrun

ROOT = Path(__file__).parents[2]
PATCH = 6
conditionings = pytest.mark.parametrize("conditioning", CONDITIONINGS)
scales = pytest.mark.parametrize("scale", [0, 1, 2])


def batch(cascade, scale, items=2, side=PATCH):
    """What `ScaleConditionsd` makes, stacked: random numbers."""
    target = [side] * cascade.spatial_dims
    grown = [side + 2 * far for far in cascade.reach[scale]]
    out = {"image": torch.randn(items, 1, *grown), "label": torch.randn(items, 1, *target)}
    return out | ({"coarse": torch.randn(items, 1, *grown)} if scale else {})


def seen_channels(conditioning, scale):
    """Sketch; the image, where the generator of that scale sees it; the previous scale, from scale 1 on."""
    if conditioning == "none":
        return int(scale > 0)
    return 1 + (conditioning == "image" or (conditioning == "anchored" and scale == 0)) + (scale > 0)


# Batches


@scales
@conditionings
def test_a_batch_is_what_generator_and_discriminator_take(spatial_dims, conditioning, scale):
    cascade = tiny_cascade(spatial_dims, conditioning)
    data = batch(cascade, scale)
    inputs, target, args, kwargs = PrepareScaleBatch(cascade, scale)(data, "cpu", False)
    assert inputs is target
    assert torch.equal(target, data["label"])
    assert args == ()
    condition, seen = kwargs["condition"], kwargs["seen"]
    assert condition.shape == (2, 2 if scale else 1, *data["image"].shape[2:])
    assert seen.shape == (2, seen_channels(conditioning, scale), *[PATCH] * spatial_dims)
    assert cascade(condition, scale).shape == target.shape


@scales
@pytest.mark.parametrize("conditioning", ["sketch", "anchored", "image"])
def test_a_batch_shows_the_patch_s_own_place(spatial_dims, conditioning, scale):
    """The sketch first, then image and previous scale, each cropped to the target; a hidden image stays hidden."""
    cascade = tiny_cascade(spatial_dims, conditioning)
    data, far = batch(cascade, scale), cascade.reach[scale]
    *_, kwargs = PrepareScaleBatch(cascade, scale)(data)
    expected = [crop(cascade.sketch(data["image"]), [m - cascade.sketch.reach for m in far])]
    if seen_channels(conditioning, scale) == 2 + (scale > 0):
        expected.append(crop(data["image"], far))
    if scale:
        expected.append(crop(data["coarse"], far))
        assert torch.equal(kwargs["condition"], torch.cat([data["image"], data["coarse"]], 1))
    else:
        assert torch.equal(kwargs["condition"], data["image"])
    assert torch.equal(kwargs["seen"], torch.cat(expected, 1))


@scales
def test_from_scratch_noise_stands_for_the_image(spatial_dims, scale):
    """The generator is given noise, anew each time, and the discriminator nothing of it."""
    cascade = tiny_cascade(spatial_dims, "none")
    data = batch(cascade, scale)
    (*_, one), (*_, other) = (PrepareScaleBatch(cascade, scale)(data) for _ in range(2))
    assert not torch.equal(one["condition"][:, :1], other["condition"][:, :1])
    assert not torch.equal(one["condition"][:, :1], data["image"])
    assert torch.equal(one["seen"], other["seen"])


# Inferers


@scales
@conditionings
def test_generator_runs_on_the_conditions_alone(spatial_dims, conditioning, scale):
    """It does not see the target, and it can learn."""
    cascade = tiny_cascade(spatial_dims, conditioning)
    _, target, _, kwargs = PrepareScaleBatch(cascade, scale)(batch(cascade, scale))
    fake = ScaleGenerator(scale)(target, cascade, **kwargs)
    torch.testing.assert_close(fake, cascade(kwargs["condition"], scale))
    assert torch.equal(fake, ScaleGenerator(scale)(target * 0, cascade, **kwargs))
    fake.mean().backward()
    learning = {id(p) for p in cascade.parameters() if p.grad is not None}
    assert learning == {id(p) for p in scale_parameters(cascade, scale)}


@scales
@pytest.mark.parametrize("side", [PATCH, THIN])
def test_half_precision_changes_little_and_gives_floats(spatial_dims, scale, side):
    """And nothing where a patch is thin, on a CPU."""
    cascade = tiny_cascade(spatial_dims)
    _, target, _, kwargs = PrepareScaleBatch(cascade, scale)(batch(cascade, scale, side=side))
    with torch.no_grad():
        half, whole = (ScaleGenerator(scale, half)(target, cascade, **kwargs) for half in (True, False))
    assert half.dtype == torch.float32
    assert torch.equal(half, whole) == (side < THIN)
    assert (half - whole).abs().max() < 0.05 * whole.abs().max()


@scales
@conditionings
def test_discriminator_sees_image_and_conditions(spatial_dims, conditioning, scale):
    cascade = tiny_cascade(spatial_dims, conditioning)
    network = PatchDiscriminator(spatial_dims, 4, seen_channels(conditioning, scale) + 1, num_layers_d=1).eval()
    _, target, _, kwargs = PrepareScaleBatch(cascade, scale)(batch(cascade, scale))
    logits = ScaleDiscriminator()(target, network, **kwargs)
    assert logits.shape[:2] == (2, 1)
    torch.testing.assert_close(logits, network(torch.cat([kwargs["seen"], target], 1))[-1])
    assert not torch.allclose(logits, ScaleDiscriminator()(target + 1, network, **kwargs))
    if kwargs["seen"].shape[1]:
        assert not torch.allclose(logits, ScaleDiscriminator()(target, network, seen=kwargs["seen"] + 1))
    assert ScaleDiscriminator(half=True)(target, network, **kwargs).dtype == torch.float32


def test_channels_last_is_the_same_image(spatial_dims):
    image = torch.randn(2, 3, *[4] * spatial_dims)
    assert torch.equal(channels_last(image), image)
    assert channels_last(image).stride(1) == 1


# Losses


def test_least_squares_by_hand():
    """Real is 1, fake is 0: (0 - 1)^2 and (-1 - 1)^2 for the generator, and so on."""
    losses, real, fake = AdversarialLosses(weight=0.1), torch.tensor([[1.0, 0.5]]), torch.tensor([[0.0, -1.0]])
    assert losses.generator(fake).item() == pytest.approx(0.1 * (1 + 4) / 2)
    assert losses.discriminator(real, fake).item() == pytest.approx(0.5 * ((0 + 0.25) / 2 + (0 + 1) / 2))
    assert losses.discriminator(torch.ones(1, 2), torch.zeros(1, 2)) == 0
    assert losses.generator(torch.ones(1, 2)) == 0


def test_a_square_below_beta_makes_the_best_guess_a_mean():
    """Of targets 0, 0 and 0.3 the median is 0 and the mean 0.1; far off, the loss is as long as the difference."""
    targets, guesses = torch.tensor([0.0, 0.0, 0.3]), torch.linspace(-0.1, 0.3, 401)
    for beta, best in ((0.0, 0.0), (1.0, 0.1)):
        losses = AdversarialLosses(beta=beta)
        found = torch.stack([losses.reconstruction(guess.expand(3), targets) for guess in guesses])
        assert guesses[found.argmin()].item() == pytest.approx(best, abs=1e-3)
    assert AdversarialLosses(beta=0.1).reconstruction(targets + 2, targets).item() == pytest.approx(2 - 0.05)


def test_log_loss_by_hand():
    """Logits of 0 are an even chance: log 2 each."""
    losses, even = AdversarialLosses("bce", weight=0.1), torch.zeros(1, 2)
    assert losses.generator(even).item() == pytest.approx(0.1 * math.log(2))
    assert losses.discriminator(even, even).item() == pytest.approx(math.log(2))
    assert losses.discriminator(even + 9, even - 9) < 1e-3 < losses.discriminator(even - 9, even + 9)


# Scales


def test_every_parameter_belongs_to_one_scale(spatial_dims):
    cascade = tiny_cascade(spatial_dims)
    own = [{id(p) for p in scale_parameters(cascade, scale)} for scale in range(cascade.num_scales)]
    assert all(own)
    assert sum(map(len, own)) == len(set.union(*own))
    assert set.union(*own) == {id(p) for p in cascade.parameters()}


@pytest.mark.parametrize("scale", [-1, 3])
def test_scales_that_do_not_exist_are_refused(scale):
    with pytest.raises(ValueError, match=f"scale {scale} is not one of 0 to 2"):
        scale_parameters(tiny_cascade(2), scale)


def test_patches_for_validation_are_always_the_same():
    """Drawn once, volume after volume, by the seed; the volumes themselves stay as they are."""
    data = [{"image": 0.0}, {"image": 100.0}]
    load, noise = Lambdad("image", lambda value: torch.full((1, 4), value)), RandGaussianNoised("image", prob=1.0)
    first, again, other = (FixedPatches(data, load, noise, number=3, seed=seed) for seed in (0, 0, 1))
    assert len(first) == 3
    patches = [first[i]["image"] for i in range(3)]
    assert all(torch.equal(patch, first[i]["image"]) for i, patch in enumerate(patches))
    assert all(torch.equal(patch, again[i]["image"]) for i, patch in enumerate(patches))
    assert not torch.equal(patches[0], other[0]["image"])
    assert not torch.equal(patches[0], patches[2])
    assert [bool(patch.mean() > 50) for patch in patches] == [False, True, False]
    assert data == [{"image": 0.0}, {"image": 100.0}]


# The checkpoint


def trained(folder, skip=()):
    """A cascade of three scales, and a file of each, where the scale's own weights are i + 1 and all others 9."""
    cascade = tiny_cascade(2)
    for scale in range(cascade.num_scales):
        copy = deepcopy(cascade)
        for parameter in copy.parameters():
            nn.init.constant_(parameter, 9)
        for parameter in scale_parameters(copy, scale):
            nn.init.constant_(parameter, scale + 1)
        if scale not in skip:
            torch.save(copy.state_dict(), folder / f"scale_{scale}.pt")
    return cascade


def test_gather_takes_every_scale_from_its_own_file(tmp_path):
    cascade = trained(tmp_path)
    path = gather(cascade, tmp_path, tmp_path / "models" / "model.pt")
    assert path == tmp_path / "models" / "model.pt"
    assert list(path.parent.iterdir()) == [path]
    state = torch.load(path, weights_only=True)
    assert set(state) == set(cascade.state_dict())
    fresh = tiny_cascade(2)
    fresh.load_state_dict(state)
    for scale in range(3):
        assert all((parameter == scale + 1).all() for parameter in scale_parameters(fresh, scale))


def test_gather_replaces_an_older_checkpoint(tmp_path):
    (tmp_path / "model.pt").write_bytes(b"older")
    gather(trained(tmp_path), str(tmp_path), str(tmp_path / "model.pt"))
    assert torch.load(tmp_path / "model.pt", weights_only=True)


def test_gather_tells_the_missing_scale_and_leaves_the_older_checkpoint(tmp_path):
    (tmp_path / "model.pt").write_bytes(b"older")
    with pytest.raises(FileNotFoundError, match=r"scale_1\.pt is missing: train scale 1 first \(--scale 1\)"):
        gather(trained(tmp_path, skip=[1]), tmp_path, tmp_path / "model.pt")
    assert (tmp_path / "model.pt").read_bytes() == b"older"


def test_gather_refuses_the_weights_of_another_network(tmp_path):
    """Not even one of other names: the scale would silently stay untrained."""
    (tmp_path / "model.pt").write_bytes(b"older")
    cascade = trained(tmp_path)
    wrapped = {f"module.{key}": value for key, value in cascade.state_dict().items()}
    torch.save(wrapped, tmp_path / "scale_2.pt")
    with pytest.raises(ValueError, match=r"scale_2\.pt' holds no 'fine\.1\..*train scale 2 again"):
        gather(cascade, tmp_path, tmp_path / "model.pt")
    torch.save(tiny_cascade(3).state_dict(), tmp_path / "scale_2.pt")
    with pytest.raises(ValueError, match=r"scale_2\.pt' is of another network: .* has shape .*train scale 2 again"):
        gather(cascade, tmp_path, tmp_path / "model.pt")
    assert (tmp_path / "model.pt").read_bytes() == b"older"


def test_a_full_disk_leaves_the_older_checkpoint(tmp_path, monkeypatch):
    def full_disk(_, path):
        Path(path).write_bytes(b"half")
        raise OSError("No space left on device")

    (tmp_path / "model.pt").write_bytes(b"older")
    cascade = trained(tmp_path)
    monkeypatch.setattr(torch, "save", full_disk)
    with pytest.raises(OSError, match="No space"):
        gather(cascade, tmp_path, tmp_path / "model.pt")
    assert (tmp_path / "model.pt").read_bytes() == b"older"


# All of it, as configured


@pytest.fixture(scope="module")
def scans(tmp_path_factory):
    """Two phantoms a folder, the second one upside down; the volumes' slices are too thick to be pooled."""
    folder = tmp_path_factory.mktemp("scans")
    for dims, shape in ((2, (100, 96)), (3, (100, 96, 12))):
        (folder / str(dims)).mkdir()
        phantom = ThoraxPhantom(shape, (0.8, 0.8, 5.0)[:dims])
        for name, voxels in (("one", phantom[...]), ("two", phantom[...][:, ::-1])):
            nibabel.Nifti1Image(voxels, phantom.affine).to_filename(folder / str(dims) / f"{name}.nii.gz")
    return folder


def configured(folder, output, dims, scale, **more):
    """A training as shipped, made small."""
    small = {
        "max_epochs": 1,
        "iterations_per_epoch": 2,
        "batch_size": 1,
        "train#dataloader#num_workers": 0,
        "patch#patch_size": 12,  # the least that the discriminator takes
        "validate#dataset#number": 8 if dims == 2 else 1,  # 8: each of the random transforms does something once
        "val_interval": 1,
        "num_folds": 2,
        "progress": False,
        "generate_previous#number": 1 if more.get("conditioning") != "none" else 0,
    }
    return ConfigWorkflow(
        str(ROOT / "configs" / "train.json"),
        workflow_type="train",
        logging_file=False,
        init_id="initialize",
        run_id="training",
        bundle_root=str(ROOT),
        dataset_dir=str(folder),
        output_dir=str(output),
        weights=str(output / "model.pt"),
        device="cpu",
        spatial_dims=dims,
        scale=scale,
        **(small | more),
    )


@pytest.mark.parametrize(
    ("dims", "scale", "more"),
    [
        (3, 3, {}),
        (3, 0, {}),
        (2, 3, {}),
        (2, 0, {}),
        (2, 1, {"conditioning": "sketch"}),
        (2, 2, {"conditioning": "anchored"}),
        (2, 0, {"conditioning": "anchored"}),
        (2, 0, {"conditioning": "none"}),
        (2, 1, {"conditioning": "none"}),
        (2, 2, {"conditions#previous": False, "losses#adversarial_loss": "bce"}),
    ],
)
def test_training_as_configured(scans, tmp_path, dims, scale, more):
    """The shipped configuration trains a scale, that scale alone, and leaves a checkpoint that can be gathered."""
    workflow = configured(scans / str(dims), tmp_path, dims, scale, **more)
    workflow.initialize()
    assert not workflow.check_properties()
    network = workflow.parser.get_parsed_content("network_def")
    before = deepcopy(network.state_dict())
    workflow.run()

    after = torch.load(tmp_path / f"scale_{scale}.pt", weights_only=True)
    assert set(after) == set(before)
    changed = {key for key in before if not torch.equal(before[key], after[key])}
    own = {key for key in before if key.startswith(f"fine.{scale - 1}." if scale else "coarse.")}
    assert changed
    assert changed <= own
    assert all(value.isfinite().all() for value in after.values())
    trainer = workflow.parser.get_parsed_content("train#trainer")
    assert trainer.state.iteration == 2
    losses = [trainer.state.output[f"{name}_loss"] for name in ("reconstruction", "generator", "discriminator")]
    assert all(np.isfinite(loss.item()) for loss in losses)
    assert 0 < workflow.parser.get_parsed_content("validate#evaluator").state.best_metric < 2


@pytest.mark.parametrize("loss", [float("nan"), float("inf")])
def test_a_loss_that_is_no_number_ends_the_run(tmp_path, loss):
    engine = SimpleNamespace(state=SimpleNamespace(iteration=7, output={"reconstruction_loss": torch.tensor(loss)}))
    keeper = KeepBest(tiny_cascade(2), tmp_path / "scale_1.pt", 1)
    with pytest.raises(FloatingPointError, match=r"iteration 7.*No validation has saved weights"):
        StopOnNaN(keeper)(engine)
    keeper(validated(0.5))
    with pytest.raises(FloatingPointError, match=r"iteration 7.*best weights so far are in '.*scale_1\.pt'"):
        StopOnNaN(keeper)(engine)


def validated(error):
    """An evaluator at the end of its run."""
    return SimpleNamespace(state=SimpleNamespace(metrics={"error": error}, key_metric_name="error"))


@pytest.mark.parametrize("save_last", [False, True])
def test_weights_that_are_no_numbers_are_never_kept(tmp_path, save_last):
    """Nor is a result of them: MONAI's mean error leaves out what is not a number, and is then 0."""
    keeper = KeepBest(tiny_cascade(2), tmp_path / "scale_1.pt", 1, save_last=save_last)
    for error in (math.nan, math.inf):
        with pytest.raises(FloatingPointError, match="error of the validation"):
            keeper(validated(error))
    for value in (math.nan, math.inf):
        nn.init.constant_(scale_parameters(keeper.network, 1)[0], value)
        with pytest.raises(FloatingPointError, match=r"weights 'fine\.0\..*--learning_rate.*No validation has saved"):
            keeper(validated(0.0))
        with pytest.raises(FloatingPointError, match="a result of the validation"):
            keeper.check(SimpleNamespace(state=SimpleNamespace(output=[{"pred": torch.full((1, 2, 2), value)}])))
    assert not (tmp_path / "scale_1.pt").exists() and not keeper.saved


def test_a_training_that_runs_away_keeps_no_weights(scans, tmp_path):
    workflow = configured(scans / "2", tmp_path, 2, 3, learning_rate=1e30)
    assert refusal(workflow).endswith("No validation has saved weights so far.")
    assert not (tmp_path / "scale_3.pt").exists()


@pytest.mark.parametrize("sides", [(16, 20, 32), (32, 32, 32), (20, 24, 40)])
def test_bfloat16_finds_the_gradients_of_float32_for_thin_images_too(sides):
    torch.manual_seed(0)
    network = PatchDiscriminator(3, 32, 2, num_layers_d=2, norm="INSTANCE").to(memory_format=torch.channels_last_3d)
    image, seen = torch.randn(2, 1, 1, *sides)
    found = []
    for half in (False, True):
        network.zero_grad()
        ScaleDiscriminator(half)(image, network, seen=seen).sub(1).square().mean().backward()
        found.append(network.final_conv.conv.weight.grad.clone())
    assert (found[1] - found[0]).norm() < 0.2 * found[0].norm()


def test_a_finite_loss_goes_on(tmp_path):
    keeper = KeepBest(tiny_cascade(2), tmp_path / "scale_1.pt", 1)
    StopOnNaN(keeper)(
        SimpleNamespace(state=SimpleNamespace(iteration=1, output={"reconstruction_loss": torch.tensor(0.5)}))
    )


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ({"scale": 4}, "scale 4 is not one of 0 to 3, the scales of the cascade; take"),
        ({"scale": 1.5}, "scale 1.5 is not one of 0 to 3"),
        ({"scale": -1}, "scale -1 is not one of 0 to 3"),
        ({"fold": 7}, "fold 7 leaves no image to validate on; give at least 2 images"),
        ({"fold": -1}, "fold -1 leaves no image to validate on"),
        ({"num_folds": 1}, "fold 0 leaves no image to train on; give at least 2 images"),
        ({"held_out": ["two"], "num_folds": 1}, "fold 0 leaves no image to train on"),
        ({"batch_size": 0}, "batch_size 0 is not a whole number from 1 on"),
        ({"max_epochs": "many"}, "max_epochs 'many' is not a whole number from 1 on"),
        ({"iterations_per_epoch": True}, "iterations_per_epoch True is not a whole number from 1 on"),
        ({"patch#patch_size": 0}, "patch#patch_size 0 is not a whole number from 1 on"),
        ({"learning_rate": 0}, "learning_rate 0 is not a finite number above 0"),
        ({"max_minutes": -1}, "max_minutes -1 is not a number from 0 on"),
        ({"val_interval": 0}, "val_interval 0 is not a whole number of epochs from 1 on"),
    ],
)
def test_settings_that_train_nothing_are_refused_before_an_image_is_packed(scans, tmp_path, keys, told):
    keys = dict(keys)
    last = refusal(configured(scans / "2", tmp_path, 2, keys.pop("scale", 3), **keys))
    assert last.startswith(f"error: {told}") and len(last) < 300
    assert (tmp_path / "packed").exists() <= (told.startswith("val_interval"))


def test_a_training_whose_target_is_its_input_is_refused(scans, tmp_path):
    """As that of the brain without label_dir; the sketch of an image is not the image."""
    keys = {"kernel_pairs": False, "scale": 3}
    last = refusal(configured(scans / "2", tmp_path, 2, **keys))
    assert last.startswith(
        "error: label_dir None gives no targets, and this experiment would learn to return its input;"
    )
    assert not (tmp_path / "packed").exists()
    for more in ({"label_dir": str(scans / "2")}, {"conditioning": "sketch"}):
        workflow = configured(scans / "2", tmp_path / next(iter(more)), 2, **keys, **more)
        workflow.initialize()
        workflow.run()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda voxels: np.full_like(voxels, -1000), "has the value -1000 in all its voxels"),
        (lambda voxels: voxels + 1024, r"has values from .* up, .*in a CT in HU air is at -1000"),
        (lambda voxels: (voxels + 1000) / 3000, "has values from .* only; those of a CT in HU span more"),
    ],
)
@pytest.mark.parametrize("key", ["image", "label"])
def test_images_that_are_no_ct_are_refused_before_one_is_packed(scans, tmp_path, change, told, key):
    """One of them at the end is enough; and it can be switched off."""
    folders = {name: tmp_path / name for name in ("image", "label")}
    for folder in folders.values():
        shutil.copytree(scans / "3", folder)
    image = nibabel.load(folders[key] / "two.nii.gz")
    nibabel.Nifti1Image(change(image.get_fdata()).astype(np.float32), image.affine).to_filename(
        folders[key] / "two.nii.gz"
    )
    keys = {"label_dir": str(folders["label"])} if key == "label" else {}
    last = refusal(configured(folders["image"], tmp_path / "out", 3, 3, **keys))
    assert re.match(rf"error: training {key} '.*two\.nii\.gz' {told}", last) and last.endswith(
        ", or set --image#check False."
    )
    assert not (tmp_path / "out" / "packed").exists()


def test_the_check_of_images_looks_at_a_sample_and_can_be_switched_off(scans, tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr("bundle.training.checks.open_image", lambda path: seen.append(path))
    check_images([{"image": number} for number in range(20)], ["image", "label"], lambda _: None)
    assert seen == [0, 3, 6, 9, 12, 15, 18]
    check_images([{"image": 0}], ["image"], lambda _: None)
    assert seen[-1] == 0 and len(seen) == 8
    workflow = configured(scans / "2", tmp_path, 2, 3)
    workflow.initialize()
    assert not workflow.parser.get_parsed_content("image#check")
    brain = configured(scans / "3", tmp_path, 3, 3, window=[0.0, 1000.0])
    brain.initialize()
    assert not brain.parser.get_parsed_content("image#check")


def test_images_given_by_a_server_need_no_folder(scans, tmp_path):
    """MONAI Label sets the images of both parts, and has no dataset_dir."""
    one, two = ([{"image": str(path)}] for path in sorted((scans / "2").glob("*.nii*"))[:2])
    given = {"train#dataset#data": one, "validate#dataset#data": two}
    workflow = configured(tmp_path / "nowhere", tmp_path / "out", 2, 3, conditioning="none", **given)
    workflow.initialize()
    workflow.run()
    assert (tmp_path / "out" / "scale_3.pt").exists()


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_the_least_image_of_a_discriminator_is_the_least_that_it_takes(spatial_dims, layers):
    network = PatchDiscriminator(spatial_dims, 4, 1, num_layers_d=layers)
    sides = least_sides(network)
    assert network(torch.randn(2, 1, *sides))[-1].shape[2:] == (1,) * spatial_dims
    with pytest.raises(RuntimeError):
        network(torch.randn(2, 1, *sides[1:], sides[0] - 1))


def test_an_image_too_small_for_scale_0_is_named(tmp_path):
    for name in ("one", "two"):
        nibabel.Nifti1Image(np.zeros((100, 95, 12)), np.diag([0.8, 0.8, 5, 1])).to_filename(tmp_path / f"{name}.nii")
    workflow = configured(tmp_path, tmp_path / "out", 3, 0)
    workflow.initialize()
    assert workflow.parser.get_parsed_content("validate#dataset")[0]["label"].shape == (1, 13, 12, 12)
    for name in ("one", "two"):
        nibabel.Nifti1Image(np.zeros((100, 88, 12)), np.diag([0.8, 0.8, 5, 1])).to_filename(tmp_path / f"{name}.nii")
    told = refusal(configured(tmp_path, tmp_path / "out", 3, 0, **{"image#check": False}))
    assert re.search(
        r"image '.*\.nii' is too small .* has \[13, 11, 12\] voxels .* 11 .* axis 1, .* at least 12; leave", told
    )


# Interrupted, together, with real pairs


def losses_of(workflow):
    """The reconstruction loss of every iteration."""
    found = []
    workflow.initialize()
    trainer = workflow.parser.get_parsed_content("train#trainer")
    trainer.add_event_handler(
        Events.ITERATION_COMPLETED, lambda engine: found.append(engine.state.output["reconstruction_loss"].item())
    )
    return found, trainer


def kill(_):
    raise KeyboardInterrupt


def refusal(workflow):
    """The last line of a training that fails."""
    with pytest.raises(Exception) as caught:
        workflow.initialize()
        workflow.run()
    return last_line(caught.value)


@pytest.mark.parametrize(("max_norm", "moved"), [(None, (-3.0, -4.0)), (10.0, (-3.0, -4.0)), (1.0, (-0.6, -0.8))])
def test_a_long_gradient_is_shortened_and_a_short_one_left_alone(max_norm, moved):
    weights = [torch.zeros(1, requires_grad=True) for _ in range(2)]
    optimizer = torch.optim.SGD(weights, lr=1.0)
    ClipGradients(optimizer, max_norm).attach(Engine(lambda *_: None))
    (3 * weights[0] + 4 * weights[1]).backward()
    optimizer.step()
    assert torch.cat(weights).tolist() == pytest.approx(moved, abs=1e-5)


@pytest.mark.parametrize("max_norm", [-1, 0, 0.0, math.nan, "1"])
def test_a_limit_that_is_no_number_above_0_is_refused(max_norm):
    with pytest.raises(ValueError, match=r"train#clipping#max_norm .* is not a number above 0; null"):
        ClipGradients(torch.optim.SGD([torch.zeros(1)], lr=1.0), max_norm)


@pytest.mark.parametrize(("epochs", "interval", "validated"), [(1, 2, [1]), (4, 3, [3, 4]), (4, 2, [2, 4])])
def test_the_last_epoch_is_always_validated(scans, tmp_path, epochs, interval, validated):
    workflow = configured(scans / "2", tmp_path, 2, 3, max_epochs=epochs, val_interval=interval, iterations_per_epoch=1)
    _, trainer = losses_of(workflow)
    found = []
    workflow.parser.get_parsed_content("validate#evaluator").add_event_handler(
        Events.COMPLETED, lambda _: found.append(trainer.state.epoch)
    )
    workflow.run()
    assert found == validated and (tmp_path / "scale_3.pt").exists()


def test_a_training_without_weights_fails_and_leaves_its_checkpoint(scans, tmp_path):
    common = {"iterations_per_epoch": 1, "val_interval": 5}
    workflow = configured(scans / "2", tmp_path, 2, 3, max_epochs=50, **common)
    _, trainer = losses_of(workflow)
    trainer.add_event_handler(Events.ITERATION_COMPLETED(once=2), kill)
    with pytest.raises(KeyboardInterrupt):
        workflow.run()
    before = list(tmp_path.glob("resume_3_*"))
    told = refusal(configured(scans / "2", tmp_path, 2, 3, max_epochs=1, **common))
    assert "after epoch 1 without weights" in told and "larger --max_epochs, or --resume False" in told
    assert before and list(tmp_path.glob("resume_3_*")) == before and not finished(tmp_path, 3)


def stopped(folder, output, after=2, **more):
    """A training stopped in the epoch after some, of one iteration each."""
    workflow = configured(folder, output, 2, 3, iterations_per_epoch=1, **({"max_epochs": 4} | more))
    _, trainer = losses_of(workflow)
    trainer.add_event_handler(Events.ITERATION_COMPLETED(once=after + 1), kill)
    with pytest.raises(KeyboardInterrupt):
        workflow.run()
    (file,) = output.glob("resume_3_*")
    return file


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"learning_rate": 0.5}, r"g_optimizer has lr \(--learning_rate\) 0\.5, but 0\.001 in checkpoint '.*resume_3_"),
        ({"train#g_optimizer#betas": [0.9, 0.99]}, r"g_optimizer has betas .*0\.9.* but .*0\.5"),
        ({"train#d_optimizer#lr": 0.5}, r"d_optimizer has lr .* 0\.5, but 0\.0002"),
        ({"max_epochs": 1}, r"max_epochs 1 is less than the 2 epochs of checkpoint '.*resume_3_"),
        ({"network_def#fine#channels": 8}, r"resume_3_.*does not fit the networks of the config; take the config that"),
        (None, r"resume_3_.*' is damaged, or not a checkpoint"),
    ],
)
def test_a_checkpoint_of_other_settings_is_refused(scans, tmp_path, change, told):
    """Its optimizer would keep its own, and the record would tell those of the config."""
    file = stopped(scans / "2", tmp_path)
    record = (tmp_path / "scale_3.json").read_bytes()
    if change is None:
        file.write_bytes(file.read_bytes()[:1000])
    last = refusal(
        configured(scans / "2", tmp_path, 2, 3, **({"max_epochs": 4, "iterations_per_epoch": 1} | (change or {})))
    )
    assert re.search(told, last) and last.count("or start anew by --resume False") == 1 and len(last) < 600
    assert file.exists() and (
        "network_def#fine#channels" in (change or {}) or (tmp_path / "scale_3.json").read_bytes() == record
    )


def test_other_settings_of_a_resumed_training_are_warned_of(scans, tmp_path, capsys):
    """Each that was given, with its earlier value; not those that follow, nor how long it lasts."""
    keys = {"max_epochs": 4, "iterations_per_epoch": 1}
    stopped(scans / "2", tmp_path)
    stopped(scans / "2", tmp_path, after=3, max_epochs=5, max_minutes=9)
    assert "goes on with other settings" not in capsys.readouterr().err
    change = {"batch_size": 2, "seed": 7, "losses#weight": 0.25}
    workflow = configured(scans / "2", tmp_path, 2, 3, **keys, **change)
    workflow.initialize()
    workflow.run()
    (told,) = [line for line in capsys.readouterr().err.splitlines() if "goes on with other settings" in line]
    assert told == (
        f"warning: the training of '{tmp_path}/scale_3.json' goes on with other settings, and its record will hold "
        "only the new ones: seed was 0 and is 7; batch_size was 1 and is 2; losses#weight was 0.002 and is 0.25. Take "
        "the same ones, or start anew by --resume False."
    )


def test_a_resumed_training_that_trains_nothing_tells_so(scans, tmp_path, capsys):
    file = stopped(scans / "2", tmp_path, after=6, max_epochs=7)
    last = refusal(configured(scans / "2", tmp_path, 2, 3, max_epochs=2, iterations_per_epoch=3))
    assert last.startswith("error: max_epochs 2 is less than the 6 epochs of checkpoint")
    torch.save({**torch.load(file, weights_only=True), "progress": {"epoch": 2, "iteration": 6}}, file)
    last = refusal(configured(scans / "2", tmp_path, 2, 3, max_epochs=3, iterations_per_epoch=2))
    assert last == (
        f"error: max_epochs 3 of iterations_per_epoch 2 have no more than the 6 iterations of checkpoint '{file}', so "
        "nothing would be trained; take more, or start anew by --resume False."
    )
    assert file.exists() and "nothing is trained" not in capsys.readouterr().err
    workflow = configured(scans / "2", tmp_path, 2, 3, max_epochs=2, iterations_per_epoch=3)
    losses, _ = losses_of(workflow)
    workflow.run()
    told = f"note: checkpoint '{file}' has all 2 epochs, so nothing is trained; for more, raise max_epochs."
    assert not losses and told in capsys.readouterr().err.splitlines()


def test_a_training_goes_on_for_more_epochs_at_their_learning_rate(scans, tmp_path):
    stopped(scans / "2", tmp_path)
    workflow = configured(scans / "2", tmp_path, 2, 3, max_epochs=6, iterations_per_epoch=1)
    _, trainer = losses_of(workflow)
    rates = []
    trainer.add_event_handler(
        Events.EPOCH_STARTED,
        lambda _: rates.append(workflow.parser.get_parsed_content("train#g_optimizer").param_groups[0]["lr"]),
    )
    workflow.run()
    assert rates == pytest.approx([0.001 * (1 + math.cos(math.pi * epoch / 6)) / 2 for epoch in (2, 3, 4, 5)])


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ({"finetune": "none.pt"}, r"checkpoint '.*none\.pt' does not exist; finetune takes"),
        ({"finetune": "cut.pt"}, r"cut\.pt' is damaged, or not a checkpoint of PyTorch; finetune takes"),
        ({"finetune": "other.pt"}, r"other\.pt' does not fit the networks of the config; finetune takes"),
        ({"update_weights": True}, r"checkpoint '.*model\.pt' does not exist; update_weights True replaces"),
        ({"scale": 1, "cut": "scale_0.pt"}, r"scale_0\.pt' is damaged.*train scale 0 again \(--scale 0\)"),
        ({"scale": 1, "cut": "model.pt"}, r"model\.pt' is damaged.*train scale 0 first .*or take other --weights"),
        ({"scale": 1, "other": "model.pt"}, r"model\.pt' is of another network: 'coarse\..*or take other --weights"),
    ],
)
def test_weights_that_cannot_be_taken_are_named(scans, tmp_path, keys, told):
    keys = dict(keys)
    (tmp_path / keys.pop("cut", "cut.pt")).write_bytes(b"PK\x03\x04half")
    other = configured(scans / "2", tmp_path, 2, 3, conditioning="sketch")
    other.initialize()
    torch.save(other.parser.get_parsed_content("network_def").state_dict(), tmp_path / keys.pop("other", "other.pt"))
    if "finetune" in keys:
        keys["finetune"] = str(tmp_path / keys["finetune"])
    last = refusal(configured(scans / "2", tmp_path, 2, keys.pop("scale", 3), **{"generated#prob": 0, **keys}))
    assert re.search(told, last) and len(last) < 600


@pytest.mark.parametrize("num_workers", [0, 1])
def test_a_killed_training_goes_on_to_the_same_losses(scans, tmp_path, num_workers):
    common = {"max_epochs": 4, "iterations_per_epoch": 3, "train#dataloader#num_workers": num_workers}
    common["val_interval"] = 2
    (tmp_path / "whole").mkdir()
    (tmp_path / "parts").mkdir()
    workflow = configured(scans / "2", tmp_path / "whole", 2, 3, **common)
    whole, _ = losses_of(workflow)
    workflow.run()

    workflow = configured(scans / "2", tmp_path / "parts", 2, 3, **common)
    first, trainer = losses_of(workflow)
    trainer.add_event_handler(Events.ITERATION_COMPLETED(once=8), kill)  # in the third epoch
    with pytest.raises(KeyboardInterrupt):
        workflow.run()
    assert first == whole[: len(first)]
    best = (tmp_path / "parts" / "scale_3.pt").stat().st_mtime_ns

    workflow = configured(scans / "2", tmp_path / "parts", 2, 3, **common)
    second, _ = losses_of(workflow)
    workflow.run()
    assert second == pytest.approx(whole[6:], rel=1e-4)  # from the end of the second epoch
    assert workflow.parser.get_parsed_content("best").best < 2
    one, other = (torch.load(tmp_path / name / "scale_3.pt", weights_only=True) for name in ("whole", "parts"))
    assert all(torch.allclose(one[key], other[key], atol=1e-4) for key in one)
    assert not list((tmp_path / "parts").glob("resume_*"))  # a finished training leaves its weights alone
    assert (tmp_path / "parts" / "scale_3.pt").stat().st_mtime_ns >= best


def test_a_checkpoint_goes_only_when_the_next_one_is_complete(scans, tmp_path, monkeypatch):
    """A training that ends while it writes one is not finished, and goes on from the one before."""

    def full_disk(state, path, save=torch.save):
        if "epoch=2" in str(path):
            Path(path).write_bytes(b"half")
            raise OSError(errno.ENOSPC, "No space left on device")
        save(state, path)

    common = {"max_epochs": 3, "iterations_per_epoch": 1}
    with monkeypatch.context() as patched:
        patched.setattr(torch, "save", full_disk)
        assert "disk full" in refusal(configured(scans / "2", tmp_path, 2, 3, **common))
    assert [file.name for file in tmp_path.glob("resume_*")] == ["resume_3_checkpoint_epoch=1.pt"]
    assert (tmp_path / "scale_3.pt").exists() and not finished(tmp_path, 3)
    workflow = configured(scans / "2", tmp_path, 2, 3, **common)
    losses, _ = losses_of(workflow)
    workflow.run()
    assert len(losses) == 2 and finished(tmp_path, 3)
    assert json.loads((tmp_path / "scale_3.json").read_text())["finished"] is True


@pytest.mark.skipif(not shutil.which("make"), reason="needs make")
def test_make_goes_on_with_what_is_not_finished(tmp_path):
    """Weights alone, or of an earlier version, whose record does not say so, count as finished."""
    command = ["make", "-o", ".venv/.run", "train", "PY=echo", "SCALES=3", "DATA=scans", f"TRAINING={tmp_path}"]

    def told():
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
        assert ("is trained already" in done) == finished(tmp_path, 3) == ("bundle run training" not in done)
        assert ("stopped after" in done) == (not finished(tmp_path, 3) and any(tmp_path.iterdir()))
        return finished(tmp_path, 3)

    assert not told()
    (tmp_path / "scale_3.pt").touch()
    assert told()
    write_record(tmp_path / "scale_3.json", {})
    assert told()
    (tmp_path / "resume_3_checkpoint_epoch=1.pt").touch()
    assert not told()
    (tmp_path / "resume_3_checkpoint_epoch=1.pt").unlink()
    write_record(tmp_path / "scale_3.json", {}, finished=False)
    assert not told()
    mark_finished(tmp_path / "scale_3.json")
    assert told()


def test_the_best_weights_stay_when_a_resumed_training_gets_worse(tmp_path):
    cascade = tiny_cascade(2)
    keeper = KeepBest(cascade, tmp_path / "scale_1.pt", 1)
    engine = SimpleNamespace(state=SimpleNamespace(metrics={"error": 0.5}, key_metric_name="error"))
    keeper(engine)
    before = (tmp_path / "scale_1.pt").stat().st_mtime_ns
    other = KeepBest(cascade, tmp_path / "scale_1.pt", 1)
    other.load_state_dict(keeper.state_dict())
    engine.state.metrics["error"] = 0.6
    other(engine)
    assert (tmp_path / "scale_1.pt").stat().st_mtime_ns == before
    engine.state.metrics["error"] = float("nan")
    with pytest.raises(FloatingPointError, match="best weights so far are in"):
        other(engine)
    assert (tmp_path / "scale_1.pt").stat().st_mtime_ns == before


def test_the_best_metric_stays_where_every_validation_is_saved(tmp_path):
    keeper = KeepBest(tiny_cascade(2), tmp_path / "scale_1.pt", 1, save_last=True)
    for error in (0.5, 0.6):
        (tmp_path / "scale_1.pt").unlink(missing_ok=True)
        keeper(validated(error))
        assert (tmp_path / "scale_1.pt").exists() and keeper.state_dict() == {"best": 0.5}


def test_one_scale_is_replaced_in_the_joined_weights(tmp_path):
    """For MONAI Label, whose next inference takes them."""
    cascade, older = tiny_cascade(2), tiny_cascade(2)
    torch.save(older.state_dict(), tmp_path / "model.pt")
    engine = SimpleNamespace(state=SimpleNamespace(metrics={"error": 0.5}, key_metric_name="error"))
    KeepBest(cascade, tmp_path / "scale_1.pt", 1, tmp_path / "model.pt")(engine)
    state = torch.load(tmp_path / "model.pt", weights_only=True)
    for key, value in state.items():
        assert torch.equal(value, (cascade if key.startswith("fine.0.") else older).state_dict()[key])


def test_time_is_kept_and_the_rest_is_left_for_later(scans, tmp_path):
    workflow = configured(scans / "2", tmp_path, 2, 3, max_epochs=50, iterations_per_epoch=1, max_minutes=1 / 30)
    _, trainer = losses_of(workflow)
    workflow.run()
    assert 1 <= trainer.state.epoch < 50
    assert len(list(tmp_path.glob("resume_3_*.pt"))) == 1


def test_real_pairs_of_two_folders(scans, tmp_path):
    """The target is the file of the same name; source and target are cut alike."""
    (tmp_path / "targets").mkdir()
    for file in (scans / "3").glob("*.nii.gz"):
        image = nibabel.load(file)
        nibabel.Nifti1Image(image.get_fdata() + 100, image.affine).to_filename(tmp_path / "targets" / file.name)
    workflow = configured(scans / "3", tmp_path, 3, 3, label_dir=str(tmp_path / "targets"))
    workflow.initialize()
    patch = workflow.parser.get_parsed_content("validate#dataset")[0]
    inner = crop(patch["image"][None], workflow.parser.get_parsed_content("patch#margin"))[0]
    torch.testing.assert_close(patch["label"] - inner, torch.full_like(inner, 100 / 600), atol=0.2, rtol=0)
    assert (patch["label"] - inner - 100 / 600).abs().median() < 0.02
    workflow.run()
    (tmp_path / "targets" / "one.nii.gz").unlink()
    with pytest.raises(FileNotFoundError, match=r"one\.nii\.gz.*has no target"):
        find_pairs(scans / "3", tmp_path / "targets")


@pytest.mark.parametrize("moved", ["spacing", "position", "size"])
@pytest.mark.parametrize("scale", [0, 3])
def test_a_pair_on_two_grids_is_refused_by_both_names(scans, tmp_path, moved, scale):
    """The same spacing and position up to less than a voxel is one grid."""

    def label(affine, part=slice(None)):
        for file in (scans / "3").glob("*.nii.gz"):
            image = nibabel.load(file)
            made = nibabel.Nifti1Image(image.get_fdata()[part], affine(image.affine.copy()))
            made.to_filename(tmp_path / "targets" / file.name)
        return configured(scans / "3", tmp_path, 3, scale, label_dir=str(tmp_path / "targets"))

    def spacing(affine):
        affine[:3, 2] *= 1.1
        return affine

    def position(affine, mm=3.0):
        affine[0, 3] += mm
        return affine

    (tmp_path / "targets").mkdir()
    workflow = label(lambda affine: position(affine, 0.3))
    workflow.initialize()
    workflow.parser.get_parsed_content("validate#dataset")
    wrong = {"spacing": (spacing,), "position": (position,), "size": (lambda affine: affine, slice(1, None))}[moved]
    told = refusal(label(*wrong))
    assert re.search(
        r"image '.*scans.*\.nii\.gz', \(100, .* and label '.*targets.*\.nii\.gz', .* one grid; resample", told
    )


def test_the_settings_stand_beside_the_weights(scans, tmp_path):
    workflow = configured(scans / "2", tmp_path, 2, 1, learning_rate=0.5)
    workflow.initialize()
    workflow.run()
    record = json.loads((tmp_path / "scale_1.json").read_text())
    assert record["settings"]["learning_rate"] == 0.5 and record["settings"]["scale"] == 1
    assert len(record["settings"]["trained_on"]) == 1 and record["versions"]["torch"] == torch.__version__


def test_generated_previous_scales_are_those_of_inference(scans, tmp_path):
    """A patch of a simulated scan is given what the scales before made of that very scan, at its very place."""
    workflow = configured(scans / "3", tmp_path, 3, 3, num_folds=2, **{"generated#prob": 1.0})
    workflow.initialize()
    parser = workflow.parser
    cascade = parser.get_parsed_content("network_def")
    for parameter in cascade.parameters():  # a scale that adds something
        nn.init.normal_(parameter, std=0.05)
    for scale in range(3):
        torch.save(cascade.state_dict(), tmp_path / f"scale_{scale}.pt")
    parser.get_parsed_content("generate_previous")
    files = list((tmp_path / "packed").glob("*_scale_3_0.nii"))
    assert files
    patching = parser.get_parsed_content("train#preprocessing").transforms
    item = Compose(patching[:5])(parser.get_parsed_content("train#dataset#data")[0])
    assert str(files[0]) == item["generated"].previous.path
    origin, spare, item_generated = item["origin"], kernel_pair_reach(3), item["generated"]
    item = Compose(patching[5:8])(item)
    assert set(item) == {"image", "label", "coarse"}
    # What was stored is the cascade's own result of three scales on the matched, windowed scan ...
    facts = json.loads(files[0].with_suffix(".json").read_text())
    volume = PackedImage(pack(parser.get_parsed_content("train#dataset#data")[0]["image"], tmp_path / "packed"))
    grown = volume.window([(-far, size + far) for far, size in zip(spare, volume.shape[1:], strict=True)])
    scan = restored(facts["scan"])
    assert scan == item_generated.acquisition
    source, _ = scan.pair(grown[0], (0.8, 0.8, 5.0), facts["seed"], [-far for far in spare])
    shown = ((source.clamp(-1200, 2000) + 1000) / 600 - 1)[None, None]
    with torch.no_grad():
        made = CascadeInferer(1000, progress=False, scales=3)(with_spacing(shown, (0.8, 0.8, 5.0)), cascade.eval())
    stored = torch.from_numpy(nibabel.load(files[0]).get_fdata(dtype=np.float32))
    torch.testing.assert_close(made[0, 0], stored, atol=1e-4, rtol=1e-4)
    # ... and the patch is its window, where that lies inside the image.
    fine = upsample(made, [2, 2, 1])[0, 0]
    window = item["coarse"][0]
    side = list(window.shape)
    margin = [
        window_side(12, m) - size
        for m, size in zip(parser.get_parsed_content("patch#margin"), window.shape, strict=True)
    ]
    first = [start + far + gap // 2 for start, far, gap in zip(origin, spare, margin, strict=True)]
    for axis, (start, size, extent) in enumerate(zip(first, side, fine.shape, strict=True)):
        a, b = max(start, 1), min(start + size, extent - 1)
        fine, window = fine.narrow(axis, a, b - a), window.narrow(axis, a - start, b - a)
        assert b - a > 5
    torch.testing.assert_close(window, fine, atol=1e-4, rtol=1e-4)


def test_previous_scales_are_made_anew_by_other_weights(scans, tmp_path):
    """A scale that is trained again in the same folder is not shown to the next one as it was before."""

    def generated(std):
        workflow = configured(scans / "3", tmp_path, 3, 1, num_folds=2, **{"generated#prob": 1.0})
        workflow.initialize()
        cascade = workflow.parser.get_parsed_content("network_def")
        torch.manual_seed(1)
        for parameter in cascade.parameters():
            nn.init.normal_(parameter, std=std)
        torch.save(cascade.state_dict(), tmp_path / "scale_0.pt")
        workflow.parser.get_parsed_content("generate_previous")
        return {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in tmp_path.glob("packed/*_scale_1_0.nii")}

    first, same, other = generated(0.05), generated(0.05), generated(0.02)
    assert first and first == same and first.keys() == other.keys()
    assert all(first[path][1] != other[path][1] for path in first)


@pytest.mark.parametrize("conditioning", ["sketch", "anchored"])
def test_without_pairs_the_target_s_own_image_is_the_source(scans, tmp_path, conditioning):
    """And the generated previous scale is what the scales before make of it."""
    workflow = configured(scans / "3", tmp_path, 3, 3, conditioning=conditioning, **{"generated#prob": 1.0})
    workflow.initialize()
    parser = workflow.parser
    for scale in range(3):
        torch.save(parser.get_parsed_content("network_def").state_dict(), tmp_path / f"scale_{scale}.pt")
    workflow.run()
    assert len(list((tmp_path / "packed").glob("*_scale_3_0.nii"))) == 1
    patch = parser.get_parsed_content("train#dataset")[0]
    assert torch.equal(crop(patch["image"][None], parser.get_parsed_content("patch#margin"))[0], patch["label"])


RANKS = """
import sys, torch
from monai.bundle import ConfigWorkflow
root, data, output = sys.argv[1:]
workflow = ConfigWorkflow(
    [f"{root}/configs/train.json", f"{root}/configs/multi_gpu_train.json"], workflow_type="train", logging_file=False,
    init_id="initialize", run_id="training", final_id="finalize", bundle_root=root, dataset_dir=data, output_dir=output,
    weights=output + "/model.pt", spatial_dims=2, scale=3, max_epochs=1, iterations_per_epoch=2, batch_size=1,
    num_folds=2, progress=False,
    **{"val_interval": 1, "train#dataloader#num_workers": 0, "patch#patch_size": 12, "validate#dataset#number": 1},
)
workflow.initialize()
workflow.run()
network = workflow.parser.get_parsed_content("network_def")
torch.save(network.state_dict(), f"{output}/rank_{torch.distributed.get_rank()}.pt")
workflow.finalize()
"""


@pytest.mark.slow
def test_two_ranks_train_one_network(scans, tmp_path):
    """Two processes on the CPU, two steps: different patches, equal weights."""
    (tmp_path / "ranks.py").write_text(RANKS)
    command = [*torchrun(2), str(tmp_path / "ranks.py"), str(ROOT), str(scans / "2"), str(tmp_path)]
    told = {"cwd": ROOT, "capture_output": True, "text": True, "env": nameless(tmp_path / "nameless"), "timeout": 300}
    done = subprocess.run(command, **told)
    assert done.returncode == 0, done.stderr[-3000:]
    one, other = (torch.load(tmp_path / f"rank_{rank}.pt", weights_only=True) for rank in (0, 1))
    assert all(torch.equal(one[key], other[key]) for key in one)
    fresh = torch.load(tmp_path / "scale_3.pt", weights_only=True)
    assert set(fresh) == set(one)  # no "module." in front: what one process trains, another can load


def test_an_unknown_key_ends_each_rank_in_one_line(scans, tmp_path):
    config = "['configs/train.json','configs/multi_gpu_train.json']"
    given = ["--dataset_dir", str(scans / "2"), "--output_dir", str(tmp_path), "--max_epoch", "1"]
    command = [*torchrun(1), "-m", "monai.bundle", "run", "training", "--config_file", config, *given]
    told = {"cwd": ROOT, "capture_output": True, "text": True, "env": nameless(tmp_path / "nameless"), "timeout": 300}
    done = subprocess.run(command, **told)
    assert done.returncode != 0 and "error: key --max_epoch is unknown" in done.stderr
    assert "check_arguments(" not in done.stderr  # the traceback is in a file


@pytest.mark.parametrize("run", ["train", "inference"])
def test_several_devices_begin_as_one_does(run):
    """What one process checks first, each of several checks, too."""
    one, several = (
        json.loads((ROOT / "configs" / name).read_text())["initialize"]
        for name in (f"{run}.json", f"multi_gpu_{run}.json")
    )
    assert [step for step in several if step in one] == one


def test_the_average_forgets_its_untrained_start_and_then_follows_the_momentum():
    network = nn.Linear(1, 1, bias=False)
    average = torch.optim.swa_utils.AveragedModel(network, multi_avg_fn=warm_average(0.002))

    def step(value):
        nn.init.constant_(network.weight, value)
        average.update_parameters(network)
        return average.module.weight.item()

    step(100.0)
    for _ in range(100):
        step(1.0)
    assert step(1.0) == pytest.approx(1.0, abs=1e-6)
    for _ in range(5000):
        step(1.0)
    assert step(2.0) == pytest.approx(1.002, abs=1e-4)


@pytest.mark.parametrize("momentum", [0.0, -0.1, 1.5])
def test_an_average_of_nothing_is_refused(momentum):
    with pytest.raises(ValueError, match="momentum"):
        warm_average(momentum)


def test_previous_scales_are_made_by_each_training_that_has_not_seen_the_image(scans, tmp_path):
    """Each half of the images is sent through the cascades that were trained on the other half."""

    def made(output, **more):
        workflow = configured(scans / "2", output, 2, 1, conditioning="sketch", folds="$[@data[:1], @data]", **more)
        workflow.initialize()
        workflow.run()
        found = {}
        for file in sorted(output.glob("packed/**/*_scale_1_*.nii")):
            found.setdefault(file.name.split("_")[0], []).append(nibabel.load(file).get_fdata())
        return found

    halves, seen, own = [tmp_path / "half_0", tmp_path / "half_1", tmp_path / "again_1"], [], []
    for half, fold, seed in zip(halves, (0, 1, 1), (0, 0, 1), strict=True):
        workflow = configured(
            scans / "2", half, 2, 0, conditioning="sketch", fold=fold, seed=seed, **{"whole_image#zoom_range": None}
        )
        workflow.initialize()
        workflow.run()
        seen.append(images_of(half, 1))
        own.append(made(half))
    fitted = made(tmp_path / "fitted", cross_fitting=[str(half) for half in halves])
    assert set(fitted) == {"one", "two"}
    assert sorted(len(results) for results in fitted.values()) == [1, 2]
    for image, results in fitted.items():
        expected = [made[image][0] for made, names in zip(own, seen, strict=True) if f"{image}.nii.gz" not in names]
        assert all(map(np.array_equal, results, expected)) and len(results) == len(expected)
        assert not np.array_equal(results[0], results[-1]) or len(results) == 1


def test_an_image_that_all_trainings_have_seen_is_refused(tmp_path):
    cascade = tiny_cascade(2)
    for scale in range(2):
        torch.save(cascade.state_dict(), tmp_path / f"scale_{scale}.pt")
        write_record(tmp_path / f"scale_{scale}.json", {"trained_on": [f"seen_{scale}.nii.gz"]})
    fitting = CrossFitting(cascade, [tmp_path], 2)
    assert fitting.unseen("other.nii.gz") == [tmp_path] and len(list(fitting("other.nii.gz"))) == 1
    with pytest.raises(ValueError, match=r"each of them was trained on seen_1\.nii\.gz"):
        fitting.unseen("folder/seen_1.nii.gz")
    assert CrossFitting(cascade, [tmp_path], 1).unseen("seen_1.nii.gz") == [tmp_path]
    with pytest.raises(FileNotFoundError, match=r"scale_2\.pt is missing; train scale 2 there first"):
        CrossFitting(cascade, [tmp_path], 3)
    assert list(CrossFitting(cascade, [], 2)("seen_1.nii.gz")) == []


def test_the_cascade_itself_may_make_previous_scales_beside_others(tmp_path):
    cascade = tiny_cascade(2)
    torch.save(tiny_cascade(2).state_dict(), tmp_path / "scale_0.pt")
    write_record(tmp_path / "scale_0.json", {"trained_on": ["seen.nii.gz"]})
    fitting = CrossFitting(cascade, [tmp_path], 1, own=True)
    assert list(fitting("seen.nii.gz")) == [cascade]
    other, itself = fitting("new.nii.gz")
    assert itself is cascade and other is not cascade
    assert list(CrossFitting(cascade, [], 1, own=True)("new.nii.gz")) == []
