"""MONAI Label's server as the tests start it: its studies, its bundle, and requests to it; all on loopback."""

import importlib.util
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import itk
import nibabel
import numpy as np
import pytest

from apps.label.__main__ import search_path
from apps.label.folder import NAME, PARTS, lay_out
from bundle.examples.phantom import ThoraxPhantom
from tests.dicom_series import write_series
from tests.slicer_stub import oblique_image

ROOT = Path(__file__).parents[1]
SHAPE, SPACING = (64, 56, 24), (3.0, 3.0, 6.0)
#: Stored images by name, and the suffix of each.
STORED = {"plain": ".nii", "packed": ".nii.gz", "oblique": ".nrrd", "meta": ".mha"}

needs_label = pytest.mark.skipif(
    importlib.util.find_spec("monailabel") is None, reason="needs MONAI Label: make test-label has it"
)


def phantom(seed):
    return ThoraxPhantom(SHAPE, SPACING, seed=seed, noise=60.0)


def make_studies(folder):
    """A phantom of each format, and a folder with a DICOM series."""
    for seed, (name, suffix) in enumerate(STORED.items()):
        made = phantom(seed)
        if suffix.startswith(".nii"):
            nibabel.Nifti1Image(made[...], made.affine).to_filename(folder / f"{name}{suffix}")
        else:
            itk.imwrite(oblique_image(made[...], SPACING), str(folder / f"{name}{suffix}"))
    write_series(folder / "series", phantom(9)[...], np.diag([-3.0, 3.0, 6.0, 1.0]))
    return folder


def copy_bundle(folder):
    """A copy of the bundle, whose weights may be trained on."""
    for part in PARTS:
        copy = shutil.copytree if (ROOT / part).is_dir() else shutil.copy
        copy(ROOT / part, folder / part)
    return folder


class Server:
    """Requests to a server of this machine."""

    def __init__(self, port):
        self.address = f"http://127.0.0.1:{port}"

    def ask(self, method, path, **arguments):
        import requests  # MONAI Label's own, and its environment's alone

        return requests.request(method, self.address + path, timeout=900, **arguments)

    def infer(self, path, image="", params=None, upload=None, query=""):
        """Translate an image that is stored or sent, and write the answer."""
        query, end = f"output=image&image={image}{query}", "".join(path.suffixes)
        file = {"file": (upload.name, upload.read_bytes())} if upload else None
        form = {"params": json.dumps({**({} if end == ".nii.gz" else {"result_extension": end}), **(params or {})})}
        answer = self.ask("POST", f"/infer/{NAME}?{query}", data=form, files=file)
        assert answer.status_code == 200, answer.text
        path.write_bytes(answer.content)
        return path


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def running(command, port, log, **environment):
    """A server, from when it answers on; its own process is stopped at the end."""
    with (
        log.open("w") as written,
        subprocess.Popen(
            command, cwd=ROOT, stdout=written, stderr=subprocess.STDOUT, env={**os.environ, **environment}
        ) as process,
    ):
        server, patience = Server(port), time.monotonic() + 600
        try:
            while time.monotonic() < patience and process.poll() is None:
                try:
                    server.ask("GET", "/info/")
                    break
                except OSError:
                    time.sleep(0.5)
            else:
                raise RuntimeError(f"the server did not start:\n{log.read_text()[-3000:]}")
            yield server
        finally:
            process.terminate()
            process.wait(60)


def guarded(studies, bundle, folder, **environment):
    """What make label starts."""
    port = free_port()
    options = ("--port", str(port), "--folder", str(folder / "app"), "--bundle", str(bundle))
    command = [sys.executable, "-m", "apps.label", str(studies), *options]
    return running(command, port, folder / "log", **environment)


def stock(studies, bundle, folder, *options, path=()):
    """What MONAI Label's own command starts: nothing of `apps.label` runs in it, unless the options and path say so."""
    app, port = lay_out(folder / "app", bundle), free_port()
    command = [
        *(sys.executable, "-m", "monailabel.main", "start_server", "--app", str(app), "--studies", str(studies)),
        *("--host", "127.0.0.1", "--port", str(port), *options),
        *("--conf", "models", NAME, "--conf", "zoo_source", "local", "--conf", "sam2", "false"),
    ]
    kept = {"MONAI_LABEL_SESSION_PATH": str(folder / "sessions")}
    search = os.pathsep.join((search_path().split(os.pathsep)[0], *map(str, path)))
    return running(command, port, folder / "log", PYTHONPATH=search, **kept)
