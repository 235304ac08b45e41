"""Run the command in forked children that are watched or killed, and write the volumes that they translate."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import monai.bundle
import monai.engines
import monai.handlers
import monai.networks.nets  # imported here once, so that no child has to
import numpy as np
import torch

from bundle.evaluation import run as _evaluation  # noqa: F401 - likewise
from bundle.examples.phantom import ThoraxPhantom
from bundle.runtime.errors import last_line
from tests.dicom_series import write_series
from tests.golden_inputs import write_itk, write_nifti, write_ome_zarr

ROOT = Path(__file__).parents[1]
SHAPE, AFFINE = (44, 40, 26), np.diag([3.0, 3.0, 5.0, 1.0])
#: Keys of all runs.
KEYS: dict[str, Any] = {"match_kernel": False, "check_input": "off", "tile_size": 20, "amp": False, "device": "cpu"}
#: Python audit events at which a run may be killed: those that change the file system.
EVENTS = ("os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.chmod", "shutil.rmtree", "os.truncate", "os.link")
#: Time limit of a run in seconds, for a busy machine; alone it takes about two.
LIMIT = 1800


@dataclass
class Run:
    """A run of the command in a forked child.

    Args:
        source: an image or a folder of images.
        folder: folder of the results.
        log: file for its output.
        keys: keys of the config.
        die_at: number of the file system event at which the run kills itself; 0 for none.
    """

    source: Path
    folder: Path
    log: Path
    keys: Mapping[str, Any] = field(default_factory=dict)
    die_at: int = 0

    def start(self) -> Run:
        """Start the run."""
        self.begun = time.monotonic()
        self.process = multiprocessing.get_context("fork").Process(target=self._run, daemon=True)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # about NumPy's threads, which are idle
            self.process.start()
        return self

    def end(self) -> int | None:
        """Wait for its end and return its status: negative if it was killed, None if it hangs."""
        self.process.join(LIMIT)
        self.seconds = time.monotonic() - self.begun
        if self.process.is_alive():
            self.process.kill()
            self.process.join()
            return None
        return self.process.exitcode

    def watched(self, done: Callable[[], int]) -> dict[int, tuple[float, int]]:
        """Monitor the run until it ends; return resident memory in MiB and open files, by the amount of work done."""
        seen, place = {}, Path(f"/proc/{self.process.pid}")
        while self.process.is_alive():
            try:
                pages = int((place / "statm").read_text().split()[1])
                files = len(list((place / "fd").iterdir()))
            except OSError:
                break
            if pages:
                seen[done()] = pages * os.sysconf("SC_PAGESIZE") / 2**20, files
            time.sleep(0.1)
        return seen

    def kill(self) -> None:
        """Kill the run if it has not ended."""
        if self.process.pid and self.process.is_alive():
            os.kill(self.process.pid, signal.SIGKILL)

    @cached_property
    def said(self) -> str:
        """Last line of the run's output."""
        return (self.log.read_text(errors="replace").strip().splitlines() or [""])[-1]

    @cached_property
    def events(self) -> int:
        """Number of file system events that the run has reported."""
        lines = self.log.read_text(errors="replace").splitlines()
        return next((int(line.split()[1]) for line in lines if line.startswith("events: ")), 0)

    def _run(self) -> None:
        """In the child: run the command; errors give one line and status 1."""
        handle = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        for stream in (1, 2):
            os.dup2(handle, stream)
        torch.set_num_threads(1)  # with so small a network, more threads are slower
        count, folder, active = 0, str(self.folder), True

        def watch(event: str, given: tuple[Any, ...]) -> None:
            nonlocal count
            changes = event in EVENTS or (event == "open" and isinstance(given[2], int) and given[2] & 3)
            if (
                active
                and changes
                and any(isinstance(name, (str, os.PathLike)) and folder in str(name) for name in given)
            ):
                count += 1
                if count == self.die_at:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(watch)
        configs = [str(ROOT / "configs" / "inference.json"), str(ROOT / "benchmarks" / "small_network.json")]
        given = {"dataset_dir": str(self.source), "output_dir": str(self.folder), "bundle_root": str(ROOT)}
        status = 0
        try:
            monai.bundle.run(run_id="inference", config_file=configs, **given, **{**KEYS, **self.keys})
        except SystemExit as error:
            status = int(error.code or 0)
        except Exception as error:
            print(last_line(error), file=sys.stderr)
            status = 1
        active = False
        if not status:
            print(f"events: {count}", flush=True)
        os._exit(status)


def write_volume(path: Path, seed: int) -> None:
    """Write a phantom in the format given by the file name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    voxels = np.asarray(ThoraxPhantom(SHAPE, seed=seed, noise=20)[...]).astype(np.int16)
    if path.name.endswith((".nii", ".gz")):
        write_nifti(path, voxels, AFFINE)
    elif path.name.endswith(".zarr"):
        write_ome_zarr(path, voxels, AFFINE)
    elif path.suffix:
        write_itk(path, voxels, AFFINE)
    else:
        write_series(path, voxels, AFFINE, series=f"1.2.3.{seed + 1}")
