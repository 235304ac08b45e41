"""The start is measured in processes of its own."""

import sys

import pytest

from benchmarks import startup


@pytest.mark.bench
@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="processor seconds of other processes are those of Unix")
def test_startup_prints_both(capsys):
    startup.run(repeats=1)
    rows = [line.split("|")[2:4] for line in capsys.readouterr().out.splitlines()[2:]]
    assert len(rows) == 2
    assert all(float(value) > 0 for row in rows for value in row)
