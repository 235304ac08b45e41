"""The words of a command are what was typed, whatever they look like."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ct_kernel_translation_gan.root import bundle_root
from ct_kernel_translation_gan.verbs import EXPERIMENTS, OPTIONS, OTHERS, VERBS, fits
from ct_kernel_translation_gan.words import UsageError, config_files, flags, split

ROOT = bundle_root()
ALONE = {"densitometry", "amp", "help"}


@pytest.mark.parametrize(
    ("words", "given", "options"),
    [
        (["a.nii", "out"], ["a.nii", "out"], {}),
        (["1001", "1e5", "None", "a#1"], ["1001", "1e5", "None", "a#1"], {}),
        (["--tile_size", "64", "a"], ["a"], {"tile_size": "64"}),
        (["--tile-size=64", "a"], ["a"], {"tile_size": "64"}),
        (["--densitometry", "a"], ["a"], {"densitometry": "True"}),
        (["--densitometry", "false", "a"], ["a"], {"densitometry": "False"}),
        (["--densitometry=TRUE", "a"], ["a"], {"densitometry": "True"}),
        (["--amp", "--densitometry"], [], {"amp": "True", "densitometry": "True"}),
        (["--output_ext", ".mha", "--", "--odd", "-x"], ["--odd", "-x"], {"output_ext": ".mha"}),
        (["--output_postfix="], [], {"output_postfix": ""}),
        (["-"], ["-"], {}),
    ],
)
def test_split(words: list[str], given: list[str], options: dict[str, str]) -> None:
    assert split(words, ALONE) == (given, options)


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--tile_size"], "--tile_size has no value"),
        (["--tile_size", "--amp"], "--tile_size has no value"),
        (["--seed", "1", "--seed=2"], "--seed is given twice"),
    ],
)
def test_split_refuses(words: list[str], reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        split(words, ALONE)


def test_flags_are_those_that_the_config_checks() -> None:
    config = json.loads((ROOT / "configs" / "inference.json").read_text(encoding="utf-8"))
    assert {"densitometry", "streaming", "amp", "help"} <= flags(ROOT)
    assert not flags(ROOT) & {key for key, value in config.items() if isinstance(value, int) and value not in (0, 1)}


def test_config_files(tmp_path: Path) -> None:
    own = tmp_path / "own.json"
    own.write_text("{}")
    files = config_files(ROOT, ("inference", "check"), f"low_dose,{own}")
    assert [Path(file).name for file in files] == ["inference.json", "low_dose.json", "own.json", "check.json"]
    with pytest.raises(UsageError, match="experiment 'lowdose' is not known; take one of low_dose"):
        config_files(ROOT, ("inference",), "lowdose")
    for text, told in (("{", "no JSON: "), ("\xff", "no JSON: "), ("[1]", "no keys"), ('{"run": 1}', "whole")):
        own.write_text(text, encoding="latin-1")
        with pytest.raises(UsageError, match=f"^experiment '.*own.json' .*{told}"):
            config_files(ROOT, ("inference",), str(own))


def test_experiments_are_the_overlays_of_the_configs() -> None:
    names = {path.stem for path in (ROOT / "configs").glob("*.json")}
    base = {"inference", "train", "evaluate", "report", "metadata"}
    overlays = {name for name in names - base if not name.endswith(("_train", "_evaluate"))}
    own = {name for verb in VERBS.values() for name in verb.configs[1:]}
    assert overlays - own == {*EXPERIMENTS, "multi_gpu_inference"}


@pytest.mark.parametrize("name", VERBS)
def test_verbs_name_what_the_configs_have(name: str) -> None:
    verb = VERBS[name]
    config: dict[str, object] = {}
    for file in config_files(ROOT, verb.configs):
        config |= json.loads(Path(file).read_text(encoding="utf-8"))
    assert {*verb.keys, verb.run_id} <= set(config)
    assert len(verb.names) == len(verb.keys)


def test_options_are_keys_of_the_config() -> None:
    config = json.loads((ROOT / "configs" / "inference.json").read_text(encoding="utf-8"))
    named = [key for keys in OPTIONS.values() for key in keys if key != "experiment"]
    assert set(named) <= set(config) and len(named) == len(set(named)) > 20
    assert not set(VERBS) & set(OTHERS)


def test_words_in_brackets_may_be_left_out() -> None:
    assert [fits(("A", "B", "[C]"), count) for count in range(5)] == [False, False, True, True, False]
