"""Noise made in projections: its power, where it is strong, and its streaks."""

import torch

from bundle.scanner import NOISE_POWER, SOFT, Beam, acquire, frequencies, projection_noise

SPACING = (0.8, 0.8)
SIDE = 192


def disc(radius: float, centre: tuple[float, float] = (0.0, 0.0)) -> torch.Tensor:
    """Return a disc as a mask, in pixels from the middle."""
    at = torch.arange(SIDE) - (SIDE - 1) / 2
    return torch.hypot(at[:, None] - centre[0], at[None, :] - centre[1]) < radius


def thorax() -> torch.Tensor:
    """Return a cylinder of water with two lungs, in air, in HU."""
    image = torch.where(disc(85), 0.0, -1000.0)
    for side in (-40, 40):
        image[disc(28, (side, 0))] = -850.0
    return image


def noise_of(image: torch.Tensor, beam: Beam | None = None, fields: int = 4, seed: int = 0) -> torch.Tensor:
    """Return draws of noise, `(fields, x, y)`."""
    return projection_noise(image, SPACING, torch.Generator().manual_seed(seed), beam, fields)


def test_power_is_a_ramp_of_the_level_of_stationary_noise():
    """In a uniform body the spectrum is that of `noise_power`, within what so few samples allow."""
    even = Beam(bow_tie=85 * SPACING[0], modulation=0.0)
    noise = noise_of(torch.where(disc(85), 0.0, -1000.0), even, fields=24)[:, 64:128, 64:128]
    power = torch.fft.fft2(noise).abs().square().mean(0) * 0.8**2 / 64**2
    frequency = frequencies(SPACING, size=64)
    for low in (0.1, 0.2, 0.3, 0.4, 0.5):
        ring = (frequency >= low) & (frequency < low + 0.1)
        assert abs(power[ring].mean() / (NOISE_POWER * frequency[ring].mean()) - 1) < 0.15


def test_noise_is_weaker_in_lung_and_stronger_where_rays_are_weakened():
    deviation = noise_of(thorax(), fields=16).square().mean(0).sqrt()
    lung, middle, corner = deviation[disc(20, (-40, 0))], deviation[disc(8)], deviation[:20, :20]
    assert lung.mean() < 0.9 * middle.mean()
    assert corner.mean() < 0.8 * middle.mean()


def test_rays_through_two_dense_bodies_leave_a_streak():
    """Noise between two rods is streaked along the line through both: it varies across the line, not along it."""
    image = torch.where(disc(90), 0.0, -1000.0)
    image[disc(14, (-55, 0)) | disc(14, (55, 0))] = 2500.0
    between = noise_of(image, Beam(photons=3e4), fields=16)[:, 76:116, 88:104]
    along, across = between.diff(dim=1).square().mean(), between.diff(dim=2).square().mean()
    assert across > 1.5 * along


def test_draws_are_independent_and_the_generator_s():
    one, other = noise_of(thorax(), fields=2), noise_of(thorax(), fields=2)
    assert torch.equal(one, other)
    assert abs(torch.corrcoef(one.flatten(1))[0, 1]) < 0.02
    assert not torch.equal(one, noise_of(thorax(), fields=2, seed=1))


def test_an_acquisition_takes_given_noise():
    """Noise passes the kernel, and its power falls with the dose."""
    noise = noise_of(thorax())[0][..., None]
    image = thorax()[..., None]
    at = {
        dose: acquire(image, (*SPACING, 1.0), [SOFT], dose, noise=noise, quantize=False)[0]
        - acquire(image, (*SPACING, 1.0), [SOFT], float("inf"), quantize=False)[0]
        for dose in (25.0, 100.0)
    }
    assert torch.allclose(at[25.0], 2 * at[100.0], atol=1e-2)
    assert 5 < at[100.0][70:100, 70:100].std() < 20
