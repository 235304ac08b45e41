"""Padding outside the scan's circle is neither taken for air nor smeared into the body."""

import pytest
import torch

from bundle.scanner import (
    SHARP,
    SOFT,
    Conversion,
    Transfer,
    calibrated,
    converted,
    edge_spread,
    find_kernel,
    matched,
    ratio,
)
from bundle.scanner.padding import near_padding, padding, prepared
from tests.scanner.test_edge_spread import SPACING, F, cylinder

PADDINGS = (-1024.0, -2000.0, -3024.0)


def circle(scan, radius, value):
    """The scan inside a circle around the middle of its slices, and the distances from there."""
    x, y = (torch.arange(side) - side / 2 for side in scan.shape[:2])
    distance = torch.hypot(x[:, None], y[None])[..., None].expand(scan.shape)
    return torch.where(distance < radius, scan, value), distance


@pytest.fixture(scope="module")
def sharp():
    return cylinder(SHARP, slices=2)


@pytest.fixture(scope="module")
def soft():
    return cylinder(SOFT, slices=2)


@pytest.mark.parametrize("value", PADDINGS)
def test_padding_is_found_to_the_voxel(sharp, value):
    cut, distance = circle(sharp, 55, value)
    assert torch.equal(padding(cut), distance >= 55)


def test_a_scan_without_it_has_none(sharp, soft):
    """However much of its air is clipped; nor has what is too small to show it."""
    assert padding(sharp) is None and padding(soft) is None and (sharp == -1024).float().mean() > 0.1
    assert padding(torch.full((5, 40, 1), -1024.0)) is None
    assert not near_padding(sharp[..., 0]).any()


@pytest.mark.parametrize("value", PADDINGS)
def test_a_circle_that_cuts_the_body_is_no_skin(soft, value):
    """Its rim rises within a voxel, so the kernel found there would be far too sharp."""
    cut, distance = circle(soft, 55, value)
    assert edge_spread(cut, SPACING).profiles == 0
    part = torch.where((distance < 75) | (torch.arange(256)[:, None, None] > 110), soft, value)  # skin on one side
    assert 0 < edge_spread(part, SPACING).profiles < edge_spread(soft, SPACING).profiles
    found = find_kernel(part, SPACING)
    assert (found.transfer(F) / SOFT.transfer(F) - 1).abs().max() < 0.1


@pytest.mark.parametrize("value", PADDINGS)
def test_the_body_beside_padding_keeps_its_values(sharp, value):
    """It is as it would be without padding, to the noise; and the padding stays as it is, clipped."""
    cut, distance = circle(sharp, 55, value)
    whole, made = (matched(scan, SPACING, SHARP) for scan in (sharp, cut))
    rim = (distance < 55) & (distance > 53)
    assert (made - whole)[rim].mean().abs() < 5 and (made - whole)[rim].abs().mean() < 15
    torch.testing.assert_close(made[distance < 40], whole[distance < 40], atol=0.01, rtol=0)
    assert (made[distance >= 55] == max(value, -1200)).all()
    gain = Transfer((0.0, 0.4, 1.2), (1.0, 0.5, 0.1))
    shift = converted(cut, SPACING, Conversion(gain, (-1000.0, 0.0), (0.0, 3.0)))
    assert (shift[distance >= 55] == max(value, -1200)).all() and shift[rim].mean() > -150


def test_a_window_gives_what_the_whole_does(sharp):
    cut = circle(sharp, 55, -2000.0)[0]
    whole, part = (prepared(each, padding(each)) for each in (cut, cut[60:200]))
    torch.testing.assert_close(part[24:-24], whole[84:176], atol=0.05, rtol=0)


@pytest.mark.parametrize("value", PADDINGS)
def test_a_calibration_leaves_its_surroundings_out(sharp, soft, value):
    pair = [circle(scan, 55, value)[0][..., 0] for scan in (sharp, soft)]
    gain = calibrated(*pair, SPACING).filter()
    true = ratio(SOFT, SHARP, F)
    assert (gain.transfer(F) - true).abs().max() < 0.06


def test_where_no_profile_can_be_seen_none_is_taken(soft):
    """One voxel across, pixels that are not square, or larger than a profile."""
    for scan, spacing in (
        (soft[:1], SPACING),
        (soft[:, :2], SPACING),
        (soft, (0.7, 1.4, 1.2)),
        (soft, (700.0, 700.0, 1200.0)),
    ):
        assert edge_spread(scan, spacing).profiles == 0
        find_kernel(scan, spacing)
