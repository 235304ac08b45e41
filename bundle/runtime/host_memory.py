"""The host memory that is free for this process."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

#: What the system and a container's limit say, most of them in files of numbers: how much, and how much of it is used.
MEMINFO = Path("/proc/meminfo")
LIMITS = (
    (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")),
    (Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"), Path("/sys/fs/cgroup/memory/memory.usage_in_bytes")),
)


def free_memory() -> int:
    """Bytes that can be taken without swapping: the system's, or what a container's limit leaves if that is less."""
    free = [_of_system()]
    for most, used in LIMITS:
        try:
            free.append(int(most.read_text()) - int(used.read_text()))
        except (OSError, ValueError):  # no container, or no limit
            continue
    return max(min(free), 0)


def all_memory() -> int:
    """Bytes of memory that the machine has, or that a container's limit allows if that is less; 2^63 if unknown."""
    found = [2**63]
    with suppress(AttributeError, ValueError, OSError):
        found.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    for most, _ in LIMITS:
        with suppress(OSError, ValueError):
            found.append(int(most.read_text()))
    return min(found)


def _of_system() -> int:
    """Bytes that are available on the machine; if it does not tell, half of what it has."""
    try:
        lines = dict(line.split(":", 1) for line in MEMINFO.read_text().splitlines() if ":" in line)
        return int(lines["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        pass
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    except (AttributeError, ValueError, OSError):
        return 2**32
