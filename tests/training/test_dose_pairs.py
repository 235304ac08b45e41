"""Pairs of two doses: what source and target share, noise on disk, and single slices."""

import math
from concurrent.futures import ThreadPoolExecutor

import nibabel
import numpy as np
import pytest
import torch

from bundle.scanner import Kernel
from bundle.training.data import (
    DoseScan,
    OpenNoised,
    PackedImage,
    RandDosePaird,
    RandKernelPaird,
    RandOneSliced,
    kernel_pair_reach,
)
from bundle.training.data.noise import denoised, pack_noise
from bundle.training.data.simulated_pairs import SimulatedScan

SPACING = (0.8, 0.8, 2.5)
KERNEL = Kernel(half=0.5)


@pytest.fixture
def packed(tmp_path) -> PackedImage:
    """Return a noisy cylinder of tissue as a packed CT, `(1, 96, 96, 6)`."""
    at = torch.arange(96) - 47.5
    inside = torch.hypot(at[:, None], at[None, :]) < 40
    body = (
        torch.where(inside, 30.0, -1000.0)[..., None]
        + torch.randn(96, 96, 6, generator=torch.Generator().manual_seed(0)) * 20
    )
    path = tmp_path / "cylinder.nii"
    nibabel.Nifti1Image(body.round().numpy().astype(np.int16), np.diag([*SPACING, 1])).to_filename(path)
    return PackedImage(path)


def windows(opened: dict) -> dict:
    """Return the whole image and its noise, with the margin that a scan takes."""
    margin = kernel_pair_reach(3)
    return {
        key: image.window([(-m, size + m) for m, size in zip(margin, image.shape[1:], strict=True)])
        for key, image in opened.items()
    }


def test_source_has_the_target_s_noise_and_more(packed):
    """The variances are those of their doses, and the covariance is the target's variance."""
    opened = OpenNoised("image")({"image": packed})
    parts = windows(opened)
    noise = [parts["noise_0"][0], parts["noise_1"][0]]
    empty = torch.zeros_like(noise[0])
    scan = DoseScan(KERNEL, dose=10.0, ratio=4.0, turn=0.7, digital=False)
    source, target = (part[20:76, 20:76] for part in scan.pair(empty, SPACING, noise))
    assert source.var() / target.var() == pytest.approx(4.0, rel=0.1)
    assert (source * target).mean() / target.var() == pytest.approx(1.0, abs=0.15)
    clean = DoseScan(KERNEL, dose=10.0, digital=False).pair(empty, SPACING, noise)[1]
    assert clean.abs().max() == 0
    air = DoseScan(KERNEL, dose=10.0, ratio=4.0, clipped=True).pair(empty - 1000, SPACING, noise)
    assert [float(part.min()) for part in air] == [-1000.0, -1000.0]


def test_a_transform_draws_pairs(packed):
    opened = OpenNoised("image")({"image": packed})
    pairing = RandDosePaird("image").set_random_state(seed=1)
    out = pairing({**windows(opened), "spacing": SPACING})
    assert set(out) == {"image", "label", "spacing"}
    assert out["image"].shape == out["label"].shape == packed.shape
    assert (out["image"] - out["label"]).std() > 5
    real = pairing(
        {"image": windows({"image": packed})["image"], "label": windows({"image": packed})["image"], "spacing": SPACING}
    )
    assert torch.equal(real["image"], packed[0, ...][None])


def test_two_processes_make_noise_once(packed, monkeypatch):
    """The second one waits for the first, and takes its files."""
    from bundle.training.data import noise as module

    made, calls = module.projection_noise, []
    monkeypatch.setattr(module, "projection_noise", lambda *args: calls.append(args) or made(*args))
    with ThreadPoolExecutor(2) as pool:
        files = list(pool.map(lambda _: pack_noise(packed, seed=4), range(2)))
    assert files[0] == files[1] and all(path.exists() for path in files[0])
    assert len(calls) == packed.shape[3]


def test_noise_is_made_once_and_resumes(packed, monkeypatch):
    """An interrupted run leaves its slices, and the next one makes the others; the files are the same."""
    from bundle.training.data import noise as module

    first = [path.read_bytes() for path in pack_noise(packed, seed=3)]
    for path in pack_noise(packed, seed=3):
        path.unlink()
    made, calls = module.projection_noise, []

    def interrupted(*args):
        calls.append(args)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return made(*args)

    monkeypatch.setattr(module, "projection_noise", interrupted)
    with pytest.raises(KeyboardInterrupt):
        pack_noise(packed, seed=3)
    again = [path.read_bytes() for path in pack_noise(packed, seed=3)]
    assert len(calls) == 4 + 3
    assert again == first
    pack_noise(packed, seed=3)
    assert len(calls) == 7


def test_the_ct_s_own_noise_is_taken_off(packed):
    image = packed[0, :, :, 2].numpy()
    image[40:44, 40:44] = 900.0
    result = denoised(image)
    inside = np.s_[50:65, 50:65]
    assert result[inside].std() < 0.5 * image[inside].std()
    assert result[42, 42] == 900.0
    assert abs(result[inside].mean() - image[inside].mean()) < 3


def test_one_slice_of_a_volume(packed):
    """It is the mean of its slices, as thick as they are together, and its border is repeated beyond it."""
    part = packed.slice(1, 3)
    assert part.shape == (1, 96, 96, 1)
    assert math.isclose(float(part.affine[2, 2]), 3 * SPACING[2])
    window = part.window([(10, 20), (0, 5), (-2, 3)])
    expected = packed[0, 10:20, 0:5, 1:4].mean(-1, keepdim=True)
    assert torch.equal(window[0], expected.expand(-1, -1, 5))
    taken = RandOneSliced(["image"], prob=1.0).set_random_state(seed=0)({"image": packed})["image"]
    assert taken.shape[-1] == 1
    assert RandOneSliced(["image"], prob=0.0)({"image": packed})["image"] is packed


def test_noise_needs_slices(tmp_path):
    path = tmp_path / "flat.nii"
    nibabel.Nifti1Image(np.zeros((40, 40), np.int16), np.eye(4)).to_filename(path)
    with pytest.raises(ValueError, match="2 axes"):
        pack_noise(PackedImage(path))


def test_pairs_of_kernels_take_the_noise(packed):
    """Both kernels have the same given noise, which is another one for another turn."""
    opened = OpenNoised("image")({"image": packed})
    parts = windows(opened)
    noise = [parts["noise_0"][0], parts["noise_1"][0]]
    scans = [SimulatedScan(Kernel(half=0.7), dose=20.0, digital=False, turn=turn) for turn in (0.0, 0.0, 1.0)]
    pairs = [scan.pair(torch.zeros_like(noise[0]), SPACING, 0, None, noise) for scan in scans]
    sharp, soft = pairs[0]
    assert torch.equal(pairs[1][0], sharp)
    assert not torch.allclose(pairs[2][0], sharp)
    assert sharp.std() > 1.5 * soft.std() > 5
    assert torch.corrcoef(torch.stack([sharp.flatten(), soft.flatten()]))[0, 1] > 0.5
    out = RandKernelPaird("image").set_random_state(seed=0)({**parts, "spacing": SPACING})
    assert set(out) == {"image", "label", "spacing"}
