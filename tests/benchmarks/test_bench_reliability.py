"""Fuzzing, soaking and mutating run, and say what they are there to say; what they find is theirs to measure."""

import json
import subprocess
import sys
from pathlib import Path
from random import Random

import pytest

pytest.importorskip("zarr", minversion="3", reason="OME-Zarr is damaged too, and needs zarr 3 and so Python 3.11")

from benchmarks import mutants, mutants_drawn
from benchmarks.fuzz_mutations import ANYWHERE, KNOWING, mutate

ROOT = Path(__file__).parents[2]


def ran(*arguments):
    """What a command prints; in a process of its own, as one that has used ITK must not fork."""
    done = subprocess.run([sys.executable, "-m", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def table(printed):
    """The rows of the printed tables, by their first cell."""
    rows = [[cell.strip() for cell in line.strip("| ").split("|")] for line in printed.splitlines() if "|" in line]
    return {row[0]: row[1:] for row in rows}


@pytest.mark.parametrize("damage", [*ANYWHERE, *dict.fromkeys(one for several in KNOWING.values() for one in several)])
@pytest.mark.parametrize("data", [b"", b"x", bytes(range(256)) * 4, b"NDims = 3\nDimSize = 4 5 6\n\n", b'{"a": [1]}'])
def test_damage_takes_any_bytes_and_follows_from_its_seed(damage, data):
    for seed in range(20):
        assert damage(data, Random(seed)) == damage(data, Random(seed))


def test_a_mutant_is_always_the_same(tmp_path):
    made = []
    for name in "ab":
        (tmp_path / name).mkdir()
        (tmp_path / name / "scan.mhd").write_bytes(b"NDims = 3\nElementDataFile = scan.raw\n")
        (tmp_path / name / "scan.raw").write_bytes(bytes(100))
        random = Random("0/7")
        told = [mutate(tmp_path / name, random) for _ in range(8)]
        made.append((told, [file.read_bytes() for file in sorted((tmp_path / name).iterdir())]))
    assert made[0] == made[1]


@pytest.mark.bench
@pytest.mark.slow
def test_fuzzing_counts_and_repeats_a_mutant(tmp_path):
    rows = table(ran("benchmarks.fuzz", "--number", "25", "--keep", str(tmp_path / "kept")))
    assert rows["seed"][:3] == ["mutants", "read", "refused"]
    assert int(rows["all"][0]) == 25 == sum(map(int, rows["all"][1:]))
    told = [ran("benchmarks.fuzz", "--only", "3") for _ in range(2)]
    assert told[0] and told[0].split(";")[:3] == told[1].split(";")[:3]


@pytest.mark.bench
@pytest.mark.slow
def test_a_soak_counts_every_try():
    rows = table(ran("benchmarks.soak", "--volumes", "2", "--kills", "1", "--pairs", "1"))
    assert rows["kills"][:2] == ["1", "1"]
    assert rows["volumes, in memory"][0] == "2" and rows["volumes, streamed"][0] == "2"
    assert sum(int(row[0]) for name, row in rows.items() if name.startswith("pairs: ")) == 1


def test_a_mutant_is_one_small_change_that_python_reads():
    patterns = [pattern for pattern, _ in mutants.TESTS]
    found = mutants_drawn.drawn(200, 3, patterns)
    assert len({mutant.name for mutant in found}) == 200
    assert found == mutants_drawn.drawn(200, 3, patterns) != mutants_drawn.drawn(200, 4, patterns)
    assert found[:50] == mutants_drawn.drawn(50, 3, patterns)
    for mutant in found:
        source = (ROOT / mutant.file).read_text(encoding="utf-8")
        changed = mutant.applied(source)
        compile(changed, mutant.file, "exec")
        assert changed != source and changed.count("\n") <= source.count("\n")
        assert all((ROOT / test).exists() for test in mutants.tests_of(mutant.file))


def test_an_outcome_holds_until_the_module_changes_and_a_survivor_until_its_tests_do(tmp_path, monkeypatch):
    names = [f"{name}.py" for name in ("module", "tests")]
    for name in names:
        (tmp_path / name).write_text("1")
    monkeypatch.setattr(mutants, "ROOT", tmp_path)
    monkeypatch.setattr(mutants, "TESTS", (("module.py", "tests.py"),))
    killed, survived = (mutants_drawn.Mutant("module.py", 1, 0, 1, 1, "1", after) for after in "23")
    record = mutants.Record(tmp_path / "record.jsonl")
    record.note(killed, "killed")
    record.note(survived, "survived")

    def told():
        again = mutants.Record(tmp_path / "record.jsonl")
        return [again.outcome(mutant) for mutant in (killed, survived)]

    assert told() == ["killed", "survived"]
    (tmp_path / "tests.py").write_text("2")
    assert told() == ["killed", ""]
    record.note(survived, "killed")
    assert told() == ["killed", "killed"]
    (tmp_path / "module.py").write_text('"""Only a docstring."""\n1  # and a comment')
    assert told() == ["killed", "killed"]
    (tmp_path / "module.py").write_text("2")
    assert told() == ["", ""]


@pytest.mark.bench
@pytest.mark.slow
def test_mutants_are_tested_and_not_tested_again(tmp_path):
    record = tmp_path / "outcomes.jsonl"
    command = ["benchmarks.mutants", "--only", "bundle/images/packed.py", "--number", "3000", "--outcomes", str(record)]
    rows = table(ran(*command, "--most", "1"))
    assert sum(map(int, rows["all"])) == 1 == len(record.read_text().splitlines())
    assert table(ran(*command, "--most", "0")) == rows
    assert json.loads(record.read_text())["outcome"] in ("killed", "survived", "timed out")
