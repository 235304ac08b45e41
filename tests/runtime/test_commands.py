"""A misspelt option of a command is refused before anything is called."""

import pytest

from bundle.runtime.commands import run_command
from tests.processes import ran


@pytest.fixture
def called(monkeypatch):
    """The calls that the words of a command line make."""
    calls = []

    def write(path, noise=0.0, *, fresh=False):
        calls.append((path, noise, fresh))

    def by(*words, several=False):
        calls.clear()
        monkeypatch.setattr("sys.argv", ["write", *words])
        run_command({"write": write} if several else write)
        return calls

    return by


def test_what_fits_is_called_once(called):
    assert called("p.nii", "--noise", "60", "--fresh") == [("p.nii", 60, True)]
    assert called("write", "p.nii", several=True) == [("p.nii", 0.0, False)]
    assert called(several=True) == []


@pytest.mark.parametrize("words", [("p.nii", "--noize", "60"), ("p.nii", "1", "2"), (), ("p.nii", "--fresh", "--x=1")])
@pytest.mark.parametrize("several", [False, True])
def test_what_does_not_fit_is_told_and_nothing_is_called(called, words, several, capsys):
    if several:
        words = ("write", *words)
    with pytest.raises(SystemExit) as raised:
        called(*words, several=several)
    assert raised.value.code == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("error: ") and last.endswith("; --help lists the arguments.")


def test_help_calls_nothing(called, capsys):
    with pytest.raises(SystemExit) as raised:
        called("--help")
    assert raised.value.code == 0 and "error" not in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [
        ("bundle.examples.phantom", "p.nii.gz", "--noize", "60"),
        ("bundle.transforms.percentiles", "a.nii", "p.nii.gz", "--uper", "99"),
        ("bundle.training.data.packing", "a", "p.nii.gz", "--limt", "50MB"),
    ],
    ids=lambda words: words[0],
)
def test_a_misspelt_option_writes_nothing(tmp_path, words):
    module, *given = (str(tmp_path / word) if word.startswith(("p.", "a")) else word for word in words)
    done = ran("-m", module, *given)
    assert done.returncode == 2 and not list(tmp_path.iterdir())
    assert done.stderr.splitlines()[-1].startswith(f"error: Could not consume arg: {words[-2]}; --help lists")
