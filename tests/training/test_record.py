"""The settings beside the weights are those of the config, found by themselves."""

import json

import pytest
import torch
from monai.bundle import ConfigParser

from bundle.training import record_settings

MADE = "pytest.fail"  # what must not be made: called without its argument or with others, it raises all the same

CONFIG = {
    "imports": ["$import math"],
    "device": "$torch.device('cpu')",
    "scale": 2,
    "epochs": [3, 4, 5],
    "table": {"a": {"rate": 0.5}, "b": {"rate": "$@scale / 8"}},
    "chosen": "$@table['b']",
    "block": {
        "_target_": MADE,
        "rate": "$@chosen['rate'] * 2",
        "half": "$@block#rate / 2",
        "range": [0, 1.5],
        "other": "@network",
        "named": "kept",
        "nothing": None,
    },
    "off": {"_target_": MADE, "_disabled_": "$@scale > 1", "lost": 1},
    "network": {"_target_": "types.SimpleNamespace", "width": "@scale"},
    "steps": ["@block", {"_target_": MADE, "inline": 1}],
    "lambda": "$lambda x: x",
    "later": [{"_target_": MADE, "width": "@scale"}],
    "run": ["$1 / 0", "$1 / (2 - @scale)"],
    "record": {"_target_": "bundle.training.record_settings", "path": "@path", "trained_on": ["a", "b"]},
    "path": "",
}


@pytest.fixture
def recorded(tmp_path):
    parser = ConfigParser({**CONFIG, "path": str(tmp_path / "made" / "scale_0.json")})
    parser["block#range"] = [0, 2.5]
    parser.get_parsed_content("network")
    parser.get_parsed_content("record")
    return json.loads((tmp_path / "made" / "scale_0.json").read_text())


def test_settings_are_recorded_block_by_block_as_they_were_resolved(recorded):
    """Without making a component, or running what is run."""
    settings = recorded["settings"]
    assert settings["scale"] == 2 and settings["epochs"] == [3, 4, 5]
    assert settings["table"] == {"a": {"rate": 0.5}, "b": {"rate": 0.25}}
    assert settings["block"] == {"rate": 0.5, "half": 0.25, "range": [0, 2.5], "named": "kept", "nothing": None}
    assert settings["network"] == {"width": 2} and settings["trained_on"] == ["a", "b"]
    assert recorded["versions"]["torch"] == torch.__version__


def test_what_is_disabled_or_no_setting_is_left_out(recorded):
    assert not {"off", "lambda", "steps", "later", "run", "imports", "chosen"} & recorded["settings"].keys()


def test_outside_of_a_config_there_is_nothing_to_record(tmp_path):
    with pytest.raises(RuntimeError, match="record_settings is not called from a MONAI config"):
        record_settings(tmp_path / "record.json")
