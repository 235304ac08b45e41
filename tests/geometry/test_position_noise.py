"""Noise by position: two independent standard normal fields. Mutants of `benchmarks/mutants.py` had survived here."""

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
