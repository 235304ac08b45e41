"""What was cut off at -1024 HU comes back in the mean, and nothing else changes."""

import pytest
import torch

from bundle.scanner import FLOOR, RADIUS, unclipped


def noisy(mean, spread, shape=(96, 96, 2), seed=0):
    """A tissue with white noise, before anything is cut off, in HU."""
    return mean + spread * torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def digital(image):
    """As a scanner of 12 bits writes it."""
    return image.round().clamp(min=FLOOR)


@pytest.mark.parametrize(("mean", "spread"), [(-1000, 25), (-950, 60), (-900, 90), (-980, 120)])
def test_the_mean_comes_back(mean, spread):
    truth = noisy(mean, spread)
    image = digital(truth)
    lifted, left = (float((found - truth).mean()) for found in (image, unclipped(image)))
    assert lifted > 1.5 and abs(left) < 0.15 * lifted


def test_a_vessel_beside_does_not_count():
    truth = noisy(-930, 60)
    truth[40:46] += 900
    image = digital(truth)
    lifted, left = (float((found - truth)[:36].mean()) for found in (image, unclipped(image)))
    assert lifted > 1 and abs(left) < 0.2 * lifted


def test_only_what_lies_at_the_floor_changes():
    image = digital(noisy(-950, 60))
    changed = unclipped(image)
    assert torch.equal(changed[image > FLOOR], image[image > FLOOR])
    assert bool((changed[image == FLOOR] < FLOOR).all())


@pytest.mark.parametrize(
    "image",
    [noisy(-900, 60).round().clamp(min=-1023), noisy(-1000, 60).round(), torch.full((64, 64, 1), FLOOR)],
    ids=["never at the floor", "never cut off", "padding"],
)
def test_what_was_not_cut_off_stays(image):
    assert torch.equal(unclipped(image), image)


def test_a_window_gives_the_numbers_of_the_whole():
    image = digital(noisy(-960, 70))
    far = RADIUS
    window = unclipped(image[10 : 50 + 2 * far, 20 : 40 + 2 * far])[far:-far, far:-far]
    assert torch.allclose(window, unclipped(image)[10 + far : 50 + far, 20 + far : 40 + far], atol=1e-3)
