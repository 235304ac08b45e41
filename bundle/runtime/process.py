"""What the system tells of this process: how long it has run, and the memory that it holds."""

from __future__ import annotations

import os
import time
from pathlib import Path

#: Linux's files of numbers about a process and the machine.
STAT, UPTIME, STATM = Path("/proc/self/stat"), Path("/proc/uptime"), Path("/proc/self/statm")


def age() -> float:
    """Seconds since the process began; of its processor's time where the system does not tell."""
    try:
        begun = int(STAT.read_text(encoding="ascii").rsplit(")", 1)[1].split()[19]) / os.sysconf("SC_CLK_TCK")
        return float(UPTIME.read_text(encoding="ascii").split()[0]) - begun
    except (OSError, ValueError, IndexError, AttributeError):
        return time.process_time()


def resident_memory() -> int | None:
    """Bytes of memory that the process holds now; null where the system does not tell."""
    try:
        return int(STATM.read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError, AttributeError):
        return None
