"""Host memory: free, total, and current and peak memory of this process."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

#: Memory of this process, where the system provides it.
STATUS = Path("/proc/self/status")
#: Memory of the system; and of a container, the files with its limit and how much of it is used, and the name of the
#: part of that which is cache and can be dropped, in a third file.
MEMINFO = Path("/proc/meminfo")
LIMITS = (
    (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current"), "inactive_file"),
    (
        Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
        Path("/sys/fs/cgroup/memory/memory.usage_in_bytes"),
        "total_inactive_file",
    ),
)
STAT = "memory.stat"


def free_memory() -> int:
    """Return the bytes available without swapping: the system's, or what a container's limit leaves if that is less."""
    free = [_of_system()]
    for most, used, cache in LIMITS:
        try:
            free.append(_number(most) - _number(used) + _cached(used.with_name(STAT), cache))
        except (OSError, ValueError):  # no container, or no limit
            continue
    return max(min(free), 0)


def all_memory() -> int:
    """Return the bytes of memory of the machine, or of a container's limit if that is less; 2^63 if unknown."""
    found = [2**63]
    with suppress(AttributeError, ValueError, OSError):
        found.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    for most, *_ in LIMITS:
        with suppress(OSError, ValueError):
            found.append(_number(most))
    return min(found)


def peak_memory() -> int | None:
    """Return the peak memory of this process so far, in bytes; None where the system does not provide it."""
    with suppress(OSError, KeyError, ValueError):  # in a child process, getrusage may return its parent's peak
        return _lines(STATUS)["VmHWM"]
    if resource is None:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def resident_memory() -> int | None:
    """Return the resident memory of this process, in bytes; None where the system does not provide it."""
    with suppress(OSError, KeyError, ValueError):
        return _lines(STATUS)["VmRSS"]
    return None


def _number(file: Path) -> int:
    return int(file.read_text(encoding="ascii"))


def _cached(file: Path, name: str) -> int:
    """Return the bytes of a container's memory that are cache of files not in use; 0 if unknown."""
    with suppress(OSError, ValueError, KeyError):
        return int(dict(line.split() for line in file.read_text(encoding="ascii").splitlines())[name])
    return 0


def _lines(file: Path) -> dict[str, int]:
    """Return the entries of a file that lists sizes in kibibytes, converted to bytes."""
    lines = dict(line.split(":", 1) for line in file.read_text(encoding="utf-8").splitlines() if ":" in line)
    return {name: 1024 * int(text.split()[0]) for name, text in lines.items() if text.endswith(" kB")}


def _of_system() -> int:
    """Return the bytes available on the machine; if unknown, half of its memory."""
    with suppress(OSError, KeyError, ValueError):
        return _lines(MEMINFO)["MemAvailable"]
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    except (AttributeError, ValueError, OSError):
        return 2**32
