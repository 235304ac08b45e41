"""The benchmarks of inference run, and say what they are there to say; how fast and how large is theirs to measure."""

import re

import pytest
import torch

pytest.importorskip("zarr", minversion="3", reason="streaming is measured too, and needs zarr 3 and so Python 3.11")

from benchmarks import memory_inference, seams, speed


def table(printed):
    """The rows of the printed tables, by their first cell."""
    rows = [[cell.strip() for cell in line.strip("| ").split("|")] for line in printed.splitlines() if "|" in line]
    return {row[0]: row[1:] for row in rows}


@pytest.fixture(autouse=True)
def gradients():
    """The benchmarks switch them off."""
    yield
    torch.set_grad_enabled(True)


def test_without_a_halo_a_generator_keeps_the_grid_and_its_middle():
    cascade, _ = speed.shipped()
    with torch.no_grad():
        inputs = torch.randn(1, 3, 32, 32, 16)
        padded = speed.without_halo(cascade.fine[-1])(inputs)
        inner = cascade.fine[-1](inputs)
    assert padded.shape[2:] == inputs.shape[2:]
    far = [(a - b) // 2 for a, b in zip(padded.shape[2:], inner.shape[2:], strict=True)]
    middle = padded[(..., *(slice(f, side - f) for f, side in zip(far, padded.shape[2:], strict=True)))]
    assert torch.allclose(middle, inner, atol=1e-5)


def test_speed_prints_every_scale_and_method(tmp_path, capsys):
    speed.main(32, (24, 32), 16, block=16, patch=16, device="cpu", figure=str(tmp_path / "a.png"))
    rows = table(capsys.readouterr().out)
    assert {"0", "1", "2", "3", "all", "ours", speed.SLIDING, "non-local means 3D", "24", "32"} <= set(rows)
    assert rows["3"][0] == "32x32x32"
    assert (tmp_path / "a.png").stat().st_size > 1000


def test_seams_are_those_of_others(tmp_path, capsys):
    seams.main(48, 16, figure=str(tmp_path / "a.png"))
    rows = table(capsys.readouterr().out)
    worst = {name: float(row[0]) for name, row in rows.items() if re.fullmatch(r"\d[\d.e+-]*", row[0])}
    assert worst["ours"] < 1e-2
    assert worst["ours, with instance normalisation"] > 1
    assert all(value > 1 for name, value in worst.items() if name.startswith("MONAI"))


@pytest.mark.bench
@pytest.mark.slow
def test_memory_is_measured_for_every_method_in_a_process_of_its_own(tmp_path, capfd):
    methods = list(memory_inference.METHODS)
    figure = str(tmp_path / "a.png")
    memory_inference.main((32,), small=True, methods=methods[::3], most=31, paper=(512, 2048), figure=figure)
    rows = table(capfd.readouterr().out)
    streamed, whole, sliding = (next(rows[key] for key in rows if key.startswith(f"{name}: ")) for name in methods[:3])
    assert float(streamed[1]) == pytest.approx(float(streamed[0]), rel=0.3) and float(streamed[1]) < 0.5
    assert float(sliding[1]) > float(whole[1]) > 60
    assert float(rows[methods[0]][0].split()[0]) > 0
    assert rows[methods[3]] == ["-"]  # not for volumes that large
    assert (tmp_path / "a.png").stat().st_size > 1000
    assert not list(tmp_path.glob("*.nii"))
