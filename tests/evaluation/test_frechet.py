"""Frechet distances are MONAI's, of slices in three planes, read slab by slab; the nearest training image is found."""

import sys

import numpy as np
import pytest
import skimage.data
import torch
from monai.metrics import FIDMetric
from PIL import Image
from scipy.ndimage import gaussian_filter
from torch import nn
from torch.nn import functional as F

from bundle.evaluation.metrics import (
    LUNG,
    EfficientNetLite,
    FileFeatures,
    Match,
    Pooled,
    RandomFeatures,
    between,
    frechet_distance,
    nearest,
    planes,
    spread,
    windowed,
)
from bundle.examples.phantom import ThoraxPhantom
from bundle.images import SLAB, Volume

SHAPE = (48, 40, 36)


class Whole:
    """An image in memory, which says how much of it was read at once."""

    def __init__(self, image):
        self.image, self.shape, self.read = image.float(), tuple(image.shape), []
        self.spacing, self.affine = (1.0,) * image.ndim, np.eye(4)

    def slab(self, start, stop):
        self.read.append(stop - start)
        return self.image[..., start:stop]


class Moments:
    """Three features that one can work out by hand."""

    name = "moments"

    def __call__(self, pictures):
        flat = pictures.flatten(1)
        return torch.stack([flat.mean(1), flat.std(1), pictures.diff(dim=-1).abs().mean((1, 2, 3))], 1)


def images(spatial_dims, count=3, seed=0):
    """Smooth images like nothing in particular, in HU."""
    generator = torch.Generator().manual_seed(seed)
    shape = SHAPE[:spatial_dims]
    return [gaussian(torch.randn(shape, generator=generator), 3.0) * 3000 - 500 for _ in range(count)]


def gaussian(image, sigma):
    return torch.from_numpy(gaussian_filter(image.numpy(), sigma))


def noisy(image, sd, seed=0):
    return image + sd * torch.randn(image.shape, generator=torch.Generator().manual_seed(seed))


def distance(first, second, features=None, **how):
    return frechet_distance(map(Whole, first), map(Whole, second), features or RandomFeatures(), **how)


# Slices


def test_places_are_the_middles_of_equal_parts():
    assert spread(12, 4) == [1, 4, 7, 10]
    assert spread(3, 8) == [0, 1, 2]
    assert spread(7, 1) == [3]


def test_a_volume_has_three_planes_seen_as_radiologists_do():
    right, front, up = torch.arange(2.0), torch.arange(3.0), torch.arange(5.0)
    image = 100 * right[:, None, None] + 10 * front[:, None] + up
    sagittal, coronal, axial = (torch.cat(list(plane)) for plane in planes(Whole(image), (0, 1000), 9))
    assert [tuple(plane.shape) for plane in (sagittal, coronal, axial)] == [(2, 1, 5, 3), (3, 1, 5, 2), (5, 1, 3, 2)]
    assert (1000 * axial[4, 0]).round().tolist() == [[124, 24], [114, 14], [104, 4]]  # front above, right on the left
    assert (1000 * coronal[0, 0]).round().tolist()[0] == [104, 4]  # head above
    assert (1000 * sagittal[1, 0]).round().tolist()[0] == [124, 114, 104]  # front on the left


def test_a_2d_image_and_a_single_slice_are_one_picture(tmp_path):
    pixels = np.arange(12, dtype=np.uint8).reshape(3, 4)
    Image.fromarray(pixels).save(tmp_path / "image.png")
    (plane,) = planes(Volume(tmp_path / "image.png"), (0, 255), 8)
    seen = (255 * torch.cat(list(plane)))[0, 0].round()
    assert torch.equal(seen, torch.from_numpy(pixels[::-1, ::-1].copy()).float())  # turned as an axial slice is
    (plane,) = planes(Whole(torch.zeros(6, 5, 1)), (0, 1), 8)
    assert [tuple(batch.shape) for batch in plane] == [(1, 1, 5, 6)]


def test_pictures_are_windowed_as_the_metrics_are():
    image = images(3, 1)[0]
    axial = torch.cat(list(planes(Whole(image), LUNG, 99)[2]))
    assert torch.allclose(axial[:, 0].flip(-2, -1).mT.movedim(0, -1), windowed(image))


def test_reading_takes_slabs_and_batches_whatever_the_depth():
    image = Whole(torch.zeros(11, 12, 300))
    for plane in planes(image, (0, 1), 20):
        assert all(len(batch) <= SLAB for batch in plane)
    assert max(image.read) == SLAB


def test_no_window_and_no_slices_are_refused():
    with pytest.raises(ValueError, match="window 200 to -1000 is empty"):
        planes(Whole(torch.zeros(SHAPE)), (200, -1000), 8)
    with pytest.raises(ValueError, match="slices 0 must be at least 1"):
        planes(Whole(torch.zeros(SHAPE)), LUNG, 0)


# Distances


def test_a_collection_is_at_no_distance_from_itself(spatial_dims):
    own = images(spatial_dims)
    assert distance(own, own) == pytest.approx(0, abs=1e-6)
    assert distance(own, images(spatial_dims, seed=1)) > 1e-4


def test_it_grows_with_noise_and_with_blur():
    phantom = torch.from_numpy(ThoraxPhantom((64, 56, 40), (5.0, 5.0, 7.0))[:]).float()
    own = noisy(phantom, 20.0)
    noises = [distance([noisy(own, sd, seed=7)], [own]) for sd in (15.0, 30.0, 60.0)]
    blurs = [distance([gaussian(own, sigma)], [own]) for sigma in (0.5, 1.0, 2.0)]
    assert 0 < noises[0] < noises[1] < noises[2] and 0 < blurs[0] < blurs[1] < blurs[2]


@pytest.mark.filterwarnings("ignore:The `disp` argument:DeprecationWarning")
def test_it_is_the_mean_of_monai_s_over_three_planes():
    first, second = images(3, 2), images(3, 2, seed=1)
    by_hand = []
    for axis, others in enumerate(((2, 1), (2, 0), (1, 0))):  # rows, columns
        pictures = [
            torch.cat([windowed(image).permute(axis, *others).flip(1, 2) for image in own])[:, None]
            for own in (first, second)
        ]
        by_hand.append(float(FIDMetric()(*map(Moments(), pictures))))
    assert distance(first, second, Moments(), slices=99) == pytest.approx(sum(by_hand) / 3, rel=1e-4)


@pytest.mark.filterwarnings("ignore:The `disp` argument:DeprecationWarning")
def test_it_is_monai_s_of_2d_images():
    first, second = images(2, 5), images(2, 7, seed=1)
    pictures = [windowed(torch.stack(own)).mT[:, None] for own in (first, second)]
    assert distance(first, second, Moments()) == pytest.approx(float(FIDMetric()(*map(Moments(), pictures))), rel=1e-4)


def test_with_more_features_than_slices_it_is_exact():
    first, second = torch.randn(9, 50).double(), 1.5 * torch.randn(6, 50).double() + 0.3
    means = (first.mean(0) - second.mean(0)).square().sum()
    # the trace of the root of a product of covariances is the nuclear norm of a product of their roots
    a, b = ((own - own.mean(0)) / (len(own) - 1) ** 0.5 for own in (first, second))
    expected = means + a.square().sum() + b.square().sum() - 2 * torch.linalg.svdvals(a @ b.T).sum()
    assert between([first], [second]) == pytest.approx(float(expected), rel=1e-5)


def test_what_does_not_compare_is_refused():
    flat, solid = images(2), images(3)
    with pytest.raises(ValueError, match="a plane has 1 slice, and a covariance needs 2; give more images"):
        distance(flat[:1], flat)
    with pytest.raises(ValueError, match="no image to take features of"):
        distance([], flat)
    with pytest.raises(ValueError, match="images of 1 and of 3 planes"):
        distance(flat, solid)
    with pytest.raises(ValueError, match="of 1 planes is among images of 3"):
        distance([*solid, *flat], solid)


# Feature networks


def test_the_default_network_knows_what_photographs_show():
    photographs = {"chelsea": {281, 282, 283, 285}, "coffee": {504, 967, 968}}  # ImageNet's cats; cups and espresso
    features = EfficientNetLite()
    for name, classes in photographs.items():
        picture = torch.from_numpy(getattr(skimage.data, name)()).float().mean(-1)[None, None] / 255
        found = features(F.interpolate(picture, (224, 224), mode="bilinear", antialias=True))
        assert found.shape == (1, 1280)
        assert int(features._network._fc(found).argmax()) in classes, name


def test_the_default_network_takes_pictures_of_any_size():
    features = EfficientNetLite()
    for sides in ((512, 16), (7, 300), (1, 1)):
        assert torch.isfinite(features(torch.rand(2, 1, *sides))).all()
    pictures = torch.rand(3, 1, 150, 140)
    assert torch.allclose(features(pictures)[1:2], features(pictures[1:2]))
    small = EfficientNetLite(side=128)
    assert small.name.endswith("side 128") and small(torch.rand(1, 1, 300, 20)).shape == (1, 1280)


def test_a_missing_network_is_told_of(monkeypatch):
    monkeypatch.setitem(sys.modules, "efficientnet_lite_pytorch", None)
    with pytest.raises(ImportError, match=r"pip install -r requirements\.txt, or take RandomFeatures"):
        EfficientNetLite()


def test_the_random_network_is_the_same_everywhere():
    ramp = torch.linspace(0, 1, 32).expand(1, 1, 24, 32)
    features = RandomFeatures()
    found = features(ramp)
    assert found.shape == (1, 64) and "seed 0" in features.name
    assert torch.equal(found, RandomFeatures()(ramp)) and not torch.equal(found, RandomFeatures(1)(ramp))
    assert found.reshape(4, 16).mean(1).tolist() == pytest.approx(PINNED, rel=1e-4)


PINNED = [0.680346, 0.639194, 0.263266, 0.326069]


class Tiny(nn.Module):
    """Maps of features, as a network without its last layers gives them."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Conv2d(3, 5, 3, stride=2)

    def forward(self, pictures):
        return self.layer(pictures).relu()


def test_a_torchscript_file_is_a_network(tmp_path):
    network, pictures = Tiny().eval(), torch.rand(4, 1, 20, 30)
    torch.jit.script(network).save(tmp_path / "tiny.ts")
    features = FileFeatures(tmp_path / "tiny.ts", side=None, mean=(0.1, 0.2, 0.3), std=(1.0, 2.0, 4.0))
    scaled = torch.cat([(pictures - 0.1) / 1, (pictures - 0.2) / 2, (pictures - 0.3) / 4], 1)
    assert torch.allclose(features(pictures), network(scaled).mean((2, 3)), atol=1e-6)
    features = FileFeatures(tmp_path / "tiny.ts", side=16)
    assert features.name == "tiny.ts, side 16" and features(pictures).shape == (4, 5)
    assert distance(images(3), images(3), features) == pytest.approx(0, abs=1e-6)


def test_an_onnx_file_is_a_network(tmp_path):
    pytest.importorskip("onnxruntime", reason="needs onnxruntime: pip install -r requirements/frechet.txt")
    helper = pytest.importorskip("onnx", reason="needs onnx, which writes the file: make zoo-check").helper
    layer = Tiny().layer
    weights = [
        helper.make_tensor(name, 1, value.shape, value.detach().flatten().tolist())
        for name, value in layer.named_parameters()
    ]
    graph = helper.make_graph(
        [helper.make_node("Conv", ["pictures", "weight", "bias"], ["found"], strides=[2, 2])],
        "tiny",
        [helper.make_tensor_value_info("pictures", 1, ["batch", 3, "rows", "columns"])],
        [helper.make_tensor_value_info("found", 1, ["batch", 5, "r", "c"])],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    (tmp_path / "tiny.onnx").write_bytes(model.SerializeToString())
    pictures = torch.rand(4, 1, 20, 30)
    features = FileFeatures(tmp_path / "tiny.onnx", side=None, mean=(0, 0, 0), std=(1, 1, 1))
    assert torch.allclose(features(pictures), layer(pictures.expand(-1, 3, -1, -1)).mean((2, 3)), atol=1e-5)


def test_what_is_no_network_is_refused(tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError, match=r"no network at .*absent\.pt"):
        FileFeatures(tmp_path / "absent.pt")
    for name in ("weights.pth", "weights.pt"):
        torch.save(Tiny().state_dict(), tmp_path / name)
        with pytest.raises(ValueError, match=f"{name}.*not its state dict"):
            FileFeatures(tmp_path / name)
    torch.jit.script(nn.Flatten(0)).save(tmp_path / "flat.pt")
    with pytest.raises(ValueError, match=r"gave \(192,\) for 4 pictures, not \(batch, features\)"):
        FileFeatures(tmp_path / "flat.pt", side=4)(torch.rand(4, 1, 9, 9))
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    (tmp_path / "tiny.onnx").touch()
    with pytest.raises(ImportError, match=r"needs onnxruntime; pip install -r requirements/frechet\.txt"):
        FileFeatures(tmp_path / "tiny.onnx")


# Nearest training image


@pytest.mark.parametrize("features", [None, RandomFeatures()], ids=["pooled", "features"])
def test_a_remembered_image_is_found_under_its_name(spatial_dims, features):
    training = {f"training {i}": Whole(image) for i, image in enumerate(images(spatial_dims, 4))}
    copies = {"copy": training["training 2"], "near": Whole(noisy(training["training 1"].image, 5.0))}
    found = nearest(copies.items(), training.items(), features)
    assert found[0] == Match("copy", "training 2", 0.0)
    assert (found[1].sample, found[1].nearest) == ("near", "training 1")
    among = nearest(training.items(), features=features)
    assert [match.sample for match in among] == list(training) and all(m.sample != m.nearest for m in among)
    assert 0 < found[1].distance < min(match.distance for match in among)


def test_the_distance_is_that_of_pooled_pictures():
    first, second = torch.zeros(128, 128), torch.zeros(128, 128)
    second[::2] = 0.2  # 0.1 where two by two are pooled
    (match,) = nearest([("a", Whole(first))], [("b", Whole(second))], Pooled(64), (0, 1))
    assert match == Match("a", "b", pytest.approx(0.1))


def test_too_few_and_unlike_images_are_refused():
    flat, solid = ([("a", Whole(images(dims, 1)[0]))] for dims in (2, 3))
    with pytest.raises(ValueError, match="1 images to compare with are too few"):
        nearest(flat)
    with pytest.raises(ValueError, match="all 2D, or all 3D"):
        nearest(flat, solid)
