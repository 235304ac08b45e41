"""Every key of the configs counts for what a result was made by, unless it is known to be harmless."""

import json
from itertools import chain

import pytest
from monai.bundle import ConfigParser

from bundle.runtime.config_hash import HARMLESS
from tests.processes import ROOT

INFERENCE = json.loads((ROOT / "configs" / "inference.json").read_text(encoding="utf-8"))
SAME = ("plan", "check", "multi_gpu_inference")
OTHERS = ("low_dose", "brain_t1_t2", "head_t1_t2", "xray_2d", "generate")


def hashed(*overlays, **keys):
    parser = ConfigParser()
    parser.read_config([str(ROOT / "configs" / f"{name}.json") for name in ("inference", *overlays)])
    parser.update(keys)
    return parser.get_parsed_content("job#settings#0")


@pytest.fixture(scope="module")
def base():
    return hashed()


def test_every_key_counts_or_is_known_to_be_harmless(base):
    counted = {key for key in INFERENCE if key != "job" and hashed(**{key: "another"}) != base}
    assert counted == INFERENCE.keys() - HARMLESS
    changing = {"crop_lungs", "percentiles", "median", "series_description", "output_dtype", "window"}
    assert changing <= counted


def test_every_harmless_key_is_one_of_a_config():
    configs = [
        json.loads((ROOT / "configs" / f"{name}.json").read_text(encoding="utf-8")) for name in (*SAME, "generate")
    ]
    assert not HARMLESS - {"_meta_", *chain(INFERENCE, *configs)}


@pytest.mark.parametrize("key", ["network_def#sketch#sigma", "network_def#fine#channels", "finishing#own"])
def test_keys_within_a_block_count(base, key):
    assert hashed(**{key: 5}) != base


def test_how_a_value_is_written_does_not_count(base):
    assert hashed(window=[-1000, 200]) == hashed(window=(-1000.0, 200.0)) == base
    assert hashed(**{"displayable_configs#seed": 5}) == base != hashed(**{"displayable_configs#conditioning": "none"})


def test_overlays_that_change_results_count(base):
    assert {hashed(name) for name in SAME} == {base}
    assert len({base, *map(hashed, OTHERS)}) == 1 + len(OTHERS)
    assert hashed(own_key=1) != base
