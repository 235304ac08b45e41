"""Open untrusted images in a separate process, with limits on its memory and time.

::

    this process  --{"read": [[0, 8], ...]}-->  python -m bundle.images.decoder PATH: opens, decodes
                  <--{"shape": ...} + voxels--  writes no image; a crash ends this process only

Only plain data are returned: JSON and voxels.
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import threading
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from bundle.geometry import Window
from bundle.images.image import ImageError, Opened
from bundle.runtime import parse_bytes

#: Environment variable with the memory limit of such a process; if it is not set, images are opened in this process.
VARIABLE = "BUNDLE_ISOLATED"
#: Time limit of a request in seconds.
SECONDS = 600.0
#: Types of headers that a result may keep.
HEADERS = {"Nifti1Header": nibabel.Nifti1Header, "Nifti2Header": nibabel.Nifti2Header}


def isolate(memory: int | str | None = None) -> None:
    """Open images in separate processes from now on.

    Args:
        memory: memory limit of each process, such as "4GiB"; null changes nothing.

    Raises:
        ValueError: If it is not a size.
    """
    if memory is not None:
        os.environ[VARIABLE] = str(parse_bytes(memory))


def is_isolated() -> bool:
    """Return whether images are opened in separate processes."""
    return bool(os.environ.get(VARIABLE))


def open_isolated(path: Path, series_uid: str | None = "") -> Opened:
    """Open an image in a separate process; see `bundle.images.open_image`.

    Raises:
        ImageError: If it cannot be read within the limits.
    """
    process = _Process(path, parse_bytes(os.environ[VARIABLE]))
    told, _ = process.ask({"series_uid": series_uid})
    affine = np.asarray(told["affine"], float).reshape(4, 4)
    shape, dtype = tuple(map(int, told["shape"])), np.dtype(told["dtype"])

    def read(window: Window) -> np.ndarray:
        answer, data = process.ask({"read": [[part.start, part.stop] for part in window]})
        return np.frombuffer(data, np.dtype(answer["dtype"])).reshape(answer["shape"], order="F")

    header = _header(told["header"]) if told["header"] else None
    files, kept = tuple(told["files"]), told["kept"]
    return Opened(path, shape, affine, dtype, read, told["units"], told["meta"], files, header, kept)


class _Process:
    """A process that holds an image open; it ends when the image is no longer used."""

    def __init__(self, path: Path, memory: int) -> None:
        self.path, self.memory = path, memory
        command = [sys.executable, "-m", "bundle.images.decoder", str(path), str(memory)]
        root = str(Path(__file__).parents[2])
        known = {name: value for name, value in os.environ.items() if name != VARIABLE}
        environment = {**known, "PYTHONPATH": os.pathsep.join([root, *sys.path[1:]]), "OMP_NUM_THREADS": "1"}
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        self.process = subprocess.Popen(command, env=environment, **pipes)
        weakref.finalize(self, _end, self.process)

    def ask(self, question: Mapping[str, Any]) -> tuple[dict[str, Any], bytes]:
        """Send a request, and return the answer and the voxels that follow it."""
        assert self.process.stdin and self.process.stdout
        late = threading.Event()

        def stop() -> None:
            late.set()
            self.process.kill()

        timer = threading.Timer(SECONDS, stop)
        timer.start()
        try:
            self.process.stdin.write(json.dumps(question).encode() + b"\n")
            self.process.stdin.flush()
            answer = json.loads(self.process.stdout.readline())
            data = self.process.stdout.read(int(answer.get("bytes", 0)))
            whole = len(data) == int(answer.get("bytes", 0))
        except (OSError, ValueError):
            answer, data, whole = {}, b"", False
        finally:
            timer.cancel()
        if not whole:
            _end(self.process)
            cause = f"took more than {SECONDS:g} s" if late.is_set() else f"ended with {self.process.returncode}"
            raise ImageError(
                f"image {str(self.path)!r} cannot be decoded within {self.memory / 2**30:.1f} GiB and {SECONDS:g} s "
                f"(its process {cause}); check the file, or raise 'isolated'."
            )
        if "error" in answer:
            raise (FileNotFoundError if answer["missing"] else ImageError)(answer["error"])
        return answer, data


def _end(process: subprocess.Popen) -> None:
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe:
            try:
                pipe.close()
            except OSError:
                continue


def _header(told: Mapping[str, Any]) -> Any:
    """Rebuild a NIfTI header from its bytes."""
    header = HEADERS[told["kind"]](base64.b64decode(told["bytes"]), told["endianness"], check=False)
    for code, content in told["extensions"]:
        header.extensions.append(nibabel.nifti1.Nifti1Extension(int(code), base64.b64decode(content)))
    return header
