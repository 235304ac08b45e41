"""Texts that are data are not read as code, whatever they look like."""

from pathlib import Path

import pytest
from fire.parser import DefaultParseValue
from monai.bundle import ConfigParser

from bundle.runtime.literal import check_literal, literal_path, literal_word

NAMES = [
    *("$open('ran', 'w')", "@seed.nii.gz", "@seed", "%dose.nii.gz", "%seed", "$None", "['$1', 'a']", "{'a': '$1'}"),
    *("{'_target_': 'builtins.open', 'file': 'ran', 'mode': 'w'}", "{_target_: builtins.open}", "'$1 + 1'", "None"),
    *("1001", "1e5", "1,2", "True", "a b.nii", "./$x", "-x"),
]


def resolved(value: object) -> object:
    """A value as a config gives it back, beside a key that it may refer to."""
    return ConfigParser({"seed": 7, "path": value}).get_parsed_content("path")


@pytest.mark.parametrize("name", NAMES)
def test_a_path_that_was_typed_is_that_path(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = resolved(DefaultParseValue(literal_word(name)))
    assert isinstance(found, str) and Path(found) == Path(name)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", NAMES)
def test_a_path_from_python_is_that_path(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert Path(resolved(literal_path(name))) == Path(name)
    assert Path(resolved(literal_path(Path(name)))) == Path(name)
    assert not list(tmp_path.iterdir())


def test_a_list_of_paths(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert literal_word("['a.nii','b']", several=True) == "['a.nii','b']"
    assert DefaultParseValue(literal_word("['@seed','b']", several=True)) == ["./@seed", "b"]
    (tmp_path / "['@seed','b']").touch()
    assert literal_word("['@seed','b']", several=True) == "./['@seed','b']"


@pytest.mark.parametrize(
    "value", ["$1", "@seed", "%seed", ["a", "$1"], {"a": ["@seed"]}, {"_target_": "os.getcwd"}, ({"a": "%seed"},)]
)
def test_code_is_refused(value):
    with pytest.raises(ValueError, match=r"series_description .* would be read as code: .*; code belongs in"):
        check_literal("series_description", value)


@pytest.mark.parametrize("value", ["", "a$", "50 %", "a@b", "$None", None, 7, ["a", {"b": "c"}], "./$x"])
def test_other_values_are_taken(value):
    check_literal("series_description", value)
