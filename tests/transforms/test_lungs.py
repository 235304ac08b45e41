"""The lungs are found in a thorax, and nothing is left out where there are none."""

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from bundle.examples.phantom import ThoraxPhantom
from bundle.transforms import lungs


def index(phantom, point):
    """The voxel at a point in mm from the middle of the chest."""
    axes = zip(point, phantom.spacing, phantom.shape, strict=False)
    return [round(mm / side + (size - 1) / 2) for mm, side, size in axes]


def box(mask):
    """First and last index of a mask `(1, *spatial)` along each axis."""
    return [(int(i.min()), int(i.max())) for i in mask[0].nonzero(as_tuple=True)]


def test_lungs_of_the_phantom_are_found(spatial_dims):
    """Both lungs lie in the box, and the air beside the patient does not."""
    phantom = ThoraxPhantom((80, 64, 48)[:spatial_dims])
    image = torch.from_numpy(phantom[...].astype(np.float32))[None]
    mask = lungs(image)
    assert mask.shape == image.shape
    assert mask.dtype == torch.bool
    for point in ((-90, -40, 0), (100, 50, 0)):  # right and left lung, in mm from the middle of the chest
        assert mask[(0, *index(phantom, point))]
    # The box of the lungs, in mm; the block of four voxels that it starts in may be missed, `margin` is for that.
    corners = index(phantom, (-135, -85, -95)), index(phantom, (135, 90, 145))
    for (start, stop), low, high in zip(box(mask), *corners, strict=True):
        assert start - 4 <= low
        assert high <= stop + 4
    for size, (start, stop) in list(zip(phantom.shape, box(mask), strict=True))[:2]:
        assert 0 < start < stop < size - 1


def test_lungs_do_not_depend_on_the_type(spatial_dims):
    image = ThoraxPhantom((40, 32, 24)[:spatial_dims])[...][None]
    mask = lungs(torch.from_numpy(image), stride=2)
    assert torch.equal(mask, lungs(MetaTensor(image.astype(np.float32)), stride=2))


@pytest.mark.parametrize("value", [-1000.0, 40.0], ids=["air", "water"])
def test_where_no_lungs_are_everything_is_kept(spatial_dims, value):
    image = torch.full((1, *(9, 10, 11)[:spatial_dims]), value)
    assert lungs(image).all()
    assert lungs(image).shape == image.shape
