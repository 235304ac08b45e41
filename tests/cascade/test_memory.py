import pytest
import torch
from torch import nn

from bundle.cascade import footprint, on_meta
from bundle.runtime import parse_bytes


@pytest.mark.parametrize(
    "text, expected", [("2GiB", 2**31), ("500 MB", 5 * 10**8), (1000, 1000), ("1.5kib", 1536), ("1e9", 10**9)]
)
def test_bytes_are_read(text, expected):
    assert parse_bytes(text) == expected


@pytest.mark.parametrize("text", ["", "2 apples", "-1", 0, "1.2.3"])
def test_other_words_are_refused(text):
    with pytest.raises(ValueError, match="is not a positive number of bytes; write it like 2GiB"):
        parse_bytes(text)


def test_a_peak_one_can_count():
    """Input, output of the first layer and of the second are alive at once; in place, one less."""
    size = 4 * 100
    x = (1, 1, 10, 10)
    assert footprint(on_meta(nn.Identity()), x).peak == size
    assert footprint(on_meta(nn.Sigmoid()), x).peak == 2 * size
    assert footprint(on_meta(nn.Sequential(nn.Sigmoid(), nn.Sigmoid(), nn.Sigmoid())), x).peak == 3 * size
    assert footprint(on_meta(nn.Sequential(nn.ReLU(inplace=True))), x).peak == size


def test_nothing_is_computed():
    network = nn.Conv3d(1, 64, 3)
    assert footprint(on_meta(network), (1, 1, 1002, 1002, 1002)).peak > 64 * 4 * 10**9
    assert network.weight.device == torch.device("cpu")
