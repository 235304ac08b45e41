"""How long this process has run."""

from __future__ import annotations

import os
import time
from pathlib import Path

#: Linux's files of numbers about a process and the machine.
STAT, UPTIME = Path("/proc/self/stat"), Path("/proc/uptime")


def age() -> float:
    """Seconds since the process began; of its processor's time where the system does not tell."""
    try:
        begun = int(STAT.read_text(encoding="ascii").rsplit(")", 1)[1].split()[19]) / os.sysconf("SC_CLK_TCK")
        return float(UPTIME.read_text(encoding="ascii").split()[0]) - begun
    except (OSError, ValueError, IndexError, AttributeError):
        return time.process_time()
