"""Clipping undone where no kernel is matched: in memory, and slab by slab."""

import nibabel
import numpy as np
import torch
from monai.bundle import ConfigParser
from monai.data import MetaTensor

from bundle.scanner import unclipped
from bundle.transforms import UndoClippingd


def noisy_air() -> torch.Tensor:
    """Return air of -1000 HU with strong noise that a scanner clipped, `(40, 40, 5)`."""
    noise = torch.randn(40, 40, 5, generator=torch.Generator().manual_seed(0))
    return (-1000 + 40 * noise).round().clamp(min=-1024)


def test_the_mean_of_clipped_air_is_restored():
    air = noisy_air()
    out = UndoClippingd("image")({"image": MetaTensor(air[None], meta={"name": "air"})})["image"]
    assert out.meta["name"] == "air"
    assert abs(air.mean() + 1000) > 5
    assert abs(out.mean() + 1000) < 1.5
    assert torch.equal(torch.as_tensor(out[0]).as_subclass(torch.Tensor), unclipped(air))


def test_the_low_dose_experiment_undoes_clipping(tmp_path):
    """And `image` alone does not, where the kernel is not matched."""
    path = tmp_path / "air.nii"
    nibabel.Nifti1Image(noisy_air().numpy().astype(np.int16), np.diag([0.7, 0.7, 2.0, 1.0])).to_filename(path)
    means = {}
    for name, overlay in (("low dose", ["configs/low_dose.json"]), ("image", [])):
        parser = ConfigParser()
        parser.read_config(["configs/inference.json", *overlay])
        parser.update(
            {"match_kernel": False, "check_input": "off", "dataset_dir": str(path), "output_dir": str(tmp_path)}
        )
        shown = parser.get_parsed_content("preprocessing")({"image": str(path)})["image"]
        means[name] = float((shown.mean() + 1) * 600 - 1000)
    assert abs(means["low dose"] + 1000) < 1.5
    assert means["image"] > -995
