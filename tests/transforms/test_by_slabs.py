"""A transform of single voxels gives the same slab by slab as at once, and never sees more than a slab."""

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import ScaleIntensityRanged

from bundle.transforms import BySlabsd, by_slabs

WINDOWING = ScaleIntensityRanged("image", -1000, 200, -1, 1, clip=True)


def image_of(dims, kind=MetaTensor):
    voxels = torch.linspace(-1200, 400, 13 * 4 ** (dims - 1)).reshape(1, 13, *[4] * (dims - 1))
    return kind(voxels, meta={"name": "a"}) if kind is MetaTensor else kind(voxels)


@pytest.mark.parametrize("slab", [1, 5 * 16, 10**6])
def test_slabs_give_the_whole(spatial_dims, slab, monkeypatch):
    monkeypatch.setattr(by_slabs, "SLAB", slab)
    image, seen = image_of(spatial_dims), []

    def transform(data):
        seen.append(data["image"].numel())
        return WINDOWING(data)

    found = BySlabsd("image", transform)({"image": image, "other": 1})
    assert found["other"] == 1 and torch.equal(found["image"], WINDOWING({"image": image})["image"])
    assert max(seen) <= max(slab, image[0, 0].numel()) and sum(seen) == image.numel()
    assert found["image"].meta["name"] == "a" and torch.equal(image, image_of(spatial_dims))  # the given one stays


@pytest.mark.parametrize("kind", [torch.Tensor, np.asarray])
def test_an_image_without_metadata_becomes_what_the_transform_makes(kind):
    found = BySlabsd("image", WINDOWING)({"image": image_of(3, kind)})["image"]
    assert isinstance(found, MetaTensor) and float(found.min()) == -1  # as MONAI's transforms make it, for Invertd
    assert type(BySlabsd("image", lambda data: data)({"image": image_of(3, kind)})["image"]) is torch.Tensor


def test_the_transform_gives_the_type():
    found = BySlabsd("image", lambda data: {"image": data["image"] > 0})({"image": image_of(2)})["image"]
    assert found.dtype == torch.bool and found[0, -1].all() and not found[0, 0].any()


def test_a_missing_key_is_passed_over_if_allowed():
    assert BySlabsd("image", WINDOWING, allow_missing_keys=True)({}) == {}
    with pytest.raises(KeyError):
        BySlabsd("image", WINDOWING)({})
