"""What a process has freed goes back to the system: large tensors at once, small ones in the course of a run."""

import platform
from pathlib import Path

import pytest

from bundle.evaluation.methods import alone
from bundle.runtime import trim_malloc

glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc is asked to give memory back")


def resident():
    """Bytes of this process that lie in memory."""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(lines["VmRSS"].split()[0]) * 1024


def held_before_and_after():
    """Of 100 MB in small pieces, all but the last freed: what the process holds, and what once it has given back."""
    pieces = [b"x" * 100_000 for _ in range(1000)]
    last = pieces.pop()
    pieces.clear()
    before = resident()
    walked = list(trim_malloc(range(5), every=5))
    return before, resident(), len(last) + len(walked)


def left_of_large_pieces(walking):
    """Bytes that a process keeps of ten freed pieces of 8 MB, between which small ones stay."""
    if walking:
        next(trim_malloc(range(1)))
    bytearray(30_000_000)  # freed at once: by itself, glibc then keeps within its heap whatever is smaller
    before = resident()
    large, small = [], []
    for _ in range(10):
        large.append(bytearray(8_000_000))
        large[-1][::4096] = b"x" * len(large[-1][::4096])
        small.append([b"x" * 100_000 for _ in range(2)])
    held = resident() - before
    large.clear()
    return held, resident() - before, len(small)


@glibc
def test_freed_memory_is_given_back():
    before, after, held = alone(held_before_and_after)
    assert before - after > 80_000_000
    assert held == 100_000 + 5


@glibc
def test_large_pieces_go_back_when_they_are_freed():
    held, left, _ = alone(left_of_large_pieces, True)
    assert held > 80_000_000 and left < 10_000_000
    held, left, _ = alone(left_of_large_pieces, False)
    assert held > 80_000_000 and left > 40_000_000  # what it is for: otherwise they are kept
