"""bfloat16 is the default where it is fast, and stays near float32."""

import pytest
import torch

from bundle.cascade import CascadeInferer
from bundle.runtime import has_bfloat16
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


def test_the_result_stays_within_2_hu_of_float32():
    cascade, x = shipped(), image((64, 60, 20))
    exact, fast = (CascadeInferer(32, progress=False, half=half)(x, cascade) for half in (False, True))
    assert 0 < (exact - fast).abs().max() * 600 < 2
