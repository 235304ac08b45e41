"""What is a number of a config."""

import math

import pytest

from bundle.runtime import is_count, is_finite, is_whole


@pytest.mark.parametrize(
    ("value", "whole", "count", "finite"),
    [
        (1, True, True, True),
        (2**40, True, True, True),
        (0, True, False, True),
        (-3, True, False, True),
        (1.0, False, False, True),
        (math.inf, False, False, False),
        (math.nan, False, False, False),
        (True, False, False, False),
        (False, False, False, False),
        ("1", False, False, False),
        (None, False, False, False),
        ([1], False, False, False),
    ],
)
def test_a_number_is_no_boolean_and_no_text(value, whole, count, finite):
    assert (is_whole(value), is_count(value), is_finite(value)) == (whole, count, finite)
