"""Training patches have the shapes that the cascade needs, and source, target and previous scale lie on one grid."""

import math
from functools import lru_cache

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Compose, RandHistogramShiftd

from bundle.examples.phantom import ThoraxPhantom
from bundle.geometry import crop, pool, pyramid, upsample
from bundle.training.data import (
    RandContrastd,
    RandKernelPaird,
    RandScalePatchd,
    RandWholeImaged,
    ScaleConditionsd,
    kernel_pair_reach,
)

SPACING = (0.8, 0.8, 2.5)  # z is pooled at the last step only
NUM_SCALES, PATCH = 4, 8
scales = pytest.mark.parametrize("scale", range(NUM_SCALES))


def margin(spatial_dims):
    """Of the networks, different along every axis, even and odd."""
    return [4, 3, 2][:spatial_dims]


@lru_cache
def ct(spatial_dims):
    """A phantom with the spacing in its affine, `(1, *spatial)`."""
    phantom = ThoraxPhantom((61, 50, 14)[:spatial_dims], seed=1)
    affine = torch.diag(torch.tensor([-SPACING[0], -SPACING[1], *SPACING[2:spatial_dims], 1.0], dtype=torch.float64))
    return MetaTensor(torch.from_numpy(phantom[...].astype(np.float32))[None], affine=affine)


def transforms(spatial_dims, scale, crop_margin=None, far=None, **kernel):
    """The three of `configs/train.json`, in its order."""
    common = {"scale": scale, "num_scales": NUM_SCALES, "patch_size": PATCH, "margin": far or margin(spatial_dims)}
    taken = kernel_pair_reach(spatial_dims) if crop_margin is None else crop_margin
    window = cutting("image", crop_margin=taken, **common)
    return window, RandKernelPaird("image", **kernel), ScaleConditionsd(("image", "label"), crop_margin=taken, **common)


def cutting(keys, scale, num_scales, patch_size, margin, **more):
    """The transform that cuts for a scale."""
    common = {"num_scales": num_scales, "patch_size": patch_size, **more}
    return RandScalePatchd(keys, scale=scale, margin=margin, **common) if scale else RandWholeImaged(keys, **common)


def draw(spatial_dims, scale, seed=0, **kernel):
    return Compose(transforms(spatial_dims, scale, **kernel)).set_random_state(seed)({"image": ct(spatial_dims)})


def unpaired(spatial_dims, scale, image, seed=0, far=None):
    """Patches without the scanner: source and target are the image itself."""
    window, _, conditions = transforms(spatial_dims, scale, crop_margin=0, far=far)
    cut = window.set_random_state(seed)({"image": image})
    return conditions({**cut, "label": cut["image"].clone()})


@scales
def test_shapes_are_what_the_cascade_needs(spatial_dims, scale):
    """Target: the patch. Source and previous scale: the patch and the network's reach around it. Scale 0: all of it."""
    out = draw(spatial_dims, scale)
    target = [PATCH] * spatial_dims
    if scale == 0:
        whole = torch.zeros(1, *ct(spatial_dims).shape)
        for factor in pyramid(list(SPACING[:spatial_dims]), NUM_SCALES - 1):
            whole = pool(whole, factor)
        target = list(whole.shape[2:])
    grown = [size + 2 * far for size, far in zip(target, margin(spatial_dims), strict=True)]
    assert list(out["label"].shape) == [1, *target]
    assert list(out["image"].shape) == [1, *grown]
    assert ("coarse" in out) == (scale > 0)
    if scale:
        assert list(out["coarse"].shape) == [1, *grown]
    assert set(out) <= {"image", "label", "coarse"}
    assert all(value.dtype == torch.float32 and value.isfinite().all() for value in out.values())


@scales
def test_the_seed_decides_everything(spatial_dims, scale):
    one, again, other = (draw(spatial_dims, scale, seed=seed) for seed in (1, 1, 2))
    assert all(torch.equal(one[key], again[key]) for key in one)
    assert not torch.equal(one["image"], other["image"])


def test_patches_and_pairs_differ_from_draw_to_draw(spatial_dims):
    chain = Compose(transforms(spatial_dims, 3)).set_random_state(0)
    one, other = (chain({"image": ct(spatial_dims)}) for _ in range(2))
    assert not torch.equal(one["label"], other["label"])
    assert not torch.equal(one["image"], other["image"])


@scales
def test_a_soft_image_is_its_own_target(spatial_dims, scale):
    """With the same kernel for both, source and target are one image; with a huge dose it is the CT itself."""
    far, dose = margin(spatial_dims), (1e12, 1e13)
    out = draw(spatial_dims, scale, same_kernel_prob=1.0, dose=dose, thickness=(0.6, 0.7), found_prob=0.0)
    middle = crop(out["image"][None], far)[0] if scale else out["image"][(0, *(slice(m, -m) for m in far))][None]
    assert torch.equal(middle, out["label"])
    window, pair, _ = transforms(
        spatial_dims, scale, same_kernel_prob=1.0, dose=dose, thickness=(0.6, 0.7), found_prob=0.0
    )
    cut = window.set_random_state(0)({"image": ct(spatial_dims)})
    made = pair(cut)
    inner = crop(cut["image"][None], list(kernel_pair_reach(spatial_dims)))[0]
    assert (made["label"] - inner).abs().max() <= 1
    assert torch.equal(made["label"], made["image"])


@scales
def test_source_and_target_show_the_same_place(spatial_dims, scale):
    """A sharp source is more like its target than like the target moved by a voxel."""
    out = draw(spatial_dims, scale, same_kernel_prob=0.0, dose=(1e12, 1e13), found_prob=0.0, seed=3)
    source, target = crop(out["image"][None], margin(spatial_dims)), out["label"][None]
    assert not torch.equal(source, target)
    for dim in range(2, 2 + spatial_dims):
        for step in (-1, 1):
            assert (source - target).abs().mean() < (source - target.roll(step, dim)).abs().mean()


def test_source_and_target_are_of_one_acquisition(spatial_dims):
    """Noise is in both, and more of it in the sharp one."""
    window, pair, _ = transforms(spatial_dims, 3, same_kernel_prob=0.0, found_prob=0.0)
    water = torch.zeros_like(ct(spatial_dims))
    made = pair.set_random_state(0)(window.set_random_state(0)({"image": water}))
    assert made["image"].std() > made["label"].std() > 0
    assert torch.corrcoef(torch.stack([made["image"].flatten(), made["label"].flatten()]))[0, 1] > 0.1


@pytest.mark.parametrize("scale", range(1, NUM_SCALES))
def test_a_ramp_is_its_own_previous_scale(spatial_dims, scale):
    """Pooling and upsampling keep a linear image: the three lie on one grid, and no border of the window is in them.

    A window far from the image's border is needed, so the image is large.
    """
    shape = (200, 180, 120)[:spatial_dims]
    axes = torch.meshgrid(*(torch.arange(float(size)) for size in shape), indexing="ij")
    ramp = torch.stack([weight * axis for weight, axis in zip((1.0, 0.37, -0.61), axes, strict=False)]).sum(0)
    image = MetaTensor(ramp[None], affine=ct(spatial_dims).affine)
    for seed in range(20):
        window, _, _ = transforms(spatial_dims, scale, crop_margin=0)
        cut = window.set_random_state(seed)({"image": image})["image"]
        gradient = [cut.diff(dim=axis + 1).min() for axis in range(spatial_dims)]
        if all(gradient):  # nothing of it is the border, repeated
            break
    out = unpaired(spatial_dims, scale, image, seed)
    torch.testing.assert_close(out["coarse"], out["image"], atol=1e-3, rtol=0)
    torch.testing.assert_close(out["label"], crop(out["image"][None], margin(spatial_dims))[0])


@pytest.mark.parametrize("scale", range(1, NUM_SCALES))
def test_coarse_is_the_target_pooled_and_upsampled(spatial_dims, scale):
    """In the middle, where no border is repeated; with an even margin the patch begins with a block."""
    far = [4, 2, 2][:spatial_dims]
    out = unpaired(spatial_dims, scale, ct(spatial_dims), far=far)
    factor = pyramid(list(SPACING[:spatial_dims]), NUM_SCALES - 1)[NUM_SCALES - 1 - scale]
    expected = upsample(pool(out["label"][None], factor), factor)
    coarse = crop(out["coarse"][None], far)
    inner = [2] * spatial_dims
    torch.testing.assert_close(crop(coarse, inner), crop(expected, inner))


@scales
def test_a_window_is_a_part_of_the_image_at_full_resolution(spatial_dims, scale):
    """Whatever the place, beyond the border too: the border is repeated."""
    window, _, _ = transforms(spatial_dims, scale, crop_margin=3)
    image = ct(spatial_dims)
    cut = window.set_random_state(5)({"image": image})
    assert cut["spacing"] == pytest.approx(SPACING[:spatial_dims])
    assert cut["factors"] == pyramid(cut["spacing"], NUM_SCALES - 1)
    if scale == 0:
        assert torch.equal(crop(cut["image"][None], [3] * spatial_dims)[0], image.as_tensor())
    assert set(cut["image"].unique().tolist()) <= set(image.unique().tolist())


def test_all_images_of_one_call_are_cut_alike(spatial_dims):
    window = RandScalePatchd(("image", "label"), 3, NUM_SCALES, PATCH, margin(spatial_dims))
    cut = window({"image": ct(spatial_dims), "label": ct(spatial_dims).clone()})
    assert torch.equal(cut["image"], cut["label"])


def test_patches_lie_in_the_body(spatial_dims):
    """Their middle does, for the share that is asked; nothing hangs where there is no body."""
    window = RandScalePatchd("image", 3, NUM_SCALES, 1, [0] * spatial_dims, foreground=1.0)
    window.set_random_state(0)
    image = ct(spatial_dims)
    cuts = [window({"image": image})["image"][0] for _ in range(20)]
    assert all(cut[tuple(side // 2 for side in cut.shape)] > -950 for cut in cuts)
    air = torch.full_like(image, -1000)
    assert (window({"image": air})["image"] == -1000).all()


@pytest.mark.parametrize("scale", range(1, NUM_SCALES))
def test_finer_pixels_make_a_window_of_the_same_shape_and_the_size_they_say(spatial_dims, scale):
    """A ramp of 1 HU per mm keeps its slope in mm, whatever the pixels are made to be."""
    affine = ct(spatial_dims).affine
    ramp = torch.arange(61.0).reshape(1, 61, *[1] * (spatial_dims - 1)) * SPACING[0]
    image = MetaTensor(ramp.expand(ct(spatial_dims).shape).clone(), affine=affine)
    common = {"scale": scale, "num_scales": NUM_SCALES, "patch_size": PATCH, "margin": [1] * spatial_dims}
    plain = RandScalePatchd("image", **common).set_random_state(0)({"image": image})
    finer = RandScalePatchd("image", pixel_size_range=(0.5, 0.5), **common).set_random_state(0)({"image": image})
    assert finer["spacing"][0] == pytest.approx(0.5, rel=0.05) and finer["spacing"][2:] == plain["spacing"][2:]
    assert finer["image"].shape[2:3] == plain["image"].shape[2:3] or scale < NUM_SCALES - 1
    middle = finer["image"][0].reshape(finer["image"].shape[1], -1)[:, 0]
    steps = middle.diff()
    inside = steps[(steps > 0.3) & (steps < 1)]  # beyond the image its border is repeated: no slope
    assert len(inside) > 5 and inside.median() == pytest.approx(finer["spacing"][0], rel=0.05)


def test_pixels_that_are_fine_already_are_left_alone(spatial_dims):
    common = {"scale": 3, "num_scales": NUM_SCALES, "patch_size": PATCH, "margin": [1] * spatial_dims}
    out = RandScalePatchd("image", pixel_size_range=(0.9, 1.5), **common).set_random_state(0)(
        {"image": ct(spatial_dims)}
    )
    assert out["spacing"] == pytest.approx(SPACING[:spatial_dims])


def test_at_scale_0_a_few_slices_suffice_for_a_network_that_works_slice_by_slice():
    """`depth` counts voxels of scale 0, here two slices each; across, all is as without it."""
    volume = ct(3)
    window = RandWholeImaged("image", NUM_SCALES, 2, crop_fraction=0.9, depth=3).set_random_state(0)
    places = set()
    for _ in range(10):
        out = window({"image": volume})
        *across, depth = out["image"].shape[1:]
        assert depth == 6
        assert all(side >= 0.9 * size - 1 for side, size in zip(across, volume.shape[1:3], strict=True))
        places.add(out["origin"][2])
    assert len(places) > 1
    thin = RandWholeImaged("image", NUM_SCALES, 2, depth=100)({"image": volume})
    assert torch.equal(thin["image"], torch.as_tensor(volume))


def test_at_scale_0_a_drawn_share_of_the_image_is_kept(spatial_dims):
    """Every axis at least that share and a patch, not always the same, and the parts lie all over the image."""
    image = ct(spatial_dims)
    least = 2 * 8  # a patch of 2 voxels, in voxels of the finest scale
    window = RandWholeImaged("image", NUM_SCALES, 2, crop_fraction=0.2).set_random_state(0)
    seen, starts = set(), set()
    for _ in range(20):
        out = window({"image": image})
        sides = out["image"].shape[1:]
        assert all(max(0.2 * size - 1, least) <= side for side, size in zip(sides[:2], image.shape[1:3], strict=True))
        assert all(side <= size for side, size in zip(sides, image.shape[1:], strict=True))
        place = tuple(slice(start, start + side) for start, side in zip(out["origin"], sides, strict=True))
        assert torch.equal(out["image"], torch.as_tensor(image)[(slice(None), *place)])
        seen.add(tuple(sides))
        starts.add(tuple(out["origin"]))
    assert len(seen) > 5
    assert len(starts) > 5


def test_at_scale_0_axes_are_zoomed_each_for_itself(spatial_dims):
    """Within the range; the voxel size follows, and what lies in the middle stays there."""
    image = ct(spatial_dims)
    window = RandWholeImaged("image", NUM_SCALES, PATCH, zoom_range=(0.7, 1.4)).set_random_state(0)
    factors = set()
    for _ in range(10):
        out = window({"image": image})
        for side, size, spacing, native in zip(
            out["image"].shape[1:], image.shape[1:], out["spacing"], SPACING, strict=False
        ):
            assert 0.7 * size - 1 <= side <= 1.4 * size + 1
            assert spacing * side == pytest.approx(native * size)
            factors.add(round(side / size, 2))
        assert float(out["image"].mean()) == pytest.approx(float(torch.as_tensor(image).float().mean()), rel=0.05)
    assert len(factors) > 10


def test_a_patch_that_is_flat_but_for_rounding_is_not_bent():
    """MONAI's transform alone makes it not a number; others are bent, the seed says how."""
    flat = torch.full((1, 6, 6), -0.999)
    flat[0, 3:] += 6e-8
    ramp = torch.linspace(-1, 1, 36).reshape(1, 6, 6)
    bend = RandContrastd(["flat", "ramp"], num_control_points=(3, 6), prob=1.0)
    for seed in range(5):
        bent = bend.set_random_state(seed=seed)({"flat": flat, "ramp": ramp})
        alone = RandHistogramShiftd("ramp", num_control_points=(3, 6), prob=1.0).set_random_state(seed=seed)
        assert torch.equal(bent["flat"], flat)
        assert torch.equal(bent["ramp"], alone({"ramp": ramp})["ramp"])
        assert not torch.equal(bent["ramp"], ramp)


def test_at_scale_0_every_image_is_resized_to_a_size(spatial_dims):
    """Of voxels of that scale."""
    image = ct(spatial_dims)
    out = RandWholeImaged("image", NUM_SCALES, PATCH, resize_to=6)({"image": image})
    for factor in out["factors"]:
        out["image"] = pool(out["image"][None], factor)[0]
    assert list(out["image"].shape) == [1, *[6] * spatial_dims]


def test_no_zoom_makes_an_image_smaller_than_the_least(spatial_dims):
    image = ct(spatial_dims)
    steps = np.prod(RandWholeImaged("image", NUM_SCALES, PATCH)({"image": image})["factors"], 0)
    least = [math.ceil(size / step) for size, step in zip(image.shape[1:], steps, strict=True)]
    zoomed = RandWholeImaged("image", NUM_SCALES, PATCH, zoom_range=(0.5, 0.6), least=least).set_random_state(0)
    assert zoomed({"image": image})["image"].shape == image.shape
    with pytest.raises(ValueError, match=r"image .* is too small for scale 0: it has .* takes at least"):
        RandWholeImaged("image", NUM_SCALES, PATCH, least=[side + 1 for side in least])({"image": image})


def test_patches_are_not_of_scale_0():
    with pytest.raises(ValueError, match="RandWholeImaged cuts for scale 0"):
        RandScalePatchd("image", 0, NUM_SCALES, PATCH, margin(2))
