"""A folder takes another's place in one step, or is put right by the next process."""

import errno
import os
import signal
import sys

import pytest

from bundle.runtime import replace as module
from bundle.runtime.files import HOLDER, atomic, remove_abandoned
from bundle.runtime.replace import aside, exchange, put_back

on_linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other systems exchange names otherwise")
#: Events of Python's audit, at each of which a process is killed.
EVENTS = ("os.rename", "os.remove", "os.rmdir", "os.mkdir", "shutil.rmtree", "ctypes.call")


def write(path, content):
    """Write a folder of one file in place of another."""
    with atomic(path) as part:
        part.mkdir()
        (part / "slice").write_text(content)


def killed(path, at):
    """Write it in a process that kills itself before its event of that number; return whether it did."""
    child = os.fork()
    if not child:
        count = 0

        def watch(event, _):
            nonlocal count
            count += event in EVENTS
            if event in EVENTS and count == at + 1:
                os.kill(os.getpid(), signal.SIGKILL)

        status = 1
        try:
            sys.addaudithook(watch)
            write(path, "new")
            status = 0
        finally:
            os._exit(status)
    status = os.waitpid(child, 0)[1]
    assert status in (0, signal.SIGKILL)
    return status != 0


def cannot(monkeypatch):
    """Have the system say that it cannot exchange names."""
    monkeypatch.setattr(module, "_renameat2", lambda: None)


@pytest.mark.skipif(os.name != "posix", reason="a process is forked and killed")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("exchanging", [pytest.param(True, marks=on_linux), False])
def test_killed_at_any_event_the_earlier_folder_or_the_new_one_is_there(tmp_path, monkeypatch, exchanging):
    if exchanging:
        call = module._renameat2()

        def told(*arguments):
            sys.audit("ctypes.call", *arguments)
            return call(*arguments)

        monkeypatch.setattr(module, "_renameat2", lambda: told)
    else:
        cannot(monkeypatch)
    missing, seen = 0, set()
    path = tmp_path / "out" / "scan"
    for at in range(100):
        write(path, "old")
        died = killed(path, at)
        missing += not path.exists()
        put_back(path)
        remove_abandoned(path.parent)
        assert [entry.name for entry in path.parent.iterdir()] == ["scan"]
        seen.add((path / "slice").read_text())
        if not died:
            break
    assert not died and at > 4
    assert seen == {"old", "new"}
    assert missing == (0 if exchanging else 1)  # only between the two renames


@on_linux
@pytest.mark.parametrize("code", [errno.EINVAL, errno.ENOSYS, errno.EIO])
def test_what_a_disk_cannot_is_done_otherwise_and_what_fails_is_told(tmp_path, monkeypatch, code):
    def fails(*_):
        module.ctypes.set_errno(code)
        return -1

    monkeypatch.setattr(module, "_renameat2", lambda: fails)
    write(tmp_path / "scan", "old")
    if code == errno.EIO:
        with pytest.raises(OSError, match="Input/output error"):
            write(tmp_path / "scan", "new")
    else:
        write(tmp_path / "scan", "new")
    assert (tmp_path / "scan" / "slice").read_text() == ("old" if code == errno.EIO else "new")
    assert [entry.name for entry in tmp_path.iterdir()] == ["scan"]


@on_linux
def test_names_are_exchanged(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "inner").touch()
    (tmp_path / "b").mkdir()
    assert exchange(tmp_path / "a", tmp_path / "b")
    assert [str(path.relative_to(tmp_path)) for path in sorted(tmp_path.rglob("*"))] == ["a", "b", "b/inner"]
    with pytest.raises(FileNotFoundError):
        exchange(tmp_path / "a", tmp_path / "none")


def test_a_folder_that_cannot_be_moved_leaves_the_earlier_one(tmp_path, monkeypatch):
    cannot(monkeypatch)
    write(tmp_path / "scan", "old")
    rename = module.Path.rename

    def fails(self, target):
        if self.parent != tmp_path and target == tmp_path / "scan":
            raise OSError(errno.EIO, "Input/output error")
        return rename(self, target)

    monkeypatch.setattr(module.Path, "rename", fails)
    with pytest.raises(OSError, match="Input/output error"):
        write(tmp_path / "scan", "new")
    assert (tmp_path / "scan" / "slice").read_text() == "old" and not aside(tmp_path / "scan").exists()
    put_back(tmp_path / "scan")
    assert [entry.name for entry in tmp_path.iterdir()] == ["scan"]


@pytest.mark.skipif(os.name != "posix", reason="a process is forked and killed")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_next_file_that_is_written_there_removes_what_a_killed_process_left(tmp_path):
    """But not what another process is writing, nor what a job resumes from, nor a folder of another's."""
    kept = [".part_scan_0123456789ab", ".part_zip_01234567", ".part_mine", ".part_0123456789ab"]
    for name in kept:
        (tmp_path / name).mkdir()
    left = set()
    for at in range(100):
        died = killed(tmp_path / "scan", at)
        left |= {entry.name for entry in tmp_path.iterdir() if HOLDER.fullmatch(entry.name)}
        with atomic(tmp_path / "record") as part:
            part.write_text("whole")
            with atomic(tmp_path / "other") as inner:
                inner.write_text("whole")
        assert {entry.name for entry in tmp_path.iterdir()} - {"scan", "record", "other"} <= {
            *kept,
            aside(tmp_path / "scan").name,
        }
        if not died:
            break
    assert left and not died
