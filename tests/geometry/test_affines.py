"""Affines of coarser scales, and voxel sizes: what mutants of `benchmarks/mutants.py` had survived."""

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from bundle.geometry import coarser_affine, corners_apart, spacing_of
from tests.dicom_series import SPACING, oblique


@pytest.mark.parametrize("factor", [(2, 2, 1), (4, 3, 2), (2, 2)])
def test_a_coarse_voxel_lies_in_the_middle_of_its_block(factor):
    affine = torch.from_numpy(oblique())
    coarse = coarser_affine(affine, factor)
    assert torch.equal(affine, torch.from_numpy(oblique()))
    sides = torch.tensor([*factor, *(1,) * (3 - len(factor))], dtype=torch.float64)
    for place in torch.tensor([[0.0, 0, 0], [3, 1, 2]], dtype=torch.float64):
        middle = place * sides + (sides - 1) / 2
        found, wanted = (m @ torch.cat([p, torch.ones(1)]).double() for m, p in ((coarse, place), (affine, middle)))
        assert torch.allclose(found, wanted)


@pytest.mark.parametrize("batch", [(), (1,)])
def test_the_voxel_size_is_that_of_the_affine(batch):
    image = MetaTensor(torch.zeros(1, 4, 4, 4), affine=torch.from_numpy(oblique()))
    if batch:
        image.meta["affine"] = image.affine[None]
    assert spacing_of(image, 3) == pytest.approx(SPACING)
    assert spacing_of(torch.zeros(1, 4, 4), 2) == [1.0, 1.0]


def test_how_far_two_grids_are_apart(spatial_dims):
    shape, affine = (5, 4, 3)[:spatial_dims], oblique()
    moved, turned = affine.copy(), affine @ np.diag([2, 1, 1, 1])
    moved[:3, 3] += 3, 0, 4
    assert corners_apart(shape, affine, affine) == 0
    assert corners_apart(shape, affine, moved) == pytest.approx(5)
    assert corners_apart(shape, affine, turned) == pytest.approx(4 * SPACING[0])
