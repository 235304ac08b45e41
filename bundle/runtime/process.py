"""Age of this process."""

from __future__ import annotations

import os
import time
from pathlib import Path

#: Linux files with statistics of the process and the uptime of the machine.
STAT, UPTIME = Path("/proc/self/stat"), Path("/proc/uptime")


def age() -> float:
    """Return the seconds since the process started, or its CPU time where the system does not provide that."""
    try:
        begun = int(STAT.read_text(encoding="ascii").rsplit(")", 1)[1].split()[19]) / os.sysconf("SC_CLK_TCK")
        return float(UPTIME.read_text(encoding="ascii").split()[0]) - begun
    except (OSError, ValueError, IndexError, AttributeError):
        return time.process_time()
