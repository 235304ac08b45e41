"""The rows for a GPU are measured on a CPU as well: what they translate is right, whatever becomes of their speed."""

import json
import math
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

pytest.importorskip("zarr", minversion="3", reason="streaming is measured too, and needs zarr 3 and so Python 3.11")

from benchmarks import gpu, gpu_rows, memory_training
from benchmarks.gpu_rows import Setting

ROOT = Path(__file__).parents[2]
CPU = torch.device("cpu")
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="forks its rows")


@pytest.fixture(autouse=True)
def gradients():
    """Rows switch them off."""
    with torch.no_grad():
        yield


@pytest.mark.parametrize("name", ["unpinned", "overlapped", "there", "channels_first", "float32", "together_graphs"])
def test_every_way_gives_what_the_shipped_one_gives(name):
    """In several tiles, some of the same shape; to bfloat16's rounding where the CPU has it."""
    told = gpu_rows.translated(gpu_rows.variants()[name], 24, CPU, 12, 1)
    assert told["difference"] < (0.01 if not told["half"] and not gpu_rows.has_bfloat16(CPU) else 4)
    assert 0 < told["networks"] <= told["seconds"] and math.isfinite(told["first"])


def test_a_graph_is_recorded_once_for_each_shape(monkeypatch):
    recorded = []
    record = gpu_rows.calls.Graphed._recorded
    monkeypatch.setattr(
        gpu_rows.calls.Graphed, "_recorded", lambda *given: recorded.append(given[1].shape) or record(*given)
    )
    gpu_rows.translated(gpu_rows.variants()["graphs"], 24, CPU, 12, 2)
    assert len(recorded) == len(set(recorded)) == 4  # one for each scale


def test_a_wrong_way_is_seen():
    """The difference is that of the results, not of anything else."""
    wrong = gpu_rows.Variant("wrong", call=lambda cascade, _: lambda inputs, scale: cascade(inputs, scale) + 0.5)
    assert gpu_rows.translated(wrong, 24, CPU, 12, 1)["difference"] > 100


def test_a_repeated_volume_is_written_as_it_is_held(tmp_path, monkeypatch):
    import nibabel

    monkeypatch.setattr(gpu_rows, "BLOCK", 10)
    path = gpu_rows.write(str(tmp_path / "image.nii"), 24)
    voxels = nibabel.load(path).get_fdata()
    window = (-1000.0, 200.0)
    held = (gpu_rows.speed.volume(24, window, 10)[0, 0] + 1) / 2 * 1200 - 1000
    assert voxels.shape == (24, 24, 24)
    assert abs(torch.from_numpy(voxels) - held).max() < 1e-3
    assert (voxels[10:20, :10, 20:] == voxels[:10, 10:20, :4]).all()


@pytest.mark.bench
@pytest.mark.slow
def test_shares_and_figure_2_are_plain_data(monkeypatch):
    monkeypatch.setattr(memory_training, "SIDES", (16,))
    told = json.loads(json.dumps({**gpu_rows.share(24, CPU, 1, (16,)), **gpu_rows.training(CPU, 1)}))
    assert len(told["scales"]) == len(told["limit"]) == 4
    assert [row["name"] for row in told["rows"]][:2] == ["DCGAN", "Pix2Pix"]


def stand_in(monkeypatch, **rows):
    """Rows that need no network."""
    monkeypatch.setattr(gpu, "rows", lambda _: rows)
    monkeypatch.setattr(gpu, "measured", lambda name, _: rows[name]())


@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")  # its threads belong to other tests
def test_rows_that_fail_hang_or_die_are_told_and_the_others_measured_once(tmp_path, capsys, monkeypatch):
    done = tmp_path / "done"

    def good():
        with done.open("a", encoding="utf-8") as file:
            file.write("once ")
        return {"seconds": 1.0}

    def bad():
        raise RuntimeError("out of\nmemory")

    monkeypatch.setattr(gpu, "LIMIT", 5)
    monkeypatch.setattr(gpu, "LIMITS", {"hangs": 0.3})
    stand_in(monkeypatch, good=good, bad=bad, hangs=lambda: time.sleep(60), dies=lambda: os._exit(7))
    file = tmp_path / "gpu.jsonl"
    for _ in range(2):
        gpu.main("cpu", outcomes_file=str(file), figure="")
        with file.open("a", encoding="utf-8") as lines:
            lines.write('{"row": "good", "sett')  # as a stop would leave it
        file.write_text(file.read_text(encoding="utf-8") + "\n", encoding="utf-8")
    found = gpu.outcomes(file, Setting("cpu"))
    assert found["good"]["seconds"] == 1.0 and done.read_text(encoding="utf-8") == "once "
    errors = {name: told["error"] for name, told in found.items() if name != "good"}
    assert errors == {
        "bad": "RuntimeError: out of memory",
        "hangs": "not done within 0 s",
        "dies": "ended with status 7",
    }
    assert gpu.outcomes(file, Setting("cuda")) == {}
    assert "hangs: not done within 0 s" in capsys.readouterr().out


@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
def test_what_the_time_does_not_reach_is_left_for_the_next_call(tmp_path, capsys, monkeypatch):
    stand_in(monkeypatch, first=lambda: {"seconds": 1.0}, slow=lambda: time.sleep(60), last=lambda: {})
    file = tmp_path / "gpu.jsonl"
    gpu.main("cpu", minutes=0.02, outcomes_file=str(file), figure="")
    assert set(gpu.outcomes(file, Setting("cpu"))) == {"first"}
    assert "the same command goes on with slow, last" in capsys.readouterr().out
    with pytest.raises(ValueError, match="row 'other' is not known; take one of first, slow, last"):
        gpu.main("cpu", only="other", outcomes_file=str(file))


def test_tables_tell_what_is_measured_and_what_is_not(capsys):
    gpu.tables({}, Setting())
    empty = capsys.readouterr().out
    assert empty.count("not measured") == len(gpu_rows.variants()) + 5
    found = {
        "2GiB": {
            "seconds": 1.234,
            "networks": 0.5,
            "first": 3.0,
            "allocated": 1.5,
            "reserved": 1.75,
            "difference": 0.0,
        },
        "1GiB": {"error": "OutOfMemoryError: CUDA"},
        "share": {"scales": [0.5, 1.5], "limit": [0.25, 1.25]},
    }
    gpu.tables(found, Setting())
    lines = capsys.readouterr().out.splitlines()
    assert "| as shipped | 1.23 | 0.5 | 3 | 1.5 | 1.75 | 0 |" in lines
    assert "| as shipped, 1 GiB | failed: OutOfMemoryError: CUDA | - | - | - | - | - |" in lines
    assert "| all | 2.000 | 1.500 | 75% |" in lines


@pytest.mark.bench
@pytest.mark.slow
def test_the_script_measures_every_row_on_a_cpu(tmp_path):
    """All but Fig. 2, whose count alone takes half a minute."""
    names = [name for name in gpu_rows.rows(Setting()) if name != "training"]
    sides = [
        "--device",
        "cpu",
        "--side",
        "40",
        "--large",
        "48",
        "--tile_size",
        "20",
        "--backend",
        "eager",
        "--turns",
        "1",
    ]
    files = [
        "--outcomes_file",
        str(tmp_path / "gpu.jsonl"),
        "--folder",
        str(tmp_path),
        "--minutes",
        "60",
        "--limit",
        "600",
    ]
    environment = {**os.environ, "PY": sys.executable, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    command = [str(ROOT / "benchmarks" / "gpu.sh"), *sides, *files, "--only", str(names)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    lines = (tmp_path / "gpu.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["row"] for line in lines] == names
    assert "failed" not in done.stdout and done.stdout.count("not measured") == 1
