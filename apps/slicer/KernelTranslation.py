"""3D Slicer module: translate a volume by a MONAI Label server that serves this bundle, into a new volume.

Slicer's own MONAI Label module treats every answer as a label map; this one loads it as a volume in HU. The logic only
needs Slicer to save and load volumes; only the panel needs Qt.
"""

# Slicer 5.6 has Python 3.9: no newer syntax in this file.
from __future__ import annotations

import json
import socket
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import ctk
import qt
import slicer
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleWidget,
)

SERVER, MODEL = "http://127.0.0.1:8000", "ct_kernel_translation_gan"
#: Names of the bundle's catalogue of kernels; the server refuses names that its own catalogue lacks.
KERNELS = ("B10f", "B30f", "B40f", "B50f", "B70f", "D45f", "UB", "YA")
#: Seconds to wait for a connection to the server; the time for translating is not limited.
CONNECTING = 10
#: Bytes sent or received at once.
CHUNK = 2**20
#: Function that reports the progress: a text, and the finished fraction, if it is known.
Progress = Callable[[str, "float | None"], None]


def untold(_text: str, _share: float | None) -> None:
    """Report no progress."""


def named_kernels(chosen: Mapping[str, str]) -> dict[str, str]:
    """Return the options for kernels chosen by name; with the first entry of a list the bundle chooses."""
    return {option: name for option, name in chosen.items() if name in KERNELS}


class ServerError(Exception):
    """The server is not reachable, is not the right one, or could not do what was requested."""


class CancelledError(Exception):
    """The user cancelled the translation."""


class Request:
    """One request to a server, made in a thread, so that the caller can see its progress and stop it.

    Args:
        server: address, such as ``http://127.0.0.1:8000``.
        method: HTTP method.
        path: path with the query.
        fields: fields of a form.
        upload: file to send with the form.
        answer: file that the response is written to; by default it is kept in memory.

    Raises:
        ServerError: If the address is not valid.
    """

    def __init__(
        self,
        server: str,
        method: str,
        path: str,
        fields: Mapping[str, str] | None = None,
        upload: Path | None = None,
        answer: Path | None = None,
    ) -> None:
        address = urlsplit(server if "//" in server else f"http://{server}")
        try:
            host, port = address.hostname, address.port
        except ValueError:
            host = None
        if address.scheme not in ("http", "https") or not host:
            raise ServerError(f"server {server!r} is not an address; write it like {SERVER}.")
        connection = HTTPSConnection if address.scheme == "https" else HTTPConnection
        self.server, self.method, self.path = server, method, address.path.rstrip("/") + path
        self.fields, self.upload, self.answer = fields or {}, upload, answer
        self.progress: tuple[str, float | None] = ("connecting", None)
        self._connection = connection(host, port, timeout=CONNECTING)
        self._socket: socket.socket | None = None

    def run(self) -> bytes:
        """Make the request and return the body of the response; empty if it was written to a file.

        Raises:
            ServerError: If anything fails, with a message for the user.
        """
        try:
            self._connection.connect()
        except OSError as error:
            raise ServerError(
                f"no server answers at {self.server} ({error}). Start it with make label, or correct the address."
            ) from error
        try:
            self._socket = self._connection.sock
            self._socket.settimeout(None)
            return self._exchange()
        except (OSError, HTTPException) as error:
            raise ServerError(
                f"the server at {self.server} broke off ({str(error) or type(error).__name__}); its window says why."
            ) from error
        finally:
            self._connection.close()

    def stop(self) -> None:
        """Close the connection; the server still finishes what it has begun."""
        if self._socket is not None:
            with suppress(OSError):  # if it has ended by itself
                self._socket.shutdown(socket.SHUT_RDWR)

    def _exchange(self) -> bytes:
        kind, size, parts = self._form()
        headers = {"Content-Type": kind, "Content-Length": str(size)} if size else {}
        self._connection.request(self.method, self.path, parts if size else None, headers)
        self.progress = ("the server is at work" if self.upload else "asking the server", None)
        response = self._connection.getresponse()
        if response.status != 200:
            said = response.read().decode(errors="replace")
            try:
                said = json.loads(said)["detail"]
            except (ValueError, KeyError, TypeError):
                said = f"{said[:200]} (HTTP {response.status}); its own window says why"
            raise ServerError(f"the server at {self.server} refused: {said}")
        if self.answer is None:
            return response.read()
        total, done = int(response.getheader("Content-Length") or 0), 0
        with self.answer.open("wb") as file:
            for part in iter(lambda: response.read(CHUNK), b""):
                file.write(part)
                done += len(part)
                self.progress = ("receiving", done / total if total else None)
        return b""

    def _form(self) -> tuple[str, int, Iterator[bytes]]:
        """Return type, length and parts of the body: a form, whose file is read while it is sent."""
        mark = "----KernelTranslation" + hex(time.time_ns())
        head = "".join(
            f'--{mark}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
            for name, value in self.fields.items()
        )
        if self.upload:
            head += (
                f'--{mark}\r\nContent-Disposition: form-data; name="file"; filename="{self.upload.name}"\r\n'
                "Content-Type: application/octet-stream\r\n\r\n"
            )
        tail = f"\r\n--{mark}--\r\n"
        whole = self.upload.stat().st_size if self.upload else 0
        size = len(head.encode()) + whole + len(tail.encode()) if head else 0

        def parts() -> Iterator[bytes]:
            yield head.encode()
            if self.upload:
                done = 0
                with self.upload.open("rb") as file:
                    for part in iter(lambda: file.read(CHUNK), b""):
                        yield part
                        done += len(part)
                        self.progress = ("sending", done / whole)
            yield tail.encode()

        return f"multipart/form-data; boundary={mark}", size, parts()


class KernelTranslation(ScriptedLoadableModule):
    """The module's entry in Slicer."""

    def __init__(self, parent: Any) -> None:
        ScriptedLoadableModule.__init__(self, parent)
        parent.title = "CT kernel translation"
        parent.categories = ["Filtering"]
        parent.dependencies = []
        parent.contributors = ["The authors of the CT kernel translation GAN bundle"]
        parent.helpText = (
            "Translates a thorax CT from a sharp reconstruction kernel to a soft one, by a MONAI Label server that "
            "serves the bundle (make label). The result is a new volume beside the source, in HU. For research only: "
            "not for clinical use, not for diagnosis, and no medical device."
        )


class KernelTranslationLogic(ScriptedLoadableModuleLogic):
    """Translate a volume by a server into a new volume."""

    def translate(
        self,
        source: Any,
        server: str = SERVER,
        options: Mapping[str, Any] | None = None,
        progress: Progress = untold,
        model: str = MODEL,
    ) -> Any:
        """Translate a volume.

        Args:
            source: node of a scalar volume.
            server: address of the server.
            options: options of the bundle, such as ``conditioning`` or ``memory_budget``; by default the bundle's.
            progress: function called several times a second; if it raises an exception, the work stops.
            model: the bundle's name on the server.

        Returns:
            The node of the result, on the source's grid, under its transform and next to it in the data tree.

        Raises:
            ServerError: If the server is not reachable, does not serve the bundle, or refuses the request.
            RuntimeError: If Slicer cannot save or load a volume.
        """
        self.check(server, model, progress)
        with tempfile.TemporaryDirectory(prefix="KernelTranslation") as folder:
            sent, received = Path(folder) / "source.nrrd", Path(folder) / "result.nrrd"
            progress("saving", None)
            if not slicer.util.saveNode(source, str(sent), {"useCompression": 0}):
                raise RuntimeError(f"Slicer could not save the volume {source.GetName()!r} to {str(sent)!r}.")
            fields = {"params": json.dumps({**(options or {}), "result_extension": ".nrrd"})}
            self.wait(Request(server, "POST", f"/infer/{model}?output=image", fields, sent, received), progress)
            progress("loading", None)
            result = slicer.util.loadVolume(
                str(received), {"name": f"{source.GetName()} translated", "singleFile": True, "show": False}
            )
        self.place(result, source)
        return result

    def check(self, server: str, model: str = MODEL, progress: Progress = untold) -> None:
        """Check that the server serves the model before anything is sent.

        Raises:
            ServerError: If it does not.
        """
        try:
            models = json.loads(self.wait(Request(server, "GET", "/info/"), progress))["models"]
        except (ValueError, KeyError, TypeError) as error:
            raise ServerError(f"what answers at {server} is not a MONAI Label server; correct the address.") from error
        if model not in models:
            raise ServerError(
                f"the server at {server} serves {', '.join(models) or 'no model'}, and not {model}; start it with "
                "make label."
            )

    def wait(self, request: Request, progress: Progress) -> bytes:
        """Make a request while showing its progress; return the response."""
        begun = time.monotonic()
        with ThreadPoolExecutor(1) as thread:
            future: Future[bytes] = thread.submit(request.run)
            try:
                while not future.done():
                    text, share = request.progress
                    progress(f"{text}, {time.monotonic() - begun:.0f} s" if share is None else text, share)
                    time.sleep(0.05)  # lets the thread work
            except BaseException:
                request.stop()
                raise
            return future.result()

    def place(self, result: Any, source: Any) -> None:
        """Give a result the place of its source: its transform, its folder in the data tree, its display window."""
        # The temporary file that it was loaded from is removed, so it has to be saved elsewhere.
        if result.GetStorageNode():
            slicer.mrmlScene.RemoveNode(result.GetStorageNode())
        result.SetAndObserveTransformNodeID(source.GetTransformNodeID())
        tree = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
        tree.SetItemParent(tree.GetItemByDataNode(result), tree.GetItemParent(tree.GetItemByDataNode(source)))
        result.CreateDefaultDisplayNodes()
        shown, like = result.GetDisplayNode(), source.GetDisplayNode()
        if like:
            shown.SetAutoWindowLevel(False)
            shown.SetWindowLevel(like.GetWindow(), like.GetLevel())


class KernelTranslationWidget(ScriptedLoadableModuleWidget):
    """The module's panel: volume, server, options, and a button to translate."""

    def setup(self) -> None:
        """Build the panel."""
        ScriptedLoadableModuleWidget.setup(self)
        self.logic, self.waiting, self.cancelled = KernelTranslationLogic(), False, False
        box = ctk.ctkCollapsibleButton()
        box.text = "Translate"
        self.layout.addWidget(box)
        form = qt.QFormLayout(box)
        self.volume = slicer.qMRMLNodeComboBox()
        self.volume.nodeTypes = ["vtkMRMLScalarVolumeNode"]
        self.volume.showChildNodeTypes = False  # no label maps
        self.volume.addEnabled = self.volume.removeEnabled = False
        self.volume.setMRMLScene(slicer.mrmlScene)
        form.addRow("Volume", self.volume)
        self.server = qt.QLineEdit(qt.QSettings().value("KernelTranslation/server", SERVER))
        form.addRow("Server", self.server)
        self.conditioning = qt.QComboBox()
        self.conditioning.addItems(["image", "sketch"])
        form.addRow("Conditioning", self.conditioning)
        self.kernels = {}
        for option, label, unnamed in (
            ("source_kernel", "Source kernel", "found in the image"),
            ("target_kernel", "Target kernel", "soft"),
        ):
            box = qt.QComboBox()
            box.addItems([unnamed, *KERNELS])
            form.addRow(label, box)
            self.kernels[option] = box
        self.budget = qt.QLineEdit("2GiB")
        self.budget.toolTip = "What the tiles may take of the server's device memory"
        form.addRow("Memory budget", self.budget)
        self.button = qt.QPushButton("Translate")
        self.button.connect("clicked()", self.pressed)
        form.addRow(self.button)
        self.bar = qt.QProgressBar()
        form.addRow(self.bar)
        self.told = qt.QLabel()
        self.told.wordWrap = True
        form.addRow(self.told)
        self.layout.addStretch(1)

    def pressed(self) -> None:
        """Start translating, or cancel it."""
        if self.waiting:
            self.cancelled = True
            return
        source = self.volume.currentNode()
        if source is None:
            self.told.text = "Choose a volume first."
            return
        self.waiting, self.cancelled, self.button.text = True, False, "Cancel"
        options = {
            "conditioning": self.conditioning.currentText,
            "memory_budget": self.budget.text,
            **named_kernels({option: box.currentText for option, box in self.kernels.items()}),
        }
        try:
            result = self.logic.translate(source, self.server.text.strip(), options, self.progress)
            slicer.util.setSliceViewerLayers(background=result, foreground=source, foregroundOpacity=0)
            qt.QSettings().setValue("KernelTranslation/server", self.server.text.strip())
            self.told.text = f"Done: {result.GetName()}"
        except CancelledError:
            self.told.text = "Cancelled; the server finishes what it has begun."
        except (ServerError, RuntimeError) as error:
            self.told.text = str(error)
            slicer.util.errorDisplay(str(error))
        finally:
            self.waiting, self.button.text = False, "Translate"
            self.bar.setRange(0, 100)
            self.bar.setValue(0)

    def progress(self, text: str, share: float | None) -> None:
        """Show the progress and keep Slicer responsive.

        Raises:
            CancelledError: If Cancel was pressed.
        """
        self.told.text = text
        self.bar.setRange(0, 0 if share is None else 100)
        self.bar.setValue(int(100 * (share or 0)))
        slicer.app.processEvents()
        if self.cancelled:
            raise CancelledError
