"""A volume goes through in two goes, and what it took is told; the sides that matter are measured by hand."""

import shutil
from collections import namedtuple
from pathlib import Path

import pytest

pytest.importorskip("zarr", minversion="3", reason="streaming needs zarr 3, which needs Python 3.11")

from benchmarks import large_volume
from benchmarks.large_volume import Run, finished, main, named, on_disk, one, shapes_of, watched
from bundle.examples.phantom.__main__ import write


@pytest.mark.bench
@pytest.mark.slow
def test_a_killed_run_is_resumed_and_all_files_are_gone(tmp_path, monkeypatch):
    """The first go ends where it is said, whoever is busy; its result is that of one go, or it is refused."""
    monkeypatch.setattr(large_volume, "PAUSE", 0.01)
    runs = one((72,) * 3, (True, "500MiB", 12), 0.1, False, tmp_path)
    assert [run.killed for run in runs] == [True, False]
    assert all(2**27 < run.memory < 2**32 for run in runs)
    assert all(run.scratch > 0 and run.disk >= run.scratch + 2 * 72**3 for run in runs)
    assert not list(tmp_path.iterdir())


def test_a_run_that_fails_is_told(tmp_path):
    (tmp_path / "scan.nii").write_bytes(b"none")
    with pytest.raises(ValueError, match=r"scan\.nii"):
        watched(tmp_path / "scan.nii", tmp_path / "out", ((True, "500MiB", 12), False), 1)


def test_without_room_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: namedtuple("Usage", "total used free")(0, 0, 10**9))
    with pytest.raises(RuntimeError, match=r"2048\^3 voxels need about 55834574848 bytes of disk, and 1000000000 are"):
        one((2048,) * 3, (True, "500MiB", 128), 0.5, False, tmp_path)
    assert not list(tmp_path.iterdir())


def test_scratch_is_what_is_no_image(tmp_path):
    part = tmp_path / ".part_scan" / "finished"
    part.mkdir(parents=True)
    for name in ("0", "128"):
        (part / f"{name}.npy").write_bytes(bytes(5000))
    write(str(tmp_path / "scan_translated.nii"), (16, 16, 16))
    scratch, whole = on_disk(tmp_path)
    assert scratch == 2 * 8192 and whole - scratch == 512 * (tmp_path / "scan_translated.nii").stat().st_blocks
    assert finished(tmp_path) == 128 and finished(part) == 0


@pytest.mark.parametrize(
    ("runs", "told"),
    [
        ([Run(2**30, 10, 20), Run(2**31 + 2**29, 10, 20)], r"takes 2\.50 GiB of memory, more than 1"),
        ([Run(2**20, 4 * 2048**3, 5 * 2048**3)], "more disk than 3.0 bytes a voxel of scratch"),
        ([Run(2**20, 10, 8 * 2048**3)], r"or 7\.0 of all"),
        ([Run(2**20, 10, 20)], ""),
    ],
)
def test_more_than_is_allowed_is_an_error(tmp_path, monkeypatch, capsys, runs, told):
    monkeypatch.setattr(large_volume, "one", lambda *_: runs)
    monkeypatch.setattr(large_volume, "measured", lambda *_: (0.0, 0.0, 0.0))
    if told:
        with pytest.raises(SystemExit, match=told):
            main(2048, folder=str(tmp_path / "out"))
    else:
        main(2048, folder=str(tmp_path / "out"))
    assert "| 2048^3 |" in capsys.readouterr().out and Path(tmp_path / "out").exists()


def test_memory_that_grows_is_an_error(tmp_path, monkeypatch):
    peaks = iter([2**29, int(1.2 * 2**29)])
    monkeypatch.setattr(large_volume, "one", lambda *_: [Run(next(peaks))])
    monkeypatch.setattr(large_volume, "measured", lambda *_: (0.0, 0.0, 0.0))
    with pytest.raises(SystemExit, match="memory differs by more than 10%"):
        main((64, 128), folder=str(tmp_path / "out"))


def test_a_volume_need_not_be_a_cube():
    assert shapes_of(512) == [(512, 512, 512)]
    assert shapes_of((64, "32x16x8")) == shapes_of("64,32x16x8") == [(64, 64, 64), (32, 16, 8)]
    assert [named(shape) for shape in shapes_of("64,32x16x8")] == ["64^3", "32 x 16 x 8"]
