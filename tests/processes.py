"""Several processes on a machine that cannot resolve its own name, as in a container without `/etc/hosts`."""

import os
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]

#: Python reads it at the start of every process.
NAMELESS = """
import socket

socket.gethostname = socket.getfqdn = lambda *_: "nameless.invalid"
"""


def torchrun(processes: int) -> list[str]:
    """The command that starts processes on this machine, by the loopback address alone."""
    here = ["--rdzv_backend", "c10d", "--rdzv_endpoint", "127.0.0.1:0", "--local_addr", "127.0.0.1"]
    return [sys.executable, "-m", "torch.distributed.run", *here, "--nproc_per_node", str(processes)]


def nameless(folder: Path) -> dict[str, str]:
    """The environment of such processes: one thread each, no GPU, and Python finds no other name of the machine."""
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(NAMELESS)
    path = os.pathsep.join((str(folder), str(ROOT)))
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": path, "CUDA_VISIBLE_DEVICES": ""}
