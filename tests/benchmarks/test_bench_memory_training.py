"""What Fig. 2 says: whole-image GANs need memory by the voxel, the cascade the same for any image."""

from functools import partial
from pathlib import Path

import pytest
import torch
from monai.transforms import Compose

from benchmarks import memory_training
from benchmarks.baselines import dcgan, pggan, pix2pix
from benchmarks.memory_training import (
    SIDES,
    Row,
    live_bytes,
    main,
    measured,
    of_gan,
    regression,
    scale_batch,
    shipped,
    step,
    table,
)
from bundle.training.data import RandScalePatchd, RandWholeImaged, ScaleConditionsd

ROOT = Path(__file__).parents[2]
FINEST = "$@network_def.num_scales - 1"


def images_share(make, spatial_dims, side):
    """Bytes less parameters and gradients: what the image makes necessary."""
    with torch.device("meta"):
        gan = make(spatial_dims, side)
    networks = sum(p.numel() * 4 for network in (gan.generator, gan.discriminator) for p in network.parameters())
    return live_bytes(partial(of_gan, partial(make, spatial_dims, side))) - 2 * networks


@pytest.mark.parametrize("make", [dcgan, pix2pix, pggan])
def test_baselines_grow_at_least_by_the_voxel(make, spatial_dims):
    small, large = (images_share(make, spatial_dims, side) for side in {2: (2048, 4096), 3: (256, 512)}[spatial_dims])
    assert large >= 2**spatial_dims * small


def test_widths_that_shrink_as_the_resolution_grows_need_more_and_grow_less():
    """PGGAN with as many channels at each resolution as the published one: by the square of the side, not its cube."""
    large, larger = (live_bytes(partial(of_gan, partial(pggan, 3, s, channels=16384 // s))) for s in (256, 512))
    assert 3.5 * large < larger < 4.5 * large
    assert larger > live_bytes(partial(of_gan, partial(pggan, 3, 512)))


@pytest.mark.parametrize("scale", [0, FINEST])
def test_ours_needs_the_same_for_every_image(scale, spatial_dims):
    """A batch is of the same shape whatever the image: a scale more for each doubling, and patches of one size."""
    cascade, _, scale, _ = shipped(scale, spatial_dims).args
    side = 16 if scale else 8
    expected = {key: x.shape[1:] for key, x in scale_batch(cascade, scale, side, torch.device("cpu")).items()}
    for steps in (1, 2, 3):
        image = torch.zeros(1, *[8 * 2**steps] * spatial_dims)
        keys, options = ["image", "label"], {"patch_size": side, "num_scales": steps + 1}
        number = {"scale": steps if scale else 0, "margin": cascade.reach[scale]}
        cut = RandScalePatchd(keys, **number, **options) if scale else RandWholeImaged(keys, **options)
        transform = Compose([cut, ScaleConditionsd(keys, **number, **options)])
        batch = transform({"image": image, "label": image})
        assert {key: x.shape for key, x in batch.items()} == expected


@pytest.mark.parametrize("scale", [0, FINEST])
def test_ours_is_small(scale, spatial_dims):
    """Less than any baseline at 64 voxels a side, from which on images are of interest."""
    assert live_bytes(shipped(scale, spatial_dims)) < min(
        live_bytes(partial(of_gan, partial(make, spatial_dims, 64))) for make in (dcgan, pix2pix, pggan)
    )


def test_a_step_trains_both_networks():
    generator, discriminator = torch.nn.Linear(2, 3), torch.nn.Linear(5, 1)
    inputs, real = torch.randn(1, 2), torch.randn(1, 3)
    step(generator, discriminator, inputs, inputs, real)
    assert generator.weight.grad.abs().sum() > 0 and discriminator.weight.grad.abs().sum() > 0


def test_measured_is_the_bound_and_not_much_more():
    """On a CPU, of a step of 235 MiB; code loaded on the way and copies inside of convolutions are not counted."""
    work = partial(of_gan, partial(pix2pix, 3, 16))
    bound = live_bytes(work)
    assert bound <= measured(work, torch.device("cpu")) <= 2 * bound


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_measured_on_a_gpu():
    work = partial(of_gan, partial(pix2pix, 3, 16))
    bound = live_bytes(work)
    assert bound <= measured(work, torch.device("cuda")) <= 2 * bound


def test_regression_finds_a_constant_and_the_voxels(spatial_dims):
    counted = [100.0 + 3 * side**spatial_dims for side in SIDES]
    values = [bound if i < 3 else bound + 1e9 for i, bound in enumerate(counted)]  # the others do not fit
    assert regression(values, counted[2] + 1, spatial_dims) == pytest.approx(counted)


def test_a_table_one_can_read():
    counted = [2.0**30 * 2**i for i in range(6)]
    row = Row("GAN", counted, [2.0**31, *[float("nan")] * 5], [*counted[:5], 40 * 2.0**30])
    assert table([row]).splitlines() == [
        "| GiB, counted / measured | 16 | 32 | 64 | 128 | 256 | 512 | 512 by regression |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
        "| GAN | 1 / 2 | 2 | 4 | 8 | 16 | 32 | 40 (+25 %) |",
    ]


def test_table_and_figure_are_made(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(memory_training, "SIDES", (16, 32, 64))
    main(limit=1, spatial_dims=2, device="cpu", figure=str(tmp_path / "made" / "figure.png"))
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 9 and all(line.count("|") == 6 for line in lines)
    assert (tmp_path / "made" / "figure.png").read_bytes().startswith(b"\x89PNG")


def test_make_bench_runs_what_there_is():
    line = next(line for line in (ROOT / "Makefile").read_text().splitlines() if line.startswith("BENCHMARKS"))
    assert line.split("=")[1].split()
    assert all((ROOT / "benchmarks" / f"{name}.py").exists() for name in line.split("=")[1].split())


def test_a_step_one_can_count():
    """A parameter, what its sigmoid keeps for the backward pass, the gradient; the sum and its own gradient."""

    def work(device):
        x = torch.empty(100, device=device, requires_grad=True)
        x.sigmoid().sum().backward()

    assert live_bytes(work) == 3 * 400 + 2 * 4


def test_only_what_has_no_data_is_counted():
    assert live_bytes(lambda device: torch.ones(7).to(device)) == 28
