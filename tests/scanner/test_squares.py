"""What a scan is filled up with is found by its one value."""

import pytest
import torch

from bundle.scanner.squares import SIDE, constant, in_squares


def noisy(*shape):
    """Noise of whole HU, which has equal neighbours but no squares of them."""
    return (4 * torch.randn(shape, generator=torch.Generator().manual_seed(0))).round()


def test_noise_has_no_squares():
    assert constant(noisy(64, 64, 3)) is None and constant(noisy(SIDE - 1, 40, 1)) is None


@pytest.mark.parametrize("value", [-1000.0, 0.0, 3071.0])
def test_a_filled_corner_is_found_and_nothing_beside_it(value):
    """But for the last row and column, which have no equal neighbour behind them."""
    scan = noisy(64, 60, 3)
    scan[:20, :12, 1] = value
    found = constant(scan)
    assert found[:19, :11, 1].all()
    found[:20, :12, 1] = False
    assert not found.any()


def test_squares_are_as_large_as_they_have_to_be():
    mask = torch.zeros(40, 40, 2, dtype=torch.bool)
    mask[5 : 5 + SIDE, 9 : 9 + SIDE, 0] = True
    mask[20 : 20 + SIDE - 1, 9:30, 0] = True
    found = in_squares(mask)
    assert found.sum() == SIDE**2 and found[5 : 5 + SIDE, 9 : 9 + SIDE, 0].all()
    assert in_squares(mask[10:]) is None
