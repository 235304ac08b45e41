import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from monai.bundle import ConfigParser
from monai.data import DataLoader, Dataset, MetaTensor
from monai.engines import SupervisedEvaluator
from monai.networks.nets import UNet
from torch import nn

from bundle.cascade import Cascade, CascadeInferer, ResNetGenerator, Sketch, plan_tiles
from bundle.cascade import cascade as networks
from tests.laws import TOLERANCE, assert_tiled_equals_whole, image, tiny_cascade, with_spacing

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def cascades():
    torch.manual_seed(0)
    return {dims: tiny_cascade(dims) for dims in (2, 3)}


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_tiled_is_whole_for_drawn_shapes(cascades, spatial_dims, data):
    """Tile sizes that divide the image and that do not, larger than it, of unequal sides; sides of 1."""
    top = 70 if spatial_dims == 2 else 30
    shape = data.draw(st.lists(st.integers(1, top), min_size=spatial_dims, max_size=spatial_dims), label="shape")
    side = st.integers(5, top + 10)
    tile = data.draw(st.one_of(side, st.lists(side, min_size=spatial_dims, max_size=spatial_dims)), label="tile")
    spacing = data.draw(st.sampled_from([[1.0, 1.0, 1.0], [0.6, 0.6, 1.25], [3.0, 0.7, 0.7]]), label="spacing")
    inferer = CascadeInferer(tile, progress=False)
    assert_tiled_equals_whole(cascades[spatial_dims], image(shape), spacing[:spatial_dims], inferer)


@pytest.mark.parametrize(
    ("conditioning", "base"), [("sketch", None), ("anchored", None), ("image", None), ("image", "previous")]
)
@pytest.mark.parametrize("tile", [7, 8, 13, 16, 33])
def test_tiled_is_whole_for_every_conditioning(spatial_dims, conditioning, base, tile):
    cascade, x = tiny_cascade(spatial_dims, conditioning, base=base), image((33, 29, 17)[:spatial_dims])
    assert_tiled_equals_whole(cascade, x, [1.0] * spatial_dims, CascadeInferer(tile, progress=False))


def test_tiled_is_whole_for_padded_networks(spatial_dims):
    """Any stride-free network can be a generator, one that pads too: what its padding spoils is not used."""
    conv = nn.Conv2d if spatial_dims == 2 else nn.Conv3d
    fine = [nn.Sequential(conv(3, 4, 3, padding=1), nn.ReLU(), conv(4, 1, 3, padding=1)) for _ in "12"]
    x = image((30, 23, 18)[:spatial_dims])
    assert_tiled_equals_whole(
        tiny_cascade(spatial_dims, fine=fine), x, [1.0] * spatial_dims, CascadeInferer(11, progress=False)
    )


@pytest.mark.parametrize("budget", ["400KiB", "1MiB", "64MiB"])
def test_any_budget_gives_the_same(spatial_dims, budget):
    x = image((44, 39, 21)[:spatial_dims])
    assert_tiled_equals_whole(
        tiny_cascade(spatial_dims), x, [1.0] * spatial_dims, CascadeInferer(None, budget, progress=False)
    )


def shipped(name="inference"):
    parser = ConfigParser()
    parser.read_config(ROOT / "configs" / f"{name}.json")
    network = parser.get_parsed_content("network_def")
    network.load_state_dict(torch.load(ROOT / "models" / "model.pt", weights_only=True))
    return network.eval()


@pytest.mark.parametrize("tile", [13, 24, 32, 41, 96])
def test_tiled_is_whole_on_the_shipped_weights(tile):
    x = image((52, 45, 20))
    assert_tiled_equals_whole(shipped(), x, [0.7, 0.7, 2.0], CascadeInferer(tile, progress=False))


@pytest.mark.parametrize("strides", [(2, 2), (1, 2)])
def test_scale_0_is_tiled_as_well(spatial_dims, strides):
    """Its network strides: tiles start at multiples of the stride, and the numbers are those of the whole."""
    coarse = UNet(spatial_dims, 2, 1, (4, 6, 8), strides, norm=None)
    fine = [ResNetGenerator(spatial_dims, 3, channels=4, blocks=1)]
    torch.manual_seed(1)
    cascade = Cascade(spatial_dims, coarse, fine, Sketch(spatial_dims, low=0.02, high=0.05, steps=1)).eval()
    for weight in cascade.parameters():
        if weight.ndim > 1:
            nn.init.kaiming_normal_(weight, nonlinearity="relu")
    x = image((171, 94, 50)[:spatial_dims])
    inferer = CascadeInferer(16, progress=False)
    (coarsest, _) = plan_tiles(cascade, [tuple(side // 2 for side in x.shape[2:]), x.shape[2:]], 1, 16, 0, False)
    assert len(coarsest) > 10
    assert_tiled_equals_whole(cascade, x, [1.0] * spatial_dims, inferer)
    cascade.coarse_reach = [0] * spatial_dims
    with pytest.raises(AssertionError):
        assert_tiled_equals_whole(cascade, x, [1.0] * spatial_dims, inferer)


def test_a_normalising_scale_0_is_taken_whole():
    coarse = UNet(2, 2, 1, (4, 8), (2,), norm="INSTANCE")
    cascade = Cascade(2, coarse, [ResNetGenerator(2, 3, channels=4, blocks=1)], Sketch(2)).eval()
    assert cascade.coarse_reach == [-1, -1]
    assert_tiled_equals_whole(cascade, image((90, 70)), [1.0, 1.0], CascadeInferer(8, progress=False))
    with pytest.raises(ValueError, match="smallest tile of scale 0 needs, 45 x 35 voxels; give more"):
        CascadeInferer(None, "20KiB", progress=False)(image((90, 70)), cascade)


def test_a_full_device_halves_the_tile_and_goes_on(spatial_dims, monkeypatch):
    """Nothing is lost, later tiles start smaller, and it is said."""
    cascade, x = tiny_cascade(spatial_dims), image((40, 36, 30)[:spatial_dims])
    whole = CascadeInferer(32, progress=False)(x, cascade)
    tried, forward = [], type(cascade).forward
    limit = 2000 if spatial_dims == 2 else 60000

    def full(self, conditions, scale=-1, spacing=None):
        tried.append(conditions.numel() > limit)
        if tried[-1]:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return forward(self, conditions, scale, spacing)

    monkeypatch.setattr(type(cascade), "forward", full)
    with pytest.warns(UserWarning, match="does not hold a tile of .* voxels; continuing with halves"):
        result = CascadeInferer(32, progress=False)(x, cascade)
    assert 0 < sum(tried) < 8 < len(tried)
    assert (result - whole).abs().max() <= TOLERANCE


class TestOfTheTest:
    """The law notices what it is there for."""

    def test_a_halo_one_short_fails(self, spatial_dims):
        conv = nn.Conv2d if spatial_dims == 2 else nn.Conv3d
        fine = [nn.Sequential(conv(3, 4, 3, padding=1), nn.ReLU(), conv(4, 1, 3, padding=1)) for _ in "12"]
        cascade = tiny_cascade(spatial_dims, fine=fine)
        x = image((30, 23, 18)[:spatial_dims])
        law = x, [1.0] * spatial_dims, CascadeInferer(11, progress=False)
        assert_tiled_equals_whole(cascade, *law)
        cascade.reach = [cascade.reach[0], *([far - 1 for far in row] for row in cascade.reach[1:])]
        with pytest.raises(AssertionError):
            assert_tiled_equals_whole(cascade, *law)

    def test_instance_norm_in_a_fine_network_fails(self, spatial_dims, monkeypatch):
        class Normalised(ResNetGenerator):
            def forward(self, x):
                return nn.functional.instance_norm(super().forward(x))

        with pytest.raises(ValueError, match="must not normalise over the tile"):
            tiny_cascade(spatial_dims, fine=[Normalised(spatial_dims, 3, channels=4, blocks=1) for _ in "12"])
        # The same with the guard off: the law itself notices.
        monkeypatch.setattr(networks, "measure_reach", lambda _network, _channels, dims: (4,) * dims)
        cascade = tiny_cascade(spatial_dims, fine=[Normalised(spatial_dims, 3, channels=4, blocks=1) for _ in "12"])
        with pytest.raises(AssertionError):
            assert_tiled_equals_whole(
                cascade, image((30, 23, 18)[:spatial_dims]), [1.0] * spatial_dims, CascadeInferer(11, progress=False)
            )


def test_the_callers_of_monai_all_get_the_same(spatial_dims):
    """MONAI's evaluator (batched metadata), MONAI Label (a MetaTensor given a batch axis) and Deploy (keywords)."""
    cascade = tiny_cascade(spatial_dims)
    x = image((26, 21, 9)[:spatial_dims])
    spacing = [0.6, 0.6, 1.5][:spatial_dims]
    with torch.no_grad():
        whole = cascade(x, spacing=spacing)
    inferer = CascadeInferer(12, progress=False)
    one = with_spacing(x[0], spacing)
    results = {
        "label": inferer(one[None], cascade),
        "deploy": inferer(inputs=one.unsqueeze(0), network=SimpleNamespace(predictor=cascade)),
        "parallel": inferer(one[None], SimpleNamespace(module=cascade)),
        "evaluator": None,
    }
    evaluator = SupervisedEvaluator(
        device="cpu",
        val_data_loader=DataLoader(Dataset([{"image": one}]), batch_size=1),
        network=cascade,
        inferer=inferer,
        decollate=False,
    )
    evaluator.run()
    results["evaluator"] = evaluator.state.output["pred"]
    for caller, result in results.items():
        assert isinstance(result, torch.Tensor) and result.shape == x.shape, caller
        assert (result - whole).abs().max() < TOLERANCE * max(1, float(whole.abs().max())), caller


def test_a_tile_may_be_a_single_voxel():
    cascade, x = tiny_cascade(2), image((6, 5))
    whole = CascadeInferer(64, progress=False)(x, cascade)
    torch.testing.assert_close(CascadeInferer(1, progress=False)(x, cascade), whole, atol=1e-5, rtol=0)


def test_it_leaves_no_gradient_and_no_trace_in_its_input():
    cascade = tiny_cascade(2)
    x = MetaTensor(image((20, 20)))
    before = x.clone()
    result = CascadeInferer(8, progress=False)(x, cascade)
    assert not result.requires_grad and torch.equal(x, before) and type(result) is torch.Tensor


def test_on_a_cpu_scale_0_stays_in_float32():
    """As strided convolutions in bfloat16 may be wrong there."""
    cascade, kinds = tiny_cascade(2), {}
    for name, network in (("coarse", cascade.coarse), *((f"fine {i}", each) for i, each in enumerate(cascade.fine))):

        def noted(*given, name=name):
            kinds[name] = given[-1].dtype

        next(layer for layer in network.modules() if isinstance(layer, nn.Conv2d)).register_forward_hook(noted)
    CascadeInferer(16, progress=False, half=True)(image((24, 20)), cascade)
    assert kinds == {"coarse": torch.float32, "fine 0": torch.bfloat16, "fine 1": torch.bfloat16}


def test_a_bar_counts_tiles_and_names_scales(capsys):
    CascadeInferer(16)(image((40, 40)), tiny_cascade(2))
    bar = capsys.readouterr().err
    # one for scale 0, 2 x 2 of 20 x 20, 3 x 3 of 40 x 40
    assert "14/14" in bar and "scale 2, 40 x 40" in bar


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"tile_size": 0}, "tile_size 0 must be at least 1"),
        ({"memory_budget": "much"}, "memory size 'much' is not a positive number of bytes"),
        ({"memory_budget": -1}, "memory size -1 is not"),
    ],
)
def test_impossible_settings_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        CascadeInferer(**arguments)


def test_images_that_do_not_fit_the_network_are_refused(spatial_dims):
    cascade = tiny_cascade(spatial_dims)
    for shape in ((1, 2, *[20] * spatial_dims), (1, 1, *[20] * (spatial_dims + 1)), [20] * spatial_dims):
        with pytest.raises(ValueError, match="image of shape"):
            CascadeInferer(8, progress=False)(torch.zeros(shape), cascade)
    with pytest.raises(ValueError, match="is not a Cascade"):
        CascadeInferer(8, progress=False)(torch.zeros((1, 1, 20, 20)), nn.Conv2d(1, 1, 1))


def test_a_budget_that_cannot_be_kept_says_what_is_needed():
    with pytest.raises(ValueError, match=r"smallest tile of scale 0 needs, 2 x 2 voxels; give more"):
        CascadeInferer(None, "2KiB", progress=False)(image((200, 200)), tiny_cascade(2))
    wide = Cascade(
        2, UNet(2, 2, 1, (4, 8), (2,), norm=None), [ResNetGenerator(2, 3, channels=64) for _ in range(6)], Sketch(2)
    ).eval()
    with pytest.raises(ValueError, match="smallest tile of scale 1 needs, 1 x 1 voxels; give more"):
        CascadeInferer(None, "60KiB", progress=False)(image((64, 64)), wide)


MEASURE = """
import json, sys, torch
from bundle.cascade import CascadeInferer, ResNetGenerator
from tests.laws import tiny_cascade
torch.set_num_threads(1)
cascade = tiny_cascade(3, fine=[ResNetGenerator(3, 3, channels=16, blocks=1) for _ in "12"])
def field(name):
    return next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith(name))
CascadeInferer(None, "32MiB", progress=False)(torch.zeros((1, 1, 24, 24, 24)), cascade)  # libraries loaded
x = torch.zeros((1, 1, 120, 120, 120))
inferer = CascadeInferer(None, sys.argv[1], progress=False)
open("/proc/self/clear_refs", "w").write("5")
before = field("VmRSS")
inferer(x, cascade)
arrays = 4 * sum(2 * side**3 for side in (30, 60)) + 4 * 120**3  # images and results of the scales, on the host
print(json.dumps({"peak": field("VmHWM") - before - arrays}))
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux to reset the peak of memory")
@pytest.mark.parametrize(
    "budget", [pytest.param(24, marks=pytest.mark.bench), 48, pytest.param(96, marks=pytest.mark.bench)]
)
def test_the_budget_is_kept_as_measured(budget):
    """Peak resident memory of a fresh process, less what the host holds of the image and its scales."""
    # The C library is told to give back what is freed: what is measured is what is held, not what it hoards.
    memory = {"MALLOC_TRIM_THRESHOLD_": "0", "MALLOC_MMAP_THRESHOLD_": "65536"}
    out = subprocess.run(
        [sys.executable, "-c", MEASURE, f"{budget}MiB"],
        cwd=ROOT,
        env={**os.environ, **memory},
        capture_output=True,
        text=True,
        check=True,
    )
    peak = json.loads(out.stdout.splitlines()[-1])["peak"]
    print(f"budget {budget} MiB, measured {peak / 2**20:.0f} MiB")
    assert budget * 2**20 * 0.2 < peak <= budget * 2**20


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device: the budget is not measured on one")
def test_the_budget_is_kept_on_a_gpu():
    cascade = shipped().cuda()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    CascadeInferer(None, "500MiB", progress=False)(torch.zeros((1, 1, 160, 160, 160)), cascade)
    assert torch.cuda.max_memory_allocated() - before <= 500 * 2**20
