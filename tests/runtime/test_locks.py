"""Locks: one holder at a time, who says who it is, and nothing left of it."""

import os
import socket
import subprocess
import sys
import time

import pytest

from bundle.runtime.files import PART, atomic, remove_abandoned
from bundle.runtime.locks import HeldLock, LockedError, locked

HOLDING = """
import sys, time
from bundle.runtime.files import atomic
from bundle.runtime.locks import locked
path, how = sys.argv[1:]
with (locked if how == "lock" else atomic)(path) as part:
    if part:
        part.write_text("half")
    print("held", flush=True)
    time.sleep(60)
"""


def holding(path, how="lock"):
    """Another process that holds the lock of a path, or writes a file there."""
    process = subprocess.Popen([sys.executable, "-c", HOLDING, str(path), how], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    return process


def test_a_second_process_is_told_who_holds_it_and_a_killed_one_frees_it(tmp_path):
    other = holding(tmp_path / "scan")
    try:
        with pytest.raises(LockedError, match=f"is being worked on by process {other.pid} on .*; wait until"):
            HeldLock(tmp_path / "scan")
    finally:
        other.kill()
        other.wait()
        other.stdout.close()
    assert (tmp_path / "scan.lock").exists()
    with locked(tmp_path / "scan"):
        assert f"process {os.getpid()} on " in (tmp_path / "scan.lock").read_text()
    assert not list(tmp_path.iterdir())


def test_who_waits_says_so_and_gets_it(tmp_path, capfd):
    other = holding(tmp_path / "scan")
    program = f"import os, signal, time; time.sleep(1); os.kill({other.pid}, signal.SIGTERM)"
    killer = subprocess.Popen([sys.executable, "-c", program])
    with locked(tmp_path / "scan", wait=True, task="image 'scan.nii'"):
        other.wait()
    killer.wait()
    other.stdout.close()
    told = capfd.readouterr().err
    assert told == f"waiting: image 'scan.nii' is being worked on by process {other.pid} on {socket.gethostname()}\n"


def test_a_process_that_takes_its_own_lock_again_goes_on(tmp_path):
    """As after an image that failed, whose lock nobody has released."""
    first = HeldLock(tmp_path / "scan")
    second = HeldLock(tmp_path / "scan")
    first.release()
    with pytest.raises(LockedError), locked(tmp_path / "scan"):
        pass
    second.release()
    assert not list(tmp_path.iterdir())


def test_what_a_killed_process_was_writing_is_removed_and_what_is_being_written_stays(tmp_path):
    killed, alive = (holding(tmp_path / name, "atomic") for name in ("killed", "alive"))
    killed.kill()
    killed.wait()
    (tmp_path / f"{PART}01234567").mkdir()
    (tmp_path / "own").mkdir()
    deadline = time.monotonic() + 20
    assert len(list(tmp_path.glob(f"{PART}*"))) == 5 and time.monotonic() < deadline
    remove_abandoned(tmp_path, lambda path: path.name == f"{PART}01234567")
    left = {path.name for path in tmp_path.iterdir()}
    assert {"own", f"{PART}01234567"} < left and len(left) == 4
    (part,) = tmp_path.glob(f"{PART}*/alive")
    assert part.read_text() == "half"
    alive.kill()
    alive.wait()
    for process in (killed, alive):
        process.stdout.close()
    with atomic(tmp_path / "more") as path:
        path.write_text("")
    remove_abandoned(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"own", "more"}


@pytest.mark.parametrize("name", ["mydata", "0123", "zip", "scan_0123456g"])
def test_folders_of_others_stay_whatever_they_are_called(tmp_path, name):
    (tmp_path / f"{PART}{name}").mkdir()
    remove_abandoned(tmp_path)
    assert (tmp_path / f"{PART}{name}").is_dir()
