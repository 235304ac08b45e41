"""The gain between the kernels of two scans: what they show in common counts more than what was fitted to each."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from bundle.scanner import SHARP, SIDE, SOFT, EdgeSpread, FlatNoise, FoundTransfer, Transfer, frequencies
from bundle.scanner.edge_spread import KNOTS, SECTORS
from bundle.scanner.gains import MOST, quotient
from bundle.scanner.kernel import TURNS
from bundle.scanner.transfer import sampled

F = torch.arange(0.04, 0.44, 0.04, dtype=torch.float64)
FRONT, BACK = range(SECTORS // 2), range(SECTORS // 2, SECTORS)
SPACING = (0.7, 0.7)


def skin(frequency, direction):
    """Spectrum of skin: in front, a layer of 2 mm that shines; behind, only soft."""
    hump = np.exp(-(((frequency - 0.15) / 0.08) ** 2))
    return np.exp(-(frequency**2)) * (1 + (0.4 if direction in FRONT else -0.1) * hump)


def scanned(kernel, directions, bent=0.0, dose=1.0, blurred=0.0, profiles=20, spacing=SPACING):
    """What a scan shows of a kernel in some directions, if a fit to it alone is off by exp(bent f^2).

    ``blurred`` blurs the edges as exp(-blurred f^2), as motion does, from side to side more, and not the noise.
    """
    step, size = 0.1, 4096
    known = np.fft.rfftfreq(size, step)
    transfer = kernel.transfer(torch.from_numpy(known)).numpy()
    edges = np.arange(-13.0, 13.0 + step / 2, step)
    at = (edges[:-1] + edges[1:]) / 2
    total, count = np.zeros((2 * SECTORS, len(at))), np.zeros((2 * SECTORS, len(at)))
    for direction in directions:
        motion = np.exp(-blurred * direction / SECTORS * known**2)
        line = np.fft.fftshift(np.fft.irfft(transfer * skin(known, direction) * motion, size)) / step
        rise = np.interp(at, (np.arange(size) + 0.5 - size // 2) * step, np.cumsum(line) * step)
        total[2 * direction] = profiles * (1000 * rise - 900)
        count[2 * direction] = profiles
    folds = torch.stack([frequencies(spacing, turn, SIDE) for turn in TURNS])
    power = 100 * dose * (folds * kernel.transfer(folds) ** 2).sum(0) + spacing[0] * spacing[1] / 12
    heard = FlatNoise(50 * power[None], torch.tensor([50.0], dtype=torch.float64), spacing)
    gains = np.asarray(sampled(kernel, KNOTS)) * np.exp(bent * np.square(KNOTS))
    shown = EdgeSpread(total, count, profiles * len(directions))
    return FoundTransfer(KNOTS, tuple(gains.tolist()), upright=True, profiles=shown, noise=heard)


def error(gain):
    """Largest relative error below 0.4 cycles/mm of a gain from the sharp kernel to the soft one."""
    return float((gain.transfer(F) / (SOFT.transfer(F) / SHARP.transfer(F)) - 1).abs().max())


def alone(found):
    """The same, but only what was fitted."""
    return Transfer(found.knots, found.gains)


def test_edges_are_compared_direction_by_direction():
    """One scan shows mostly the front, the other mostly the back; the mean edges differ, and both fits are off."""
    front = scanned(SHARP, [*FRONT, *BACK[:4]], bent=-1.0)
    back = scanned(SOFT, [*FRONT[4:], *BACK], bent=1.0)
    means = [each.profiles.transfer() for each in (back, front)]
    assert error(quotient(back, front, MOST)) < 0.05
    assert error(quotient(alone(back), alone(front), MOST)) > 0.2 and error(quotient(*means, MOST)) > 0.1


@pytest.mark.parametrize(
    "change",
    [{"upright": False}, {"profiles": scanned(SOFT, BACK[-2:]).profiles}, {"profiles": EdgeSpread()}],
    ids=["a single slice", "two directions", "no skin"],
)
def test_where_scans_have_too_little_in_common_the_fits_decide(change):
    front, back = scanned(SHARP, range(SECTORS), bent=-1.0), scanned(SOFT, range(SECTORS), bent=1.0)
    fitted = quotient(alone(back), alone(front), MOST)
    assert quotient(replace(back, **change), front, MOST) == fitted != quotient(back, front, MOST)
    assert quotient(alone(back), front, MOST) == fitted


def test_noise_shows_the_shape_where_edges_disagree():
    """Motion blurs fine structures most, from direction to direction more; noise has its shape at any dose."""
    sharp, soft = scanned(SHARP, BACK), scanned(SOFT, BACK, dose=7.0, blurred=6.0)
    fall = torch.tensor([0.28, 0.48], dtype=torch.float64)

    def steepness(gain):
        first, last = gain.log()
        return float(last - first)

    wanted = steepness(SOFT.transfer(fall) / SHARP.transfer(fall))
    heard, deaf = (
        abs(steepness(quotient(target, sharp, MOST).transfer(fall)) - wanted)
        for target in (soft, replace(soft, noise=None))
    )
    assert heard < 0.7 * deaf


@pytest.mark.parametrize("kernel", [SHARP, SOFT], ids=["sharp", "soft"])
@pytest.mark.parametrize("sides", [(0.5, 0.9), (0.9, 0.5), (0.6, 0.98)])
def test_pixels_of_another_size_change_nothing(kernel, sides):
    """The larger they are, the more of the noise above their frequencies is aliased."""
    source, target = (scanned(kernel, range(SECTORS), spacing=(side, side)) for side in sides)
    assert np.abs(np.asarray(quotient(target, source, MOST).gains)[:20] - 1).max() < 0.01


def test_a_scan_without_noise_shows_nothing_by_it():
    """Such as one that was denoised, where only the rounding is left."""
    sharp, soft = scanned(SHARP, range(SECTORS)), scanned(SOFT, range(SECTORS), dose=1e-6)
    heard, deaf = quotient(soft, sharp, MOST), quotient(replace(soft, noise=None), sharp, MOST)
    assert heard.gains == pytest.approx(deaf.gains, rel=0.02)


def test_the_gain_is_limited():
    """Of two identical scans it is 1, and the other way round it sharpens only as far as is asked."""
    sharp, soft = scanned(SHARP, range(SECTORS)), scanned(SOFT, range(SECTORS))
    assert np.abs(np.asarray(quotient(soft, soft, MOST).gains)[:20] - 1).max() < 0.01
    assert max(quotient(sharp, soft).gains) == 1 and max(quotient(sharp, soft, 1.5).gains) == 1.5
