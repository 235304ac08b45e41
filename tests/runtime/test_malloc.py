"""What a process has freed goes back to the system: large tensors at once, small ones in the course of a run."""

import json
import platform
import subprocess
import sys

import pytest

from bundle.runtime import malloc

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc is asked to give memory back")

#: Begins each program: a plain Python with that module alone, whose heap holds nothing else.
BEGINNING = f"""
import json, runpy
trim_malloc = runpy.run_path({malloc.__file__!r})["trim_malloc"]

def resident():
    lines = dict(line.split(":", 1) for line in open("/proc/self/status").read().splitlines())
    return int(lines["VmRSS"].split()[0]) * 1024
"""
#: Of 100 MB in small pieces, all but the last freed: what the process holds, and what once it has given back.
SMALL = """
pieces = [b"x" * 100_000 for _ in range(1000)]
last = pieces.pop()
pieces.clear()
before = resident()
walked = list(trim_malloc(range(5), every=5))
print(json.dumps([before, resident(), len(last) + len(walked)]))
"""
#: Bytes that a process keeps of ten freed pieces of 8 MB, between which small ones stay.
LARGE = """
bytearray(30_000_000)  # freed at once: by itself, glibc then keeps within its heap whatever is smaller
before = resident()
large, small = [], []
for _ in range(10):
    large.append(bytearray(8_000_000))
    large[-1][::4096] = b"x" * len(large[-1][::4096])
    small.append([b"x" * 100_000 for _ in range(2)])
held = resident() - before
large.clear()
print(json.dumps([held, resident() - before, len(small)]))
"""
#: Page faults of twenty pieces of 1 MB, one after another, when the heap holds nothing else at its end.
AGAIN = """
import resource
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
next(trim_malloc(range(1)))
before = faults()
for _ in range(20):
    piece = bytearray(1_000_000)
    piece[::4096] = b"x" * len(piece[::4096])
    del piece
print(json.dumps(faults() - before))
"""


def told(*programs):
    """What a process of its own prints."""
    command = [sys.executable, "-c", "".join((BEGINNING, *programs))]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout)


def test_freed_memory_is_given_back():
    before, after, held = told(SMALL)
    assert before - after > 80_000_000
    assert held == 100_000 + 5


def test_large_pieces_go_back_when_they_are_freed():
    held, left, _ = told("next(trim_malloc(range(1)))", LARGE)
    assert held > 80_000_000 and left < 10_000_000
    held, left, _ = told(LARGE)
    assert held > 80_000_000 and left > 40_000_000  # what it is for: otherwise they are kept


def test_pieces_of_the_heap_are_used_again():
    assert told(AGAIN) < 3 * 1_000_000 / 4096  # 20 times as many pages if each piece went back to the system
