"""A kernel is found from the noise and the skin of a scan, each where it is right."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter1d

from bundle.scanner import (
    SHARP,
    SOFT,
    EdgeSpread,
    Kernel,
    edge_spread,
    find_kernel,
    find_transfer,
    fitted_kernel,
    flat_noise,
    found_transfer,
    frequencies,
    mean_power,
    spread_slices,
    tissue_patches,
)
from bundle.scanner.edge_spread import STEP
from bundle.scanner.flat import FILTER_RANGE, SIDE
from bundle.scanner.gains import quotient
from bundle.scanner.transfer import sampled
from tests.scanner.test_edge_spread import SPACING, THICK, F, cylinder, tapered

MILD = Kernel(0.6, 3.0, 0.2, 0.4)


@cache
def found_in(kernel, seed=0):
    """What is found in a scan of a cylinder."""
    return find_transfer(cylinder(kernel, seed=seed), SPACING)


@pytest.mark.parametrize("kernel", [SOFT, SHARP, MILD], ids=["B40f", "B70f", "mild"])
def test_both_together_are_right_within_5_percent(kernel):
    found = found_in(kernel)
    error = found.transfer(F) / kernel.transfer(F) - 1
    print(np.round(error.numpy(), 3))
    assert error.abs().max() < 0.05
    assert found.upright and len(found.deviations) == len(found.knots)
    assert "edge of the skin" in found.source and "noise of" in found.source


@pytest.mark.parametrize("kernel", [SOFT, SHARP], ids=["B40f", "B70f"])
def test_thick_slices_are_right_within_10_percent(kernel):
    """Oblique skin, which a thick slice blurs as a soft kernel would, is left out."""
    scan = tapered(kernel)
    oblique, thin = edge_spread(scan, THICK), edge_spread(cylinder(kernel, slices=5), SPACING)
    assert 40 < oblique.profiles < 0.7 * thin.profiles
    found = find_kernel(scan, THICK)
    assert (found.transfer(F) / kernel.transfer(F) - 1).abs().max() < 0.1


@pytest.mark.parametrize("target", [SOFT, MILD], ids=["B40f", "mild"])
def test_the_quotient_of_two_scans_is_that_of_their_kernels_and_never_sharpens(target):
    sharp, soft = found_in(SHARP, seed=1), found_in(target)
    wanted = target.transfer(F) / SHARP.transfer(F)
    assert (quotient(soft, sharp).transfer(F) / wanted - 1).abs().max() < 0.1
    assert quotient(sharp, soft).transfer(F).max() <= 1


@pytest.mark.parametrize("kernel", [SOFT, SHARP], ids=["B40f", "B70f"])
def test_deviations_are_those_of_the_fit(kernel):
    """About as large as the errors, and larger where less is seen."""
    scan, told = cylinder(kernel), found_in(kernel)
    found = find_kernel(scan, SPACING)
    assert found == told.kernel and told.gains == pytest.approx(sampled(found, told.knots), abs=1e-9)
    error = (told.transfer(F) / kernel.transfer(F)).log().abs()
    relative = told.deviation(F) / told.transfer(F)
    assert (error < 3 * relative + 0.02).all() and relative.max() < 0.2
    alone = find_transfer(scan[40:-40, :, :1], SPACING)
    assert (alone.deviation(F) / alone.transfer(F)).mean() > relative.mean()
    assert find_transfer(torch.full((64, 64, 3), -1000.0), SPACING) is None


def test_what_the_dose_does_to_the_noise_does_not_count():
    low, high = (find_kernel(cylinder(SHARP, dose=dose), SPACING) for dose in (8.0, 60.0))
    assert (low.transfer(F) / high.transfer(F) - 1).abs().max() < 0.08


def test_skin_that_is_oblique_to_the_only_slice_does_not_decide_on_the_kernel():
    """The edge is blurred as by a Gaussian, the noise is not: the height is the edge's, the shape the noise's."""
    scan = cylinder(SHARP, slices=1)
    edge, noise = edge_spread(scan, SPACING), flat_noise(scan, SPACING)
    assert not edge.upright and not find_transfer(scan, SPACING).upright
    step = 2**0.5 / (np.pi * STEP)  # of a Gaussian whose spectrum is exp(-4 f^2)
    oblique = replace(edge, **{name: gaussian_filter1d(getattr(edge, name), step) for name in ("total", "count")})
    wanted, alone = SHARP.transfer(F), oblique.transfer().transfer(F)
    together = fitted_kernel(noise, oblique).transfer(F)
    assert (alone / wanted - 1).abs().max() > 0.4
    assert (together / wanted - 1).abs().max() < 0.2


def test_without_skin_the_noise_tells_and_without_noise_the_skin():
    scan = cylinder(SHARP)
    edge, noise = edge_spread(scan, SPACING), flat_noise(scan, SPACING)
    by_noise = found_transfer(EdgeSpread(), noise)
    assert by_noise.deviations == () and not by_noise.upright and by_noise.source == f"noise of {noise.count} patches"
    nothing = flat_noise(torch.full((64, 64, 3), -1000.0), SPACING)
    assert nothing.count == 0
    by_edge = found_transfer(edge, nothing)
    assert by_edge.upright and "noise" not in by_edge.source
    assert (by_edge.transfer(F) / SHARP.transfer(F) - 1).abs().max() < 0.1
    assert found_transfer(EdgeSpread(), nothing) is None


def test_flat_noise_is_the_mean_power_of_the_flattest_third():
    scan = cylinder(SOFT, slices=3)
    patches, spread = [], []
    for z in spread_slices(3, 48):
        piece = np.clip(scan[..., z].double().numpy(), *FILTER_RANGE)
        corners, ranges = tissue_patches(piece)
        patches += [piece[i : i + SIDE, j : j + SIDE].ravel() for i, j in corners]
        spread.append(ranges)
    order = np.argsort(np.concatenate(spread), kind="stable")[: max(200, len(patches) // 3)]
    wanted = mean_power(torch.from_numpy(np.stack(patches)[order]), SPACING)
    found = flat_noise(scan, SPACING)
    assert found.count == len(order) and found.power.shape == (3, SIDE, SIDE)
    torch.testing.assert_close(found.mean(), wanted)


def apart(found, kernel):
    """Largest relative error below 0.4 cycles/mm."""
    return float((found.transfer(F) / kernel.transfer(F) - 1).abs().max())


@pytest.mark.parametrize("half", [0.12, 0.17])
def test_a_kernel_may_be_softer_than_any_of_a_scanner(half):
    """As of a scan that was smoothed or thinned out; below 0.2 cycles/mm, where it passes anything."""
    kernel = Kernel(half, 2.0)
    found, low = find_kernel(cylinder(kernel), SPACING), F[half * 1.3 > F]
    assert (found.transfer(low) / kernel.transfer(low) - 1).abs().max() < 0.1


@pytest.mark.parametrize("value", [0.0, -200.0])
def test_what_a_turned_scan_is_filled_up_with_is_no_edge_and_no_tissue(value):
    """Outside a circle that cuts the body, all voxels have one value."""
    scan = cylinder(SOFT)
    x, y = (np.arange(side) - side / 2 for side in scan.shape[:2])
    outside = torch.from_numpy(np.hypot(x[:, None], y[None] - 30) > 80)[..., None]
    filled = torch.where(outside, value, scan)
    edge, noise = edge_spread(filled, SPACING), flat_noise(filled, SPACING)
    assert 40 < edge.profiles < edge_spread(scan, SPACING).profiles and edge.surface == "the skin"
    assert noise.count > 100
    assert apart(find_kernel(filled, SPACING), SOFT) < 0.1


def test_anatomy_is_not_taken_for_noise_where_there_is_no_skin():
    """Structures whose power falls with the cube of the frequency, seen by the kernel like everything."""
    kernel, size, generator = Kernel(0.45, 2.0), 128, torch.Generator().manual_seed(0)
    at = frequencies(SPACING[:2], size=size)
    power = at + 8 * (at.clamp(min=0.02) / 0.1) ** -3
    white = torch.fft.fft2(torch.randn(6, size, size, generator=generator, dtype=torch.float64))
    seen = torch.fft.ifft2(white * (power.sqrt() * kernel.transfer(at) * 30)).real
    found = find_kernel((seen + 40).movedim(0, -1).round().float(), SPACING)
    assert (found.transfer(F) / kernel.transfer(F) - 1).abs().mean() < 0.15
