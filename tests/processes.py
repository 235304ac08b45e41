"""Processes of tests: several on a machine that cannot resolve its own name, and one that dies.

Such a machine is a container without `/etc/hosts`.
"""

import os
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]

#: Python reads it at the start of every process.
NAMELESS = """
import socket

socket.gethostname = socket.getfqdn = lambda *_: "nameless.invalid"
"""

#: Streams an image, and dies before so many tiles of the result are written (-1: does not); tells how many were made
#: and written.
DYING = """
import json, os, sys
from monai.bundle import ConfigWorkflow
from bundle.cascade import Cascade, rows
path, out, last = sys.argv[1:]
made, written, translate, write = [], [], Cascade.forward, rows.write_tile
def forward(self, *args, **kwargs):
    made.append(1)
    return translate(self, *args, **kwargs)
def put(out, tile, voxels):
    if out.name.startswith("result"):
        if len(written) == int(last):
            os._exit(9)
        written.append(1)
    write(out, tile, voxels)
Cascade.forward, rows.write_tile = forward, put
workflow = ConfigWorkflow(
    config_file="configs/inference.json", workflow_type="infer", bundle_root=".", dataset_dir=path, output_dir=out,
    tile_size=20, match_kernel=False, streaming=True,
)
workflow.initialize()
workflow.run()
print(json.dumps({"made": len(made), "written": len(written)}))
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
