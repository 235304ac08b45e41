"""The Slicer module's logic: a volume goes out and comes back where it was, and the user is told what went wrong.

Against a server of a few lines here; `test_label.py` has the real one. Slicer's own API is stood in for.
"""

import ast
import json
import socket
import threading
from contextlib import contextmanager
from email.parser import BytesParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import itk
import numpy as np
import pytest

from bundle.scanner.kernels import catalogue
from tests.slicer_stub import MODULE, Display, Volume, geometry, load, oblique_image

INFO: dict = {"models": {"ct_kernel_translation_gan": {}}}


class Handler(BaseHTTPRequestHandler):
    """Answers as MONAI Label does; the result is the source plus 50, or what the server's `answers` say."""

    def do_GET(self):
        self.send(200, self.server.info)

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        head = f"Content-Type: {self.headers['Content-Type']}\r\n\r\n".encode()
        parts = {
            part.get_param("name", header="content-disposition"): part.get_payload(decode=True)
            for part in BytesParser().parsebytes(head + body).get_payload()
        }
        self.server.asked.append((self.path, json.loads(parts["params"])))
        self.server.go.wait(20)
        if self.server.error:
            self.send(*self.server.error)
            return
        folder = self.server.folder
        (folder / "in.nrrd").write_bytes(parts["file"])
        image = itk.imread(str(folder / "in.nrrd"))
        itk.array_view_from_image(image)[:] += 50
        itk.imwrite(image, str(folder / "out.nrrd"))
        self.send(200, (folder / "out.nrrd").read_bytes())

    def send(self, status, body):
        body = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@contextmanager
def serving(folder, info=INFO, error=None):
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.folder, server.info, server.error = folder, info, error
        server.asked, server.go = [], threading.Event()
        server.go.set()
        server.address = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server
        finally:
            server.go.set()
            server.shutdown()
            thread.join()


@pytest.fixture
def slicer(monkeypatch):
    return load(monkeypatch)


@pytest.fixture
def source(slicer):
    voxels = np.random.default_rng(0).integers(-1024, 3000, (7, 6, 5), np.int16)
    volume = Volume(oblique_image(voxels), "Chest", transform="bed", display=Display(1500.0, -600.0))
    return slicer[1].add(volume, folder="Patient 1")


def test_the_result_is_a_new_volume_beside_its_source(slicer, source, tmp_path):
    module, scene = slicer
    with serving(tmp_path) as server:
        result = module.KernelTranslationLogic().translate(source, server.address, {"conditioning": "sketch"})
    assert scene.volumes == [source, result] and result.name == "Chest translated"
    np.testing.assert_array_equal(itk.array_from_image(result.image), itk.array_from_image(source.image) + 50)
    np.testing.assert_allclose(geometry(result.image), geometry(source.image), atol=1e-9)
    assert result.transform == "bed" and scene.folders[result.name] == "Patient 1"
    assert (result.display.window, result.display.level, result.display.automatic) == (1500.0, -600.0, False)
    assert result.storage is None  # the file that it was loaded from is gone
    ((path, options),) = server.asked
    assert path == "/infer/ct_kernel_translation_gan?output=image"
    assert options == {"conditioning": "sketch", "result_extension": ".nrrd"}


def test_the_user_sees_how_far_it_is(slicer, source, tmp_path):
    told = []
    with serving(tmp_path) as server:
        server.go.clear()

        def progress(text, _):
            told.append(text.partition(",")[0])
            if told.count("the server is at work") > 3:
                server.go.set()

        slicer[0].KernelTranslationLogic().translate(source, server.address, progress=progress)
    steps = ["saving", "the server is at work", "loading"]
    assert [step for step in dict.fromkeys(told) if step in steps] == steps


def test_a_user_who_does_not_want_to_wait_need_not(slicer, source, tmp_path):
    module, scene = slicer

    def progress(text, _):
        if "at work" in text:
            raise module.CancelledError

    with serving(tmp_path) as server:
        server.go.clear()
        with pytest.raises(module.CancelledError):
            module.KernelTranslationLogic().translate(source, server.address, progress=progress)
        assert not server.go.is_set()
    assert scene.volumes == [source]


def test_kernels_are_those_of_the_catalogue_and_sent_by_name(slicer, source, tmp_path):
    module, _ = slicer
    assert set(module.KERNELS) == {kernel.name for kernel in catalogue().kernels}
    options = module.named_kernels({"source_kernel": "found in the image", "target_kernel": "B30f"})
    with serving(tmp_path) as server:
        module.KernelTranslationLogic().translate(source, server.address, options)
    assert server.asked[0][1] == {"target_kernel": "B30f", "result_extension": ".nrrd"}


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_a_server_that_is_away_is_told_in_one_sentence(slicer, source):
    address = f"http://127.0.0.1:{free_port()}"
    with pytest.raises(slicer[0].ServerError, match=rf"no server answers at {address} .*make label"):
        slicer[0].KernelTranslationLogic().translate(source, address)
    with pytest.raises(slicer[0].ServerError, match="'ftp://elsewhere' is not an address; write it like http"):
        slicer[0].KernelTranslationLogic().translate(source, "ftp://elsewhere")


@pytest.mark.parametrize(
    "info, error, message",
    [
        (b"<html>", None, "not a MONAI Label server"),
        ({"models": {"spleen": {}}}, None, "serves spleen, and not ct_kernel_translation_gan"),
        (INFO, (500, {"detail": "conditioning 'edges' is not known"}), "refused: conditioning 'edges' is not known"),
        (INFO, (500, b"Internal Server Error"), r"Internal Server Error \(HTTP 500\)"),
    ],
)
def test_what_a_server_refuses_is_told(slicer, source, tmp_path, info, error, message):
    with serving(tmp_path, info, error) as server, pytest.raises(slicer[0].ServerError, match=message):
        slicer[0].KernelTranslationLogic().translate(source, server.address)
    assert slicer[1].volumes == [source]


def test_slicer_s_older_python_can_read_it():
    ast.parse(MODULE.read_text(), feature_version=(3, 9))
    folders = [path.name for path in MODULE.parent.iterdir() if path.is_dir() and path.name != "__pycache__"]
    assert not folders, "Slicer takes the folder as a module path: one file, and its README"
