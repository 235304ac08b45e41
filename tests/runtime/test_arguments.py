"""Misspelt keys are refused with the nearest known one."""

import json

import fire
import pytest
from monai.bundle import ConfigParser, ConfigWorkflow

from bundle.runtime.arguments import check_arguments, check_keys
from bundle.runtime.errors import last_line
from tests.processes import ROOT

PROGRAM = "/lib/python3/site-packages/monai/bundle/__main__.py"
CONFIG = {
    "tile_size": None,
    "weights": "a.pt",
    "dataset_dir": "samples",
    "kernel_pair": {"_target_": "x.Y", "dose": [1, 2]},
    "mode": {"options": {"image": {"beta": 0.0}}},
}


@pytest.fixture
def config(tmp_path):
    """Return a config file and an overlay, as they are given on the command line."""
    for name, content in (("a", CONFIG), ("b", {"extra": 1})):
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    return f"['{tmp_path}/a.json','{tmp_path}/b.json']"


@pytest.mark.parametrize(
    "given",
    [
        ["--tile_size", "64", "--weights=b.pt", "--extra", "2"],
        ["--kernel_pair#dose", "[3, 4]", "--kernel_pair::new_argument", "1", "--mode#options#image#beta", "0.1"],
        ["--tile_size", "None", "--weights", "$None", "--meta_file", "None", "--extra=Nonesuch"],
        ["inference", "--run_id", "x", "--logging_file", "False", "--tile-size", "64", "--meta_file", "m.json"],
    ],
)
def test_known_keys_are_taken(config, given):
    check_arguments([PROGRAM, "run", "--config_file", config, *given])


@pytest.mark.parametrize(
    ("key", "advice"),
    [
        ("tile_sise", "did you mean --tile_size?"),
        ("weigths", "did you mean --weights?"),
        ("mode#options#image#betta", "did you mean --mode#options#image#beta?"),
        ("qqq", "have a table of keys"),
    ],
)
def test_unknown_keys_are_refused(config, key, advice):
    with pytest.raises(ValueError, match=rf"key --{key} is unknown") as told:
        check_arguments([PROGRAM, "run", "inference", "--config_file", config, f"--{key}", "1"])
    assert advice in str(told.value)


@pytest.mark.parametrize(
    "given", [["--weights", "None"], ["--weights=null"], ["--tile_size", "null"], ["--kernel_pair#new_argument=None"]]
)
def test_null_that_would_not_be_null_is_refused(config, given):
    """MONAI drops None, so that the config's own value is used, and takes null for a text."""
    with pytest.raises(ValueError, match=r"would not mean null; write --\S+ '\$None'\."):
        check_arguments([PROGRAM, "run", "inference", "--config_file", config, *given])


@pytest.mark.parametrize("path", ["@x", "@x/y.nii", "$y", "$HOME/scans"])
def test_paths_that_a_config_would_evaluate_are_refused(config, path):
    given = [PROGRAM, "run", "inference", "--config_file", config, "--dataset_dir", path]
    with pytest.raises(ValueError, match=r"begins with '[@$]', .*; write it with its folder, such as '\./") as told:
        check_arguments(given)
    assert repr(path) in str(told.value)


@pytest.mark.parametrize(
    "path", ["./@x", "/data/$y", "@weights", "@#weights", "@::weights", "$@weights + '/x'", "$str(1)", "a@b", "a$"]
)
def test_other_paths_are_taken(config, path):
    check_arguments([PROGRAM, "run", "inference", "--config_file", config, "--dataset_dir", path])


@pytest.mark.parametrize("word", ["1001", "1e5", "1,2", "True", "a#1"])
@pytest.mark.parametrize(
    "name, key",
    [
        ("inference", "weights"),
        ("inference", "kernel_choice#catalogue"),
        ("train", "dataset_dir"),
        ("train", "label_dir"),
        ("train", "output_dir"),
        ("train", "weights"),
        ("train", "finetune"),
        ("train", "folds#patients"),
        ("evaluate", "source"),
        ("evaluate", "patch_weights"),
        ("report", "truth"),
    ],
)
def test_a_path_is_taken_as_typed(monkeypatch, name, key, word):
    """As MONAI's command does: python-fire takes many names for numbers, and MONAI replaces #."""
    path = f"{ROOT}/configs/{name}.json"
    words = ["run", "--config_file", path, f"--{key}", word]
    monkeypatch.setattr("sys.argv", [PROGRAM, *words])
    given = {}
    fire.Fire({"run": lambda **keys: given.update(keys)}, command=words)
    del given["config_file"]
    parser = ConfigParser(ConfigParser.load_config_file(path))
    for each, value in given.items():
        parser[each.replace("::", "#")] = value.replace("#", "::") if isinstance(value, str) else value
    parser["bundle_root"] = str(ROOT)
    parser["checked"] = {"_target_": "bundle.runtime.arguments.check_arguments"}
    parser.parse()
    monkeypatch.setattr("bundle.runtime.typed.FIRE", "nothing")
    parser.get_parsed_content("checked")
    assert parser.get_parsed_content(key) == word


def test_another_config_that_the_run_resolves_keeps_its_own(monkeypatch):
    """An evaluation resolves the config of inference, in which source and target are blocks."""
    path = f"{ROOT}/configs/evaluate.json"
    monkeypatch.setattr("sys.argv", [PROGRAM, "run", "--config_file", path, "--source", "a.nii", "--target", "b.nii"])
    parser = ConfigParser(ConfigParser.load_config_file(f"{ROOT}/configs/inference.json"))
    parser["checked"] = {"_target_": "bundle.runtime.arguments.check_arguments"}
    parser.get_parsed_content("checked")
    assert parser.get_parsed_content("source")["window"] == [-1000.0, 200.0]


@pytest.mark.parametrize("word", ["[]", "$[]"])
def test_an_empty_list_is_no_path(monkeypatch, word):
    path = f"{ROOT}/configs/train.json"
    monkeypatch.setattr("sys.argv", [PROGRAM, "run", "--config_file", path, "--cross_fitting", word])
    parser = ConfigParser({**ConfigParser.load_config_file(path), "cross_fitting": [] if word == "[]" else word})
    parser["checked"] = {"_target_": "bundle.runtime.arguments.check_arguments"}
    parser.get_parsed_content("checked")
    assert parser.get_parsed_content("cross_fitting") == []


def test_a_file_of_arguments_may_add_to_a_block_and_have_comments(tmp_path):
    config = f"{ROOT}/configs/inference.json"
    told = {"_comment": "values below 0 count", "+windowing": {"clip": False}, "+found": {"own": 1}, "found#own": 2}
    (tmp_path / "args.json").write_text(json.dumps(told))
    check_arguments([PROGRAM, "run", "--config_file", config, "--args_file", str(tmp_path / "args.json")])


@pytest.mark.parametrize("word", ["$None", "@dataset_dir", "$@dataset_dir + '/x'"])
def test_what_is_no_path_stays(monkeypatch, word):
    path = f"{ROOT}/configs/train.json"
    monkeypatch.setattr("sys.argv", [PROGRAM, "run", "--config_file", path, "--label_dir", word])
    parser = ConfigParser({**ConfigParser.load_config_file(path), "label_dir": word, "dataset_dir": "a"})
    parser["checked"] = {"_target_": "bundle.runtime.arguments.check_arguments"}
    parser.get_parsed_content("checked")
    assert parser.get_parsed_content("label_dir") == {"$None": None, "@dataset_dir": "a"}.get(word, "a/x")


def test_other_programs_are_not_looked_at(config):
    check_arguments(["pytest", "run", "--config_file", config, "--tile_sise", "1"])
    check_arguments([PROGRAM, "download", "--config_file", config, "--tile_sise", "1"])
    check_arguments([PROGRAM, "run", "--tile_sise", "1"])


@pytest.mark.parametrize(
    "given",
    [
        ["run", "-config_file", "FILES", "-tile_sise", "32"],
        ["run", "-config_file=FILES", "-tile-sise=32"],
        ["run", "inference", "init", "final", "m.json", "FILES", "--tile_sise", "32"],
        ["run_workflow", "--config_file", "FILES", "--tile_sise", "32"],
        ["run", "--config_file", "FILES", "--args_file", "ARGS"],
        ["run", "inference", "--args_file", "ARGS_ALONE"],
        ["run", "--args_file", "ARGS_ALONE", "--config_file", "FILES"],
        ["run", "--args_file", "ARGS_GOOD", "--tile_sise", "32"],
    ],
)
def test_misspelt_keys_are_refused_however_they_are_given(config, given, tmp_path):
    files = {"config_file": [str(tmp_path / "a.json"), str(tmp_path / "b.json")]}
    for name, told in {"ARGS": {}, "ARGS_ALONE": files, "ARGS_GOOD": files}.items():
        told = told if name == "ARGS_GOOD" else {**told, "tile_sise": 32}
        (tmp_path / f"{name}.json").write_text(json.dumps(told))
    words = {"FILES": config, **{name: str(tmp_path / f"{name}.json") for name in ("ARGS", "ARGS_ALONE", "ARGS_GOOD")}}
    for word, value in sorted(words.items(), key=lambda item: -len(item[0])):
        given = [value if each == word else each.replace(f"={word}", f"={value}") for each in given]
    with pytest.raises(ValueError, match=r"key --tile_sise is unknown, .* did you mean --tile_size\?"):
        check_arguments([PROGRAM, *given])


def test_legal_forms_are_taken(config, tmp_path):
    told = {"run_id": "inference", "config_file": [str(tmp_path / "a.json")], "workflow_type": "infer", "weights": None}
    (tmp_path / "args.json").write_text(json.dumps({**told, "mode#options#image#beta": 1, "kernel_pair::dose": [3, 4]}))
    check_arguments([PROGRAM, "run", "--args_file", str(tmp_path / "args.json"), "--tile_size", "-1"])
    check_arguments([PROGRAM, "run", "x", "--config_file", config, "--_meta_#version", "1", "--workflow_type", "infer"])
    check_arguments([PROGRAM, "run", "x", "-config_file", config, "-tile_size", "-5", "--", "--verbose"])


@pytest.mark.parametrize(("name", "content"), [("gone.json", None), ("list.json", "[1]")])
def test_a_file_of_arguments_that_is_none_is_told(config, tmp_path, name, content):
    if content:
        (tmp_path / name).write_text(content)
    with pytest.raises(ValueError, match=rf"args_file '.*{name}' (cannot be read|holds no mapping)"):
        check_arguments([PROGRAM, "run", "--config_file", config, "--args_file", str(tmp_path / name)])


@pytest.mark.parametrize("key", ["tile_sze", "outputdtype", "weight", "displayable_config"])
def test_misspelt_keys_of_an_overlay_are_refused(tmp_path, key):
    (tmp_path / "own.json").write_text(json.dumps({key: 32}))
    files = [f"{ROOT}/configs/inference.json", str(tmp_path / "own.json")]
    with pytest.raises(ValueError, match=rf"key '{key.split('#')[0]}' of the config is unknown, .* did you mean"):
        check_arguments([PROGRAM, "run", "--config_file", str(files)])
    with pytest.raises(ValueError, match="did you mean"):
        check_keys([], files)


@pytest.mark.parametrize(
    "content",
    [
        {"windows": [0.0, 1.0], "window": "@windows"},
        {"windows": [0.0, 1.0], "window": "%windows"},
        {"windows": [0.0, 1.0], "window": "$__local_refs['windows']"},
        {"spacing": [1.0, 1.0, 1.0]},
        {"windows": [0.0, 1.0], "window": "$[x / 2 for x in @windows]"},
        {"inferences": ["$print('a step')"], "_weight": "a comment", "author": "me"},
        {"max_epochs": 5, "tile_size": 32, "+window": [], "mode#options#own": {}},
        {"model": {"blocks": [2]}, "network_def#fine#blocks": "@model#blocks"},
        {"model": {"blocks": [2]}, "network_def#fine#blocks": "%model#blocks"},
        {"model": {"blocks": [2]}, "network_def#fine#blocks": "@###model#blocks"},
        {"windows": [0.0, 1.0], "window": "@#windows"},
    ],
)
def test_other_keys_of_an_overlay_are_taken(tmp_path, content):
    (tmp_path / "own.json").write_text(json.dumps(content))
    files = [f"{ROOT}/configs/inference.json", str(tmp_path / "own.json")]
    check_arguments([PROGRAM, "run", "--config_file", str(files)])


def test_a_key_of_an_overlay_that_an_option_refers_to_is_taken(tmp_path):
    (tmp_path / "own.json").write_text(json.dumps({"windows": [0.0, 1.0]}))
    files = [f"{ROOT}/configs/inference.json", str(tmp_path / "own.json")]
    check_arguments([PROGRAM, "run", "--config_file", str(files), "--window", "@windows"])


@pytest.mark.parametrize("key", ["calibration#source_nam", "calibration::source_nam", "cases#simulation#kernl"])
def test_misspelt_arguments_of_a_component_are_refused(key, tmp_path):
    own = {"cases#simulation": {"_target_": "bundle.evaluation.cases.Acquisition", "name": "a"}}
    (tmp_path / "own.json").write_text(json.dumps(own))
    files = [f"{ROOT}/configs/evaluate.json", str(tmp_path / "own.json")]
    near = {"kernl": "kernel"}.get(key[-5:], "source_name")
    with pytest.raises(ValueError, match=rf"key --{key} is unknown, .* did you mean --\S+#{near}\?"):
        check_arguments([PROGRAM, "run", "calibrating", "--config_file", str(files), f"--{key}", "X"])
    with pytest.raises(ValueError, match=rf"key --{key} is unknown"):
        check_keys([key], files)


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("evaluate", "evaluation#seam_side"),  # it takes that, though the config has it not
        ("evaluate", "evaluation::tuning_slices"),
        ("inference", "dataloader#pin_memory"),  # it takes anything
        ("inference", "network_def#coarse#dropout"),  # MONAI's, by its short name
        ("inference", "found#_disabled_"),
    ],
)
def test_other_arguments_of_a_component_are_taken(name, key):
    check_arguments([PROGRAM, "run", "--config_file", f"{ROOT}/configs/{name}.json", f"--{key}", "1"])


SLIDING = "monai.inferers.SlidingWindowInferer"


@pytest.mark.parametrize(
    "given",
    [
        ["--inferer#roi_size", "[8, 8, 8]", "--inferer#_target_", SLIDING],
        ["--inferer", f"{{'_target_': '{SLIDING}'}}", "--inferer::roi_size", "[8, 8, 8]"],
    ],
    ids=["what it builds", "the block"],
)
def test_the_arguments_are_those_of_the_component_that_an_option_takes_instead(given, tmp_path):
    config = [PROGRAM, "run", "--config_file", f"{ROOT}/configs/inference.json"]
    told = {word.removeprefix("--"): value for word, value in zip(given[::2], given[1::2], strict=True)}
    block = {key: {"_target_": SLIDING} if key == "inferer" else value for key, value in told.items()}
    (tmp_path / "args.json").write_text(json.dumps(block))
    for words in (given, ["--args_file", str(tmp_path / "args.json")]):
        check_arguments([*config, *words])
        for wrong in ("inferer#roi_sise", "inferer#_target", "inferrer"):
            with pytest.raises(ValueError, match=rf"key --{wrong} is unknown"):
                check_arguments([*config, *words, f"--{wrong}", "1"])


def test_an_overlay_before_the_whole_config_is_refused(tmp_path):
    """Which would replace what it sets, without a word."""
    (tmp_path / "own.json").write_text(json.dumps({"tile_size": 32}))
    own, whole = str(tmp_path / "own.json"), f"{ROOT}/configs/inference.json"
    message = rf"config_file '.*own\.json' is an overlay, and '.*inference\.json', which .* it last: .*{own}'\]\"\.$"
    for given in (str([own, whole]), f"{own},{whole}"):
        with pytest.raises(ValueError, match=message):
            check_arguments([PROGRAM, "run", "inference", "--config_file", given])
    check_arguments([PROGRAM, "run", "inference", "--config_file", str([whole, own])])


def test_misspelt_keys_of_a_workflow_in_python_are_refused():
    def made(**keys):
        return ConfigWorkflow(
            f"{ROOT}/configs/inference.json", logging_file=False, workflow_type="infer", bundle_root=str(ROOT), **keys
        )

    with pytest.raises(Exception) as error:
        made(tile_sze=32).initialize()
    assert "key 'tile_sze' of the config is unknown, and nothing refers to it; did you mean tile_size?" in (
        last_line(error.value)
    )
    made(tile_size=32, author="me").initialize()
    made(windows=[-900.0, 100.0], window="%windows").initialize()
    made(edge=[10.0, 20.0], **{"source#window": "%edge"}).initialize()
    made(model={"blocks": [2, 3, 5]}, **{"network_def#fine#blocks": "%model#blocks"}).initialize()
    with pytest.raises(Exception) as error:
        made(model={"blocks": [2]}).initialize()
    assert "key 'model' of the config is unknown" in last_line(error.value)
