"""A path is the one that was typed, whatever python-fire takes it for."""

import fire
import pytest

from bundle.runtime import typed_path

WORDS = ["plain", "1001", "0001", "1e5", "1,2", "[a]", "{a}", "True", "None", "1.0", "(1)", "a b", "a#1", "2024-01-01"]


def run(_run_id="", **keys):
    """As MONAI's command takes its arguments: what is nothing is dropped."""
    keys = {"dataset_dir": "samples", **{key: value for key, value in keys.items() if value is not None}}
    return typed_path("dataset_dir", keys["dataset_dir"])


@pytest.mark.parametrize("word", WORDS)
@pytest.mark.parametrize("form", ["--dataset_dir {}", "--dataset_dir={}", "--dataset-dir={}"])
def test_words_of_the_command_line(word, form):
    command = ["run", "inference", *form.replace(" ", "\0").format(word).split("\0"), "--output_dir", "7"]
    assert fire.Fire({"run": run}, command=command) == word


@pytest.mark.parametrize("word", WORDS)
def test_words_of_the_interpreter(monkeypatch, word):
    monkeypatch.setattr("sys.argv", ["monai.bundle", "run", "--dataset_dir", word])
    monkeypatch.setattr("bundle.runtime.typed.FIRE", "nothing")
    value = fire.parser.DefaultParseValue(word)
    assert typed_path("dataset_dir", "samples" if value is None else value) == word


@pytest.mark.parametrize("word", ["a#1", "#1", "/data/a#1/b"])
def test_signs_that_monai_replaces(monkeypatch, word):
    monkeypatch.setattr("sys.argv", ["monai.bundle", "run", "--dataset_dir", word])
    assert typed_path("dataset_dir", str(fire.parser.DefaultParseValue(word)).replace("#", "::")) == word


def test_a_program_s_own_path_stays(monkeypatch, tmp_path):
    """Also where the command line has another one, of another run."""
    monkeypatch.setattr("sys.argv", ["monai.bundle", "run", "--dataset_dir", "1001"])
    assert typed_path("dataset_dir", str(tmp_path)) == str(tmp_path)
    assert typed_path("dataset_dir", tmp_path) == str(tmp_path)
    assert typed_path("output_dir", 1001) == "1001"


@pytest.mark.parametrize("value", [True, [1, 2], {"a": 1}, None])
def test_what_is_no_path_is_told(monkeypatch, value):
    monkeypatch.setattr("sys.argv", ["monai.bundle"])
    with pytest.raises(ValueError, match=r"dataset_dir .* is no path; write it as text"):
        typed_path("dataset_dir", value)
