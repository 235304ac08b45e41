"""A path is the one that was typed, whatever python-fire takes it for."""

from pathlib import Path

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


def test_a_list_of_paths_is_taken_if_none_is_called_so(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for word in ("['a.nii','b.nii']", "['a.nii', 'b.nii']", "('a.nii','b.nii')"):
        monkeypatch.setattr("sys.argv", ["monai.bundle", "run", "--dataset_dir", word])
        value = fire.parser.DefaultParseValue(word)
        assert typed_path("dataset_dir", value, several=True) == ["a.nii", "b.nii"]
        assert typed_path("dataset_dir", value) == word
        (tmp_path / word).mkdir()
        assert typed_path("dataset_dir", value, several=True) == word
    assert typed_path("output", [tmp_path, "x"], several=True) == [str(tmp_path), "x"]


def test_a_pattern_that_the_shell_has_replaced_is_told(monkeypatch):
    for words in (["--dataset_dir", "a.nii", "b.nii"], ["--dataset_dir=a.nii", "b.nii"]):
        monkeypatch.setattr("sys.argv", ["monai.bundle", "run", *words, "--output_dir", "x"])
        with pytest.raises(
            ValueError, match=r"dataset_dir 'a\.nii' is followed by 'b\.nii'; put a pattern, a list, or "
        ):
            typed_path("dataset_dir", "a.nii")
    assert typed_path("output_dir", "x") == "x"


@pytest.mark.parametrize("value", ["", " "])
def test_nothing_is_no_path(monkeypatch, value):
    monkeypatch.setattr("sys.argv", ["monai.bundle", "run", "--dataset_dir", value])
    with pytest.raises(ValueError, match="is empty; give a path"):
        typed_path("dataset_dir", value)


def test_of_two_names_that_configs_do_not_tell_apart_the_one_that_exists_is_taken(monkeypatch, tmp_path):
    monkeypatch.setattr("sys.argv", ["program"])
    given = f"{tmp_path}/a::1"
    with pytest.raises(ValueError, match=r"may also be .*: configs read # as ::; make the one that is meant first"):
        typed_path("output_dir", given)
    (tmp_path / "a#1").mkdir()
    assert typed_path("output_dir", given) == f"{tmp_path}/a#1"
    assert typed_path("output_dir", f"{given}/new") == f"{tmp_path}/a#1/new"
    assert typed_path("output_dir", Path(given)) == given
    (tmp_path / "a::1").mkdir()
    with pytest.raises(ValueError, match="may also be"):
        typed_path("output_dir", given)


@pytest.mark.parametrize("value", [True, [1, 2], {"a": 1}, None])
def test_what_is_no_path_is_told(monkeypatch, value):
    monkeypatch.setattr("sys.argv", ["monai.bundle"])
    with pytest.raises(ValueError, match=r"dataset_dir .* is not a path; write it as text"):
        typed_path("dataset_dir", value)
