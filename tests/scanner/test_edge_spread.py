"""A scan's transfer function is read off its skin."""

from functools import cache

import numpy as np
import pytest
import torch

from bundle.scanner import SHARP, SOFT, Kernel, acquire, edge_spread, flat_noise, frequencies

PIXEL = 0.7
FINE = 4  # times the phantom is finer than the scan


@cache
def cylinder(kernel, slices=4, dose=15.0, size=256, seed=0, arm=False):
    """A cylinder of fat and water in air, `(x, y, z)` in HU, 1.2 mm slices, as a scanner with that kernel sees it.

    It is made once for all who ask for it, so nobody writes into it.
    """
    steps = (np.arange(size * FINE) + 0.5) / FINE - size / 2
    x, y = np.meshgrid(steps, steps, indexing="ij")
    radius = np.hypot(x - 3.3, (y + 1.7) * 1.3)
    phantom = np.where(radius < 85, np.where(radius < 60, 40.0, -100.0), -1000.0)
    if arm:
        phantom[np.hypot(x, y - 95) < 12] = 40.0
    gain = kernel.transfer(frequencies((PIXEL / FINE,) * 2, size=size * FINE))
    seen = torch.fft.ifft2(torch.fft.fft2(torch.from_numpy(phantom)) * gain).real
    seen = seen[FINE // 2 :: FINE, FINE // 2 :: FINE]
    noise = acquire(torch.zeros(size + 24, size + 24, slices), (PIXEL, PIXEL, 1.2), (kernel,), dose, seed)[0]
    return (seen[..., None] + noise).round().clamp(-1024).float()


SPACING = (PIXEL, PIXEL, 1.2)
THICK = (PIXEL, PIXEL, 5.0)


def tapered(kernel, slices=5, dose=15.0, size=256, slope=0.3):
    """A body that widens to both sides from slice to slice, in slices of 5 mm, each the mean of five thin ones.

    Front and back are upright; the sides are oblique, and blurred in a slice by up to 1.5 mm.
    """
    steps = (np.arange(size * FINE) + 0.5) / FINE - size / 2
    x, y = np.meshgrid(steps, steps, indexing="ij")
    gain = kernel.transfer(frequencies((PIXEL / FINE,) * 2, size=size * FINE))
    noise = acquire(torch.zeros(size + 24, size + 24, slices), THICK, (kernel,), dose, 0)[0]
    seen = []
    for z in range(slices):
        body = np.zeros(x.shape)
        for height in (np.arange(5) + 0.5) / 5 + z - slices / 2:
            wide = 1 + slope * height * THICK[2] / PIXEL / 85
            radius = np.hypot((x - 3.3) / wide, (y + 1.7) * 1.3)
            body += np.where(radius < 85, np.where(radius < 60, 40.0, -100.0), -1000.0) / 5
        scan = torch.fft.ifft2(torch.fft.fft2(torch.from_numpy(body)) * gain).real
        seen.append(scan[FINE // 2 :: FINE, FINE // 2 :: FINE])
    return (torch.stack(seen, -1) + noise).round().clamp(-1024).float()


F = torch.arange(0.04, 0.4, 0.04, dtype=torch.float64)


@pytest.mark.parametrize("kernel", [SOFT, SHARP, Kernel(0.6, 3.0, 0.2, 0.4)], ids=["B40f", "B70f", "mild"])
def test_the_transfer_function_is_right_within_5_percent(kernel):
    """Thin slices of a usual dose, below 0.4 cycles/mm; the undershoot in air is cut off at -1024 HU."""
    found = edge_spread(cylinder(kernel), SPACING).transfer()
    error = found.transfer(F) / kernel.transfer(F) - 1
    print(np.round(error.numpy(), 3))
    assert error.abs().max() < 0.05
    assert ((found.transfer(F) - kernel.transfer(F)).abs() <= 4 * found.deviation(F) + 0.01).all()


def test_a_single_slice_is_enough():
    found = edge_spread(cylinder(SOFT, slices=1), SPACING).transfer()
    assert (found.transfer(F) / SOFT.transfer(F) - 1).abs().max() < 0.1


def test_an_arm_beside_the_body_is_no_edge_of_it():
    alone, beside = (edge_spread(cylinder(SOFT, arm=arm), SPACING) for arm in (False, True))
    assert 0.3 * alone.profiles < beside.profiles < alone.profiles
    assert (beside.transfer().transfer(F) / SOFT.transfer(F) - 1).abs().max() < 0.05


@pytest.mark.parametrize("value", [-1000.0, 40.0])
def test_without_skin_nothing_is_found(value):
    assert edge_spread(torch.full((64, 64, 3), value), SPACING).transfer() is None


def rods(kernel, slices=4, size=256, dose=15.0):
    """Rods of a phantom in air, and around them a shell too thin to show an edge; as `cylinder` sees one."""
    steps = (np.arange(size * FINE) + 0.5) / FINE - size / 2
    x, y = np.meshgrid(steps, steps, indexing="ij")
    radius = np.hypot(x, y)
    phantom = np.where((radius > 95) & (radius < 101), 900.0, -1000.0)
    for i, j in ((-40.3, 2.7), (38.6, -31.2), (31.4, 41.9)):
        phantom[np.hypot(x - i, y - j) < 15] = 100.0
    gain = kernel.transfer(frequencies((PIXEL / FINE,) * 2, size=size * FINE))
    seen = torch.fft.ifft2(torch.fft.fft2(torch.from_numpy(phantom)) * gain).real
    noise = acquire(torch.zeros(size + 24, size + 24, slices), SPACING, (kernel,), dose, 0)[0]
    return (seen[FINE // 2 :: FINE, FINE // 2 :: FINE][..., None] + noise).round().clamp(-1024).float()


@pytest.mark.parametrize("kernel", [SOFT, SHARP], ids=["B40f", "B70f"])
def test_without_skin_the_surfaces_of_what_lies_in_air_are_taken(kernel):
    found = edge_spread(rods(kernel), SPACING)
    assert found.surface == "all surfaces" and "edge of all surfaces" in found.transfer().source
    assert (found.transfer().transfer(F) / kernel.transfer(F) - 1).abs().max() < 0.05


def test_where_there_is_skin_nothing_else_is_taken():
    scan = cylinder(SOFT)
    both = torch.cat([scan, rods(SOFT)])
    assert edge_spread(both, SPACING).surface == edge_spread(scan, SPACING).surface == "the skin"


def test_profiles_of_skin_are_not_mixed_with_those_of_other_surfaces():
    skin, other = edge_spread(cylinder(SOFT), SPACING), edge_spread(rods(SOFT), SPACING)
    assert skin + other is skin and other + skin is skin
    assert (skin + skin).profiles == 2 * skin.profiles and (other + type(other)()).surface == other.surface


def test_the_number_of_threads_changes_nothing():
    scan, before = cylinder(SOFT), torch.get_num_threads()
    try:
        (one, heard), (four, again) = (
            (edge_spread(scan, SPACING), flat_noise(scan, SPACING)) for _ in map(torch.set_num_threads, (1, 4))
        )
    finally:
        torch.set_num_threads(before)
    assert one.profiles == four.profiles > 0 and heard.count == again.count > 0
    assert (one.total == four.total).all() and (one.count == four.count).all()
    assert torch.equal(heard.power, again.power)


def test_tiny_pixels_show_no_profile_and_take_no_memory():
    assert edge_spread(cylinder(SOFT), (1.2e-6, 1.2e-6, 1.2)).profiles == 0
