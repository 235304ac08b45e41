"""Heads are stripped in T1 and T2 alike."""

import nibabel
import numpy as np
import torch

from benchmarks import stripped_heads


def test_only_the_brain_is_kept(tmp_path, monkeypatch):
    mask = torch.zeros(1, 12, 12, 6, dtype=torch.bool)
    mask[:, 3:9, 2:8, 1:5] = True
    given = {}

    def brain(t1, t2, spacing):
        given.update(t1=t1, t2=t2, spacing=spacing)
        return mask

    monkeypatch.setattr(stripped_heads, "brain_mask", brain)
    affine, names = np.diag([0.9, 0.9, 3.0, 1.0]), ("t1.nii.gz", "t2.nii.gz")
    images = [np.random.default_rng(seed).integers(1, 1200, (12, 12, 6)).astype(np.int16) for seed in (0, 1)]
    for name, voxels in zip(names, images, strict=True):
        nibabel.Nifti1Image(voxels, affine).to_filename(tmp_path / name)
    made = [tmp_path / "cut" / name for name in names]
    stripped_heads.strip([tmp_path / name for name in names], made)
    for key, path, voxels in zip(("t1", "t2"), made, images, strict=True):
        image = nibabel.load(path)
        assert np.allclose(image.affine, affine) and np.array_equal(given[key][0], voxels)
        assert np.array_equal(image.dataobj, voxels * mask[0].numpy())
    assert np.allclose(given["spacing"], [0.9, 0.9, 3.0])
