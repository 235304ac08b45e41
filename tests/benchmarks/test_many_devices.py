"""Several processes give the bytes of one; how fast they are is theirs to measure."""

from pathlib import Path

import pytest

pytest.importorskip(
    "zarr", minversion="3", reason="a volume is shared by streaming, which needs zarr 3 and Python 3.11"
)

from benchmarks import many_devices


def test_other_bytes_and_other_names_are_seen(tmp_path, monkeypatch):
    """The second run of a folder differs in one byte, the third lacks a result; what else is left is a fault."""
    made = {1: b"ab", 2: b"ac", 3: b"ab", 4: b"ab"}

    def run(_, folder, ranks, *__):
        Path(folder).mkdir()
        for name in ("a.nii", "b.nii")[: 1 if ranks == 3 else 2]:
            (Path(folder) / name).write_bytes(made[ranks])
            (Path(folder) / f"{name}{many_devices.PROVENANCE}").write_text("{}", encoding="utf-8")
        return 12.0 / ranks, 10.0, 1.0

    monkeypatch.setattr(many_devices, "run", run)
    (tmp_path / "images").mkdir()
    for name in ("a.nii", "b.nii"):
        (tmp_path / "images" / name).touch()
    rows = many_devices.measure("two", str(tmp_path / "images"), (1, 2, 3, 4), False, False, str(tmp_path))
    assert [row[-1] for row in rows] == [
        "2 of 2, every byte",
        "2 of 2, **differ**",
        "1 of 2, **differ**",
        "2 of 2, every byte",
    ]
    assert [row[3] for row in rows] == ["1.00 x", "2.00 x", "3.00 x", "4.00 x"]
    (tmp_path / "memory_4" / ".part_1").mkdir()
    with pytest.raises(RuntimeError, match="left in"):
        many_devices.hashes(str(tmp_path / "memory_4"))


def test_one_process_needs_no_launcher():
    assert "bundle.runtime.torchrun" in many_devices.command(2, False)
    alone = many_devices.command(1, True)
    assert "bundle.runtime.torchrun" not in alone and "multi_gpu" not in alone[-1]
    assert "small_network" in alone[-1]


@pytest.mark.bench
@pytest.mark.slow
def test_two_processes_give_every_byte(capsys, monkeypatch):
    """Of a volume that is shared, and of a folder of three."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    many_devices.main(side=40, volumes=3, each=32, ranks=(1, 2), small=True)
    rows = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| tiles") or "volumes" in line]
    assert len(rows) == 4 and all("every byte" in row for row in rows)
