"""The host memory: what is free for this process, what there is, and what this process holds and has held."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

#: What a process has taken, where the system tells it.
STATUS = Path("/proc/self/status")
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
            free.append(_number(most) - _number(used))
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
            found.append(_number(most))
    return min(found)


def peak_memory() -> int | None:
    """Return the most bytes of memory that this process has had so far, or nothing where the system does not tell."""
    with suppress(OSError, KeyError, ValueError):  # getrusage of a child process may tell its parent's peak
        return _lines(STATUS)["VmHWM"]
    if resource is None:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def resident_memory() -> int | None:
    """Return the bytes of memory that this process holds now, or nothing where the system does not tell."""
    with suppress(OSError, KeyError, ValueError):
        return _lines(STATUS)["VmRSS"]
    return None


def _number(file: Path) -> int:
    return int(file.read_text(encoding="ascii"))


def _lines(file: Path) -> dict[str, int]:
    """The entries of a file of kibibytes, in bytes."""
    lines = dict(line.split(":", 1) for line in file.read_text(encoding="utf-8").splitlines() if ":" in line)
    return {name: 1024 * int(text.split()[0]) for name, text in lines.items() if text.endswith(" kB")}


def _of_system() -> int:
    """Bytes that are available on the machine; if it does not tell, half of what it has."""
    with suppress(OSError, KeyError, ValueError):
        return _lines(MEMINFO)["MemAvailable"]
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    except (AttributeError, ValueError, OSError):
        return 2**32
