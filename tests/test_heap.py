import platform
from pathlib import Path

import pytest

from bundle.evaluation.measuring import alone
from bundle.heap import giving_back


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
    walked = list(giving_back(range(5), every=5))
    return before, resident(), len(last) + len(walked)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc is asked to give memory back")
def test_freed_memory_is_given_back():
    before, after, held = alone(held_before_and_after)
    assert before - after > 80_000_000
    assert held == 100_000 + 5
