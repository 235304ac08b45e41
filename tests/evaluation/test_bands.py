"""Band energies normalized to those of scans of the target kernel, and Gaussians of a fixed width."""

import nibabel
import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from bundle.evaluation.methods import BandEnergies, FixedGaussian, bands, reference_energies
from bundle.evaluation.methods.bands import scaled
from bundle.images import Volume
from bundle.scanner import SHARP, SOFT, acquire

SPACING = (0.7, 0.7, 2.0)


def volume_file(path, voxels: torch.Tensor) -> Volume:
    """Return an image that was written to a file."""
    nibabel.Nifti1Image(voxels.numpy().astype(np.float32), np.diag([*SPACING, 1.0])).to_filename(path)
    return Volume(path)


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """Return a sharp and a soft scan of a body with two lungs, as volumes."""
    at = torch.arange(184) - 91.5
    x, y = at[:, None], at[None, :]
    body = torch.where(torch.hypot(x, y) < 80, 30.0, -1000.0)
    for side in (-36, 36):
        body[torch.hypot(x - side, y) < 26] = -860.0
    image = torch.from_numpy(gaussian_filter(body.numpy(), 1.5))[..., None].repeat(1, 1, 3)
    soft, sharp = acquire(image, SPACING, (SOFT, SHARP), 50.0)
    folder = tmp_path_factory.mktemp("pair")
    return [volume_file(folder / f"{name}.nii", voxels) for name, voxels in (("sharp", sharp), ("soft", soft))]


def test_energies_become_those_of_the_reference(pair, monkeypatch):
    """Within the tolerance, and so the scan comes nearer to the soft one."""
    sharp, soft = pair
    monkeypatch.setattr(bands, "LEAST", 1000)
    wanted = reference_energies([soft])
    before = reference_energies([sharp])
    assert before[0] > 1.5 * wanted[0]
    method = BandEnergies(wanted).settled(sharp)
    source, target = (image.slab(0, image.shape[2]) for image in (sharp, soft))
    result = method.filtered(source, SPACING)
    after = reference_energies([volume_file(soft.path.with_name("after.nii"), result)])
    assert np.allclose(after, wanted, rtol=0.08)
    inside = np.s_[115:125, 80:104]
    assert (result - target)[inside].square().mean() < 0.4 * (source - target)[inside].square().mean()


def test_a_scan_of_the_target_kernel_is_kept(pair):
    soft = pair[1]
    assert BandEnergies(reference_energies([soft])).settled(soft).scales == ()


def test_without_lungs_nothing_is_scaled(tmp_path):
    noise = torch.randn(64, 64, 2, generator=torch.Generator().manual_seed(0)) * 30
    assert BandEnergies((9.0,) * 5).settled(volume_file(tmp_path / "tissue.nii", noise)).scales == ()


def test_bands_add_up_to_the_slice():
    image = np.random.default_rng(0).normal(size=(40, 30)).astype(np.float32)
    mask = np.zeros(image.shape, bool)
    mask[10:30, 5:25] = True
    assert np.allclose(scaled(image, mask, [1.0] * 5), image, atol=1e-5)
    changed = scaled(image, mask, [0.5] * 5)
    assert np.array_equal(changed[~mask], image[~mask])
    assert changed[mask].std() < 0.7 * image[mask].std()


def test_a_fixed_gaussian_is_of_its_pixels():
    image = torch.zeros(31, 31, 2)
    image[15, 15] = 1.0
    method = FixedGaussian(0.7)
    assert method.name == "Gaussian of 0.7 px, fixed"
    assert not method.needs_tuning
    expected = gaussian_filter(image[..., 0].numpy(), 0.7)
    assert np.allclose(method.filtered(image, (2.0, 2.0, 2.0))[..., 1], expected)
