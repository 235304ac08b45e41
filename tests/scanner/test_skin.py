"""The skin is told from the kernel by the phase of its edge."""

from functools import cache

import numpy as np
import pytest
import torch

from bundle.scanner import SHARP, SOFT, Kernel, acquire, edge_spread, find_kernel, frequencies
from bundle.scanner.skin import HIGHEST, LOWEST, USUAL, Skins, spectrum
from tests.scanner.test_edge_spread import FINE, PIXEL, SPACING, F

MILD = Kernel(0.6, 3.0, 0.2, 0.4)
KNOTS = np.arange(0.04, 0.53, 0.04)


@cache
def patient(kernel, covered=False, slices=4, size=256):
    """A body with 1.8 mm of dermis over fat, and behind it, if covered, a sheet 3 mm away; like `cylinder`."""
    steps = (np.arange(size * FINE) + 0.5) / FINE - size / 2
    x, y = np.meshgrid(steps, steps, indexing="ij")
    depth = (85 - np.hypot(x - 3.3, (y + 1.7) * 1.3)) * PIXEL
    body = np.select([depth < 0, depth < 1.8, depth < 14], [-1000.0, 50.0, -100.0], 40.0)
    if covered:
        body[(depth < 0) & (depth > -3) & (y > 0.3 * np.abs(x))] = -520.0
    gain = kernel.transfer(frequencies((PIXEL / FINE,) * 2, size=size * FINE))
    seen = torch.fft.ifft2(torch.fft.fft2(torch.from_numpy(body)) * gain).real[FINE // 2 :: FINE, FINE // 2 :: FINE]
    noise = acquire(torch.zeros(size + 24, size + 24, slices), SPACING, (kernel,), 15.0, 0)[0]
    return (seen[..., None] + noise).round().clamp(-1024).float()


def error(found, kernel):
    """Largest relative error below 0.4 cycles/mm."""
    return float((found.transfer(F) / kernel.transfer(F) - 1).abs().max())


@pytest.mark.parametrize("kernel", [SOFT, SHARP, MILD], ids=["B40f", "B70f", "mild"])
@pytest.mark.parametrize("covered", [False, True], ids=["bare", "on a table"])
def test_the_layers_of_the_skin_are_no_part_of_the_kernel(kernel, covered):
    scan = patient(kernel, covered)
    found, edge = error(find_kernel(scan, SPACING), kernel), error(edge_spread(scan, SPACING).transfer(), kernel)
    print(round(found, 3), round(edge, 3))
    assert found < 0.25 and edge > 0.4


def test_the_derivatives_of_the_spectrum_are_right():
    generator = np.random.default_rng(0)
    skins = LOWEST + (HIGHEST - LOWEST) * generator.uniform(0.1, 0.9, (3, len(USUAL)))
    _, slopes = spectrum(skins, KNOTS)
    for number, step in enumerate(1e-6 * np.eye(len(USUAL))):
        difference = (spectrum(skins + step, KNOTS)[0] - spectrum(skins - step, KNOTS)[0]) / 2e-6
        np.testing.assert_allclose(slopes[:, number], difference, atol=1e-6)


def test_layers_are_found_in_each_direction():
    """A cover in one direction of three does not touch the others."""
    skins = np.tile(USUAL, (3, 1))
    skins[1, 5:] = 0.9, 2.7
    skins[2, [1, 3]] = 0.2, 2.2
    gains = np.exp(-((KNOTS / 0.5) ** 2))
    found = Skins(gains * spectrum(skins, KNOTS)[0], np.full(3, 0.01), KNOTS)
    found.choose(gains)
    assert found.covered.tolist() == [False, True, False]
    np.testing.assert_allclose(found.start[1, 5:], [0.9, 2.7], atol=0.1)
    np.testing.assert_allclose(found.start[2, [1, 3]], [0.2, 2.2], atol=0.15)
    right, wrong = (np.sum(found.misfit(each) ** 2) for each in (gains, gains**1.3))
    assert right < wrong
