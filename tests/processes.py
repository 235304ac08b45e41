"""Processes of tests: programs that start at once, those of a machine without a name, and one that dies.

A machine that cannot resolve its own name is a container without `/etc/hosts`.
"""

import atexit
import multiprocessing
import os
import runpy
import socket
import sys
import tempfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from subprocess import CompletedProcess, TimeoutExpired
from typing import Any

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


# Where there is none, a process imports everything itself.
_HOW = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
_PROCESSES: Any = multiprocessing.get_context(_HOW)
_PROCESSES.set_forkserver_preload(["tests.preloaded"])


def ran(
    *words: str, cwd: Path = ROOT, env: Mapping[str, str] | None = None, seconds: float = 600.0
) -> CompletedProcess[str]:
    """What ``python WORDS...`` gives, in a process of its own that has imported MONAI and the bundle already.

    A new Python takes seconds to import them. For tests of what a program does; those of how it starts (what it
    imports, where it finds its modules, which variables are read at import) start a Python.

    Args:
        words: ``-m MODULE ...`` or ``-c CODE ...``.
        cwd: the process's folder.
        env: its environment; by default, that of this process.
        seconds: after so many it is killed.

    Raises:
        TimeoutExpired: If it takes longer.
    """
    with tempfile.TemporaryDirectory() as name:
        streams = [str(Path(name, stream)) for stream in ("stdout", "stderr")]
        variables = dict(os.environ if env is None else env)
        process = _PROCESSES.Process(target=_run, args=(words, str(cwd), variables, streams))
        process.start()
        process.join(seconds)
        if process.exitcode is None:
            process.kill()
            process.join()
            raise TimeoutExpired([sys.executable, *words], seconds)
        out, err = (Path(path).read_text(encoding="utf-8") for path in streams)
    return CompletedProcess([sys.executable, *words], process.exitcode, out, err)


def together(processes: int, *words: str, seconds: float = 300.0) -> list[CompletedProcess[str]]:
    """What ``python -m WORDS...`` gives in processes as torchrun starts them, on a machine without a name.

    Like `ran`, they have imported MONAI and the bundle already. For tests of what they do with each other; those of how
    torchrun starts and ends them start it.

    Args:
        processes: how many, with the ranks from 0 on.
        words: the module and its arguments.
        seconds: after so many they are killed.
    """
    module, *rest = words
    program = f"{NAMELESS}\nimport runpy\nrunpy.run_module({module!r}, run_name='__main__', alter_sys=True)"
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(processes)}
    shared |= {"LOCAL_WORLD_SIZE": str(processes), "CUDA_VISIBLE_DEVICES": ""}

    def one(rank: int) -> CompletedProcess[str]:
        variables = {**os.environ, **shared, "RANK": str(rank), "LOCAL_RANK": str(rank)}
        return ran("-c", program, *rest, env=variables, seconds=seconds)

    with ThreadPoolExecutor(processes) as threads:
        return list(threads.map(one, range(processes)))


def _run(words: tuple[str, ...], cwd: str, env: dict[str, str], streams: list[str]) -> None:
    """Become ``python WORDS...``: its streams, folder, variables and arguments, and its way of ending."""
    for number, path in enumerate(streams, 1):
        stream = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(stream, number)
        os.close(stream)
    os.environ.clear()
    os.environ.update(env)
    os.chdir(cwd)
    sys.path.insert(0, cwd)
    how, program, *rest = words
    sys.argv = [how, *rest]
    try:
        if how == "-m":
            runpy.run_module(program, run_name="__main__", alter_sys=True)
        else:
            exec(compile(program, "<string>", "exec"), {"__name__": "__main__"})
    except SystemExit:
        raise
    except BaseException:
        sys.excepthook(*sys.exc_info())
        sys.exit(1)
    finally:
        atexit._run_exitfuncs()
