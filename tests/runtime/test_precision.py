"""bfloat16 is the default where it is fast, and stays near float32."""

import warnings

import pytest
import torch

from bundle.cascade import CascadeInferer
from bundle.runtime import has_bfloat16, in_bfloat16
from tests.cascade.test_inferer import shipped
from tests.laws import image


@pytest.mark.parametrize("name", ["_is_avx512_bf16_supported", "_is_amx_tile_supported"])
def test_a_processor_has_it_by_either_instruction_set(monkeypatch, name):
    for each in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        monkeypatch.setattr(torch.cpu, each, lambda each=each: each == name, raising=False)
    assert has_bfloat16("cpu")
    monkeypatch.setattr(torch.cpu, name, lambda: False)
    assert not has_bfloat16(torch.device("cpu"))


def test_a_torch_that_cannot_tell_stays_with_float32(monkeypatch):
    for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        monkeypatch.delattr(torch.cpu, name, raising=False)
    assert has_bfloat16("cpu") is False


def test_networks_with_strides_stay_in_float32_on_a_cpu():
    """With AMX, their convolutions of thin images are garbage in bfloat16: `(1, 2, 16, 16, 2)`, stride 2, 1e36."""
    for device, half, strided, expected in (
        ("cpu", True, False, True),
        ("cpu", True, True, False),
        ("cpu", False, False, False),
        ("cuda", True, True, torch.cuda.is_available()),
    ):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # autocast's word that there is no such device
            with in_bfloat16(device, half, strided):
                assert torch.is_autocast_enabled(device) == expected


@pytest.mark.parametrize("shape", [(96, 96, 1), (64, 40, 3), (90, 1, 70), (17, 9, 2)])
def test_scale_0_is_that_of_float32_and_the_finer_ones_are_near(shape):
    cascade, x = shipped(), image(shape)
    coarse = [CascadeInferer(32, progress=False, half=half, scales=1)(x, cascade) for half in (False, True)]
    assert torch.equal(*coarse)
    exact, fast = (CascadeInferer(32, progress=False, half=half)(x, cascade) for half in (False, True))
    difference, change = (exact - fast).abs(), (exact - x).abs()
    assert 0 < difference.max() < 0.02 * change.max()
    assert difference.mean() * 600 < 0.5  # HU


def test_the_result_stays_within_2_hu_of_float32():
    cascade, x = shipped(), image((64, 60, 20))
    exact, fast = (CascadeInferer(32, progress=False, half=half)(x, cascade) for half in (False, True))
    assert 0 < (exact - fast).abs().max() * 600 < 2
