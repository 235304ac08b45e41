"""A pattern is what no path is called; what it finds keeps its folders."""

from pathlib import Path

import pytest

from bundle.runtime import root_of
from bundle.runtime.patterns import is_pattern, matching


@pytest.fixture
def here(tmp_path, monkeypatch):
    for name in ("a/1.nii", "a/b/2.nii", "a/.c/3.nii", "a/.4.nii", "[x]/5.nii"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "a" / "b" / "loop").symlink_to(tmp_path / "a", target_is_directory=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("a/*.nii", ["a/1.nii"]),
        ("*/?.nii", ["[x]/5.nii", "a/1.nii"]),
        ("a/**/*.nii", ["a/1.nii", "a/b/2.nii"]),
        ("a/.*.nii", ["a/.4.nii"]),
        ("[x]/*", ["[x]/5.nii"]),
        ("[a]/[0-9].nii", ["a/1.nii"]),
    ],
)
def test_what_a_pattern_finds(here, pattern, expected):
    assert is_pattern(pattern)
    assert [str(path) for path in matching(pattern)] == expected
    assert [str(path) for path in matching(here / pattern)] == [str(here / name) for name in expected]


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("path", ["a", "[x]", "[x]/5.nii", "nowhere", "a/b/loop"])
def test_what_is_no_pattern(path):
    assert not is_pattern(path)


@pytest.mark.parametrize(
    ("path", "root"),
    [
        ("a/1.nii", "a/1.nii"),
        (["a"], "a"),
        (["nowhere"], "nowhere"),
        ("a/*.nii", "{}/a"),
        ("a/b/*/x/*", "{}/a/b"),
        ("*", "{}"),
        (["a/1.nii", "a/b/2.nii"], "{}/a"),
        (["a/b/*", "[x]/5.nii"], "{}"),
    ],
)
def test_whose_structure_results_keep(here, path, root):
    assert root_of(path) == root.format(here)
    assert root_of(path if isinstance(path, list) else Path(path)) == root.format(here)
