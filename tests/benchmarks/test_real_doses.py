"""The benchmark of real doses, on slices that stand in for them."""

import nibabel
import numpy as np

from benchmarks import real_doses


def test_a_table_has_every_method_for_each_series(tmp_path, capsys):
    """Filters denoise noise, and what the bundle makes is judged beside them."""
    folder = tmp_path / "lowdose"
    folder.mkdir()
    random = np.random.default_rng(0)
    at = np.arange(96) - 47.5
    body = np.where(np.hypot(at[:, None], at[None, :]) < 40, 30.0, -1000.0)[..., None]
    for z in range(2):
        high = body + 10 * random.normal(size=body.shape)
        for name, image in (("FD", high), ("QD", high + 40 * random.normal(size=body.shape))):
            voxels = image.round().clip(-1024).astype(np.int16)
            nibabel.Nifti1Image(voxels, np.diag([0.7, 0.7, 3.0, 1.0])).to_filename(
                folder / f"P1_B30f_{z}_{name}.nii.gz"
            )
    real_doses.main(str(tmp_path))
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| P1 B30f (2), ")]
    ssim = {line.split("|")[1].split(", ", 1)[1].strip(): float(line.split("|")[2]) for line in lines}
    assert len(ssim) == 1 + len(real_doses.GAUSSIANS) + 3
    assert ssim["Gaussian of 1 px"] > ssim["source"] + 0.1
    assert ssim["**this bundle**"] > ssim["source"] + 0.1


def test_missing_data_is_told(tmp_path, capsys):
    real_doses.main(str(tmp_path))
    assert "skipped: there are no pairs" in capsys.readouterr().out
