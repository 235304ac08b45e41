"""Heads drawn for training: thick slices and pixel sizes as a scanner gives them, and no skull."""

from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Compose

from bundle.geometry import spacing_of
from bundle.training.data import RandSkullStripd, RandThickSlicesd, with_drawn
from bundle.training.data.heads import brain_mask

BOTH = ["image", "label"]
#: mm: outer radii of brain, fluid, bone and scalp; and T1 and T2 of each, and of air.
RADII = (55, 60, 68, 76)
LEVELS = ((350, 340), (120, 900), (30, 30), (950, 500), (5, 8))


def images(voxels, spacing):
    affine = torch.diag(torch.tensor([*spacing, 1.0], dtype=torch.float64))
    return {key: MetaTensor(torch.as_tensor(v, dtype=torch.float32)[None], affine=affine) for key, v in voxels.items()}


def head(side=3.0, size=56):
    """A round head in layers, brain and scalp joined by a vein through the bone; and the mask of brain and fluid."""
    axis = (np.arange(size) - (size - 1) / 2) * side
    radius = np.sqrt(sum(a**2 for a in np.meshgrid(axis, axis, axis, indexing="ij")))
    layer = np.digitize(radius, RADII)
    middle = size // 2
    vein = layer[middle:, middle : middle + 2, middle : middle + 2]
    vein[vein == RADII.index(68)] = 0
    noise = np.random.default_rng(0).normal(0, 4, (2, *radius.shape))
    t1, t2 = ((np.array(levels)[layer] + n).clip(0) for levels, n in zip(zip(*LEVELS, strict=True), noise, strict=True))
    return images({"image": t1, "label": t2}, [side] * 3), torch.from_numpy(layer < 2)[None]


def test_a_voxel_is_as_wide_as_its_slice_is_thick():
    """A thin bright plane, in four places between the new slices, spreads over a Gaussian of the drawn width."""
    voxels = torch.zeros(24, 24, 96)
    for place in range(4):
        voxels[place::4, :, 48 + place] = 100.0
    transform = RandThickSlicesd(BOTH, 1.0, thickness=(4.0, 4.0), pixel=(1.0, 1.0))
    transform.draw = lambda _: [1.0, 1.0, 4.0]
    made = transform(images({"image": voxels, "label": 2 * voxels}, [1.0] * 3))
    assert spacing_of(made["image"], 3) == pytest.approx([1, 1, 4], rel=1e-6)
    profiles = made["image"][0, 8:12, 12].numpy()
    away = np.arange(profiles.shape[1])[None] * 4.0 - 48 - np.arange(4)[:, None]
    assert profiles.sum() == pytest.approx(100, rel=0.02)
    assert np.average(away, weights=profiles) == pytest.approx(0, abs=0.1)
    assert np.sqrt(np.average(away**2, weights=profiles)) * 2.355 == pytest.approx(4, rel=0.08)
    assert torch.equal(made["label"].as_tensor(), 2 * made["image"].as_tensor())


def test_slices_are_laid_across_one_axis_and_stay_there():
    transform = RandThickSlicesd(BOTH, 1.0, thickness=(2.0, 5.0), pixel=(0.8, 1.25))
    transform.set_random_state(seed=0)
    axes = set()
    for _ in range(40):
        sides = transform.draw([1.0, 1.0, 1.0])
        axis = int(np.argmax(sides))
        axes.add(axis)
        pixels = sides[:axis] + sides[axis + 1 :]
        assert 2 <= sides[axis] <= 5 and pixels[0] == pixels[1] and 0.8 <= pixels[0] <= 1.25
        thick = transform.draw([0.9, 3.0, 0.9])
        assert thick[0] == thick[2] and thick[1] >= 3
    assert axes == {0, 1, 2}


def test_a_share_of_the_heads_is_left_as_it_is():
    heads = images({"image": torch.rand(9, 9, 9), "label": torch.rand(9, 9, 9)}, [1.0] * 3)
    assert RandThickSlicesd(BOTH, 0.0)(heads)["image"] is heads["image"]
    assert RandSkullStripd(BOTH, 0.0)(heads)["image"] is heads["image"]


def test_the_brain_and_its_fluid_are_kept_and_nothing_outside_of_the_bone():
    pair, truth = head()
    made = RandSkullStripd(BOTH, 1.0)(pair)
    kept = made["label"].as_tensor() > 0
    assert (kept & truth).sum() > 0.97 * truth.sum()
    assert (kept & ~truth).sum() < 0.08 * truth.sum()
    scalp = pair["image"].as_tensor() > 900
    assert not (kept & scalp).any()
    assert torch.equal(made["image"].as_tensor()[kept], pair["image"].as_tensor()[kept])
    again = brain_mask(made["image"], made["label"], [3.0] * 3)  # a head without skull keeps its brain
    assert (again & truth).sum() > 0.97 * truth.sum()


def test_a_head_too_small_for_a_brain_is_kept():
    tiny = images({"image": 500 * torch.ones(4, 4, 4), "label": 400 * torch.ones(4, 4, 4)}, [1.0] * 3)
    tiny["image"][0, 0], tiny["label"][0, 0] = 0, 0
    assert brain_mask(tiny["image"], tiny["label"], [1.0] * 3).all()


@pytest.fixture
def pairs(tmp_path):
    rng, found = np.random.default_rng(0), []
    for name in "ab":
        item = {}
        for folder, key in (("t1", "image"), ("t2", "label")):
            (tmp_path / folder).mkdir(exist_ok=True)
            item[key] = str(tmp_path / folder / f"{name}.nii.gz")
            voxels = rng.integers(0, 1000, (12, 14, 16)).astype(np.int16)
            nibabel.Nifti1Image(voxels, np.eye(4)).to_filename(item[key])
        found.append(item)
    return found


def test_drawn_heads_join_the_others_once(pairs, tmp_path):
    transform = Compose([RandThickSlicesd(BOTH, 1.0, thickness=(2.0, 4.0))])
    made = with_drawn(pairs, transform, tmp_path / "drawn", 2)
    assert made[:2] == pairs
    names = [Path(item["image"]).name for item in made[2:]]
    assert names == ["a_drawn_0.nii", "a_drawn_1.nii", "b_drawn_0.nii", "b_drawn_1.nii"]
    shapes = set()
    for item in made[2:]:
        image, label = (nibabel.load(item[key]) for key in BOTH)
        assert image.shape == label.shape and np.array_equal(image.affine, label.affine)
        assert image.get_data_dtype() == np.int16
        shapes.add(image.shape)
    assert len(shapes) > 1
    first = [Path(item["image"]).read_bytes() for item in made[2:]]
    assert with_drawn(pairs, None, tmp_path / "drawn", 2) == made  # files that exist are kept
    again = with_drawn(pairs, transform, tmp_path / "again", 2)[2:]
    assert [Path(item["image"]).read_bytes() for item in again] == first  # the seed alone decides
    assert with_drawn(pairs, transform, tmp_path / "none", 0) == pairs
