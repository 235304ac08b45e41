"""What Windows, macOS and some disks lack has another way, each switched on here by taking it away."""

import ctypes
import errno
import io
import os
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from bundle.images import decoder
from bundle.images.image import ImageError
from bundle.images.results import plan_results
from bundle.runtime import host_memory, malloc, system
from bundle.runtime.files import atomic, remove_folder
from bundle.runtime.locks import LockedError, locked
from tests import like_windows

try:
    import fcntl
except ImportError:  # Windows itself
    fcntl = None  # type: ignore[assignment]

posix = pytest.mark.skipif(fcntl is None, reason="this system has other locks")
strict = pytest.mark.skipif(
    sys.platform != "linux" or sys.version_info < (3, 11), reason="Windows' rules are imitated on Linux, from 3.11 on"
)


@pytest.fixture
def windows(monkeypatch):
    """Windows' rules for files."""
    like_windows.install(monkeypatch.setattr)


@pytest.mark.parametrize("missing", [TypeError, OSError, AttributeError])
def test_a_c_library_without_settings_of_the_heap_is_left_alone(monkeypatch, missing):
    """As Windows has none by that name, and macOS and musl have one without them."""

    def library(name):
        assert name is None
        if missing is AttributeError:
            return object()
        raise missing

    monkeypatch.setattr(ctypes, "CDLL", library)
    malloc.set_up_malloc.cache_clear()
    assert list(malloc.trim_malloc(range(9), every=2)) == list(range(9))
    malloc.set_up_malloc.cache_clear()


def test_memory_is_told_by_what_the_system_has(monkeypatch, tmp_path):
    monkeypatch.setattr(host_memory, "LIMITS", ())
    status = tmp_path / "status"
    status.write_text("Name:\tpython\nVmHWM:\t  2048 kB\nMemAvailable:   3072 kB\n")
    monkeypatch.setattr(host_memory, "STATUS", status)
    monkeypatch.setattr(host_memory, "MEMINFO", status)
    assert host_memory.peak_memory() == 2 * 2**20 and host_memory.free_memory() == 3 * 2**20
    for name in ("STATUS", "MEMINFO"):  # macOS
        monkeypatch.setattr(host_memory, name, tmp_path / "none")
    pages = {"SC_PHYS_PAGES": 1000, "SC_PAGE_SIZE": 4096}
    monkeypatch.setattr(os, "sysconf", pages.__getitem__, raising=False)
    assert host_memory.free_memory() == 4096 * 500 and host_memory.all_memory() == 4096 * 1000
    usage = SimpleNamespace(RUSAGE_SELF=0, getrusage=lambda _: SimpleNamespace(ru_maxrss=7000))
    monkeypatch.setattr(host_memory, "resource", usage)
    for name, unit in (("darwin", 1), ("linux", 1024)):
        monkeypatch.setattr(sys, "platform", name)
        assert host_memory.peak_memory() == 7000 * unit
    monkeypatch.setattr(host_memory, "resource", None)  # Windows
    monkeypatch.delattr(os, "sysconf")
    assert host_memory.peak_memory() is None
    assert host_memory.free_memory() == 2**32 and host_memory.all_memory() == 2**63


def test_what_a_container_has_read_from_files_counts_as_free(monkeypatch, tmp_path):
    """Its cache is given back when memory is needed; without the third file, all that is used counts as used."""
    most, used = tmp_path / "memory.max", tmp_path / "memory.current"
    most.write_text("1000\n")
    used.write_text("900\n")
    monkeypatch.setattr(host_memory, "LIMITS", ((most, used, "inactive_file"),))
    assert host_memory.free_memory() == 100
    (tmp_path / "memory.stat").write_text("anon 300\ninactive_file 550\nactive_file 50\n")
    assert host_memory.free_memory() == 650


def test_an_image_is_opened_without_limits_where_there_are_none(monkeypatch):
    monkeypatch.setitem(sys.modules, "resource", None)
    decoder._limit(1)
    asked = []

    def refused(kind, limits):
        asked.append((kind, limits))
        raise ValueError("current limit exceeds maximum limit")

    names = {"RLIMIT_DATA": "data", "RLIMIT_FSIZE": "size", "RLIMIT_CORE": "core"}
    monkeypatch.setitem(sys.modules, "resource", SimpleNamespace(**names, setrlimit=refused))
    decoder._limit(1)
    assert asked == [("data", (1, 1)), ("size", (decoder.SLICE,) * 2), ("core", (0, 0))]


@strict
@pytest.mark.usefixtures("windows")
def test_files_and_folders_appear_and_are_replaced_by_windows_rules(tmp_path):
    for text in ("one", "two"):
        with atomic(tmp_path / "file") as part:
            part.write_text(text)
        with atomic(tmp_path / "folder") as part:
            part.mkdir()
            (part / text).write_text(text)
    assert (tmp_path / "file").read_text() == "two"
    assert [path.name for path in (tmp_path / "folder").iterdir()] == ["two"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]


@strict
@pytest.mark.usefixtures("windows")
def test_a_file_that_another_program_has_open_for_a_moment_is_waited_for(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("one")
    reader = (tmp_path / "file").open()
    monkeypatch.setattr(system.time, "sleep", lambda _: reader.close())
    with atomic(tmp_path / "file") as part:
        part.write_text("two")
    assert (tmp_path / "file").read_text() == "two"


@strict
@pytest.mark.usefixtures("windows")
def test_one_that_stays_open_is_told_and_what_was_there_stays(tmp_path, monkeypatch):
    monkeypatch.setattr(system, "PAUSES", (0.0, 0.0))
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "slice").write_text("one")
    with (
        (tmp_path / "folder" / "slice").open(),
        pytest.raises(OSError, match=r"not written: '.*folder': .*open elsewhere"),
        atomic(tmp_path / "folder") as part,
    ):
        part.mkdir()
    assert (tmp_path / "folder" / "slice").read_text() == "one"
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


@strict
@pytest.mark.usefixtures("windows")
def test_the_rules_are_there(tmp_path):
    """Of the tests above: without the other ways, these would fail."""
    (tmp_path / "file").write_text("one")
    with (tmp_path / "file").open() as reader:
        for act in ((tmp_path / "file").unlink, lambda: (tmp_path / "file").rename(tmp_path / "other")):
            with pytest.raises(PermissionError, match="as Windows says"):
                act()
        with pytest.raises(OSError, match="open for reading alone"):
            os.fsync(reader.fileno())
        remove_folder(tmp_path)  # tries, and raises nothing
    assert (tmp_path / "file").exists()
    remove_folder(tmp_path)
    assert not tmp_path.exists()


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc, which Linux has")
def test_a_disk_that_flushes_no_folders_is_enough(tmp_path, monkeypatch):
    flush, folders = os.fsync, []

    def fsync(handle):
        if Path(f"/proc/self/fd/{handle}").is_dir():
            folders.append(handle)
            raise OSError(errno.EINVAL, "Invalid argument")
        flush(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    with atomic(tmp_path / "folder") as part:
        part.mkdir()
        (part / "file").write_text("whole")
    assert len(folders) == 2 and (tmp_path / "folder" / "file").read_text() == "whole"


@posix
@pytest.mark.parametrize("code", [errno.ENOTSUP, errno.ENOLCK, errno.ENOSYS])
@pytest.mark.filterwarnings("ignore:flock not supported")
def test_a_disk_without_locks_keeps_them_by_files(tmp_path, monkeypatch, code):
    def flock(*_):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", flock)
    for _ in range(2):
        with locked(tmp_path / "scan"):
            with pytest.raises(LockedError, match=f"being worked on by .*{os.getpid()}"), locked(tmp_path / "scan"):
                pass
            with locked(tmp_path / "other"):
                pass
        assert not list(tmp_path.iterdir())


@posix
def test_another_error_of_a_lock_is_told(tmp_path, monkeypatch):
    def flock(*_):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.raises(OSError, match="Input/output error"), locked(tmp_path / "scan"):
        pass


def test_results_of_one_name_but_for_capitals_are_refused_where_these_are_the_same(tmp_path, monkeypatch):
    images = [str(tmp_path / name) for name in ("A.nii", "a.nii")]
    for image in images:
        Path(image).write_bytes(b"image")
    for same in (False, True):
        monkeypatch.setattr(system, "ignores_case", lambda _, same=same: same)
        if not same:
            assert len(plan_results(images, tmp_path / "out")) == 2
            continue
        with pytest.raises(ImageError, match=r"images '.*A\.nii' and '.*a\.nii' would both give"):
            plan_results(images, tmp_path / "out")


def test_a_disk_is_asked_whether_capitals_differ(tmp_path, monkeypatch):
    """By what lies there; each is looked for under the other spelling."""
    (tmp_path / "1").mkdir()
    assert system.ignores_case(tmp_path / "new" / "deep") is system.ignores_case(tmp_path)
    (tmp_path / "Scan.nii").touch()
    if not system.ignores_case(tmp_path):
        exists = Path.exists

        def folding(path):
            return exists(path) or any(path.name.lower() == each.name.lower() for each in path.parent.iterdir())

        monkeypatch.setattr(Path, "exists", folding)
        assert system.ignores_case(tmp_path) is True
        (tmp_path / "sCAN.NII").touch()
        monkeypatch.undo()
        assert system.ignores_case(tmp_path) is False


def test_names_are_the_same_by_capitals_and_accents():
    assert system.name_key("/A/\u00e9", case=True) != system.name_key("/a/e\u0301", case=True)
    assert system.name_key("/A/\u00e9", case=False) == system.name_key("/a/e\u0301", case=False)


@posix
def test_a_postfix_that_windows_would_hide_is_refused_there(tmp_path, monkeypatch):
    (tmp_path / "a.nii").write_bytes(b"image")
    keys = [str(tmp_path / "a.nii")], tmp_path / "out", "soft:B30"
    assert list(plan_results(*keys).values()) == [tmp_path / "out" / "a_soft:B30.nii"]
    monkeypatch.setattr(system, "WINDOWS", True)
    with pytest.raises(
        ImageError, match="output_postfix 'soft:B30' is not part of a file's name; take one without any"
    ):
        plan_results(*keys)


def test_a_name_that_the_terminal_has_no_letters_for_is_printed(monkeypatch):
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, io.TextIOWrapper(io.BytesIO(), encoding="cp1252"))
    with pytest.raises(UnicodeEncodeError):
        print("written: 影像.nii")
    system.print_any_name()
    for stream in (sys.stdout, sys.stderr):
        print("written: 影像.nii", file=stream, flush=True)
        assert stream.buffer.getvalue().decode("cp1252").endswith("written: \\u5f71\\u50cf.nii\n")
