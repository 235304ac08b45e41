"""Noise by position: two independent standard normal fields. Mutants of `benchmarks/mutants.py` had survived here."""

import math

import pytest
import torch
from scipy import stats

from bundle.geometry.position_noise import splitmix64, white_noise


def test_both_fields_are_standard_normal_and_independent():
    one, other = (field.ravel() for field in white_noise(3, (0, 0, 0), (40, 50, 60)))
    for field in (one, other):
        assert stats.kstest(field.numpy(), "norm").pvalue > 1e-3
    for a, b in ((one, other), (one.abs(), other.abs()), (one[1:], one[:-1])):
        assert abs(torch.corrcoef(torch.stack((a, b)))[0, 1]) < 0.015


def test_the_generator_is_splitmix64():
    """The first numbers of the published one, from the seed 1234567."""
    step = 0x9E3779B97F4A7C15
    found = [int(splitmix64(torch.tensor(1234567), step * (i + 1))) % 2**64 for i in range(3)]
    assert found == [6457827717110365317, 3203168211198807973, 9817491932198370423]


def splitmix(counter):
    """The published generator in whole numbers."""
    state = counter % 2**64
    for bits, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        state = (state ^ state >> bits) * factor % 2**64
    return state ^ state >> 31


@pytest.mark.parametrize(("seed", "origin"), [(0, (0, 0)), (7, (-3, 5)), (2**62, (2**40, 1))])
def test_each_value_is_box_and_muller_s_of_the_bits_of_its_position(seed, origin):
    step = 0x9E3779B97F4A7C15
    one, other = white_noise(seed, origin, (2, 3))
    for index in ((0, 0), (0, 2), (1, 1)):
        state = splitmix(seed + step)
        for first, place in zip(origin, index, strict=True):
            state = splitmix(state + (first + place + 1) * step)
        radius = math.sqrt(-2 * math.log(((state >> 32) + 0.5) / 2**32))
        angle = 2 * math.pi * (state % 2**32) / 2**32
        assert float(one[index]) == pytest.approx(radius * math.cos(angle), abs=1e-13)
        assert float(other[index]) == pytest.approx(radius * math.sin(angle), abs=1e-13)


def test_a_place_has_as_many_axes_as_the_shape():
    with pytest.raises(ValueError, match="is shorter than argument"):
        white_noise(0, (0, 0, 0), (2, 3))
