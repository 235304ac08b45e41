"""A conversion is fitted to a pair of reconstructions, and carried out."""

import math

import numpy as np
import pytest
import torch

from bundle.scanner import SHARP, SOFT, Conversion, Transfer, acquire, calibrate, calibrated, converted, ratio

SPACING = (0.7, 0.7)


def pair(seed=0, size=128, dose=30.0):
    """Soft tissue and lung with grain, of one acquisition with the sharp and the soft kernel, `(x, y)` each."""
    grain = torch.randn(size, size, generator=torch.Generator().manual_seed(seed)) * 40
    grain[: size // 2] -= 700
    soft, sharp = acquire(grain, SPACING, (SOFT, SHARP), dose, seed)
    return sharp, soft


def test_the_fitted_gain_is_the_ratio_of_the_kernels():
    sharp, soft = pair()
    gain = calibrate([(sharp, soft, None)], SPACING).filter
    f = torch.arange(0.1, 0.6, 0.05, dtype=torch.float64)
    error = (gain.transfer(f) - ratio(SOFT, SHARP, f)).abs()
    assert error.max() < 0.04  # knots are 0.08 cycles/mm apart
    assert (error < 3 * gain.deviation(f)).all() and gain.deviation(f).max() < 0.15


def test_a_conversion_holds_on_another_slice():
    conversion = calibrate([(*pair(), None)], SPACING)
    sharp, soft = pair(1)
    result = converted(sharp[..., None], SPACING, conversion)[..., 0]
    assert (result - soft).abs().mean() < 0.1 * (sharp - soft).abs().mean()


def test_levels_take_out_what_a_filter_cannot():
    """The sharp lung is 8 HU brighter, the tissue is not."""
    sharp, soft = pair()
    sharp = torch.where(soft < -350, sharp + 8, sharp)
    conversion = calibrate([(sharp, soft, None)], SPACING)
    lung = torch.zeros(soft.shape, dtype=torch.bool)
    lung[8:40, 8:-8] = True
    with_levels, alone = (
        converted(sharp[..., None], SPACING, each)[..., 0][lung].mean() - soft[lung].mean()
        for each in (conversion, Conversion(conversion.filter))
    )
    assert abs(with_levels) < 1.5 < 3 < alone


def test_only_the_chosen_voxels_are_fitted():
    sharp, soft = pair()
    use = torch.zeros(soft.shape, dtype=torch.bool)
    use[:, : soft.shape[1] // 2] = True
    spoilt = torch.where(use, soft, 250.0)
    one, other = (calibrated(sharp, target, SPACING, use).filter() for target in (soft, spoilt))
    assert one == other


def test_bone_is_left_out():
    sharp, soft = pair()
    soft[60:70] = 1200.0
    assert calibrated(sharp, soft, SPACING).voxels.sum() == soft.numel() - 10 * soft.shape[1]


def test_a_pair_of_different_shapes_is_refused():
    with pytest.raises(ValueError, match="not slices of one shape"):
        calibrated(torch.zeros(40, 40), torch.zeros(40, 41), SPACING)
    with pytest.raises(ValueError, match="no voxel of the target is below 300 HU"):
        calibrate([(torch.zeros(40, 40), torch.full((40, 40), 900.0), None)], SPACING)


@pytest.mark.parametrize(
    ("knots", "gains", "message"),
    [((0.1, 0.2), (1, 1), "increase from 0"), ((0, 1), (0.9, 1), "the first 1"), ((0, 1), (1, math.nan), "finite")],
)
def test_a_transfer_function_is_checked(knots, gains, message):
    with pytest.raises(ValueError, match=message):
        Transfer(knots, gains)


def test_a_transfer_function_is_linear_between_knots():
    found = Transfer((0.0, 1.0, 2.0), (1.0, 0.5, 0.0)).transfer(torch.tensor([0.0, 0.5, 1.5, 9.0]))
    np.testing.assert_allclose(found, [1, 0.75, 0.25, 0])
