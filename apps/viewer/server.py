"""Serve the viewer's page and its three images on loopback, only to users who know the link."""

from __future__ import annotations

import json
import secrets
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import cast

from apps.viewer.streams import Difference, NiftiStream, holds_int16, step_for
from bundle.images import Volume

HERE = Path(__file__).parent
NIIVUE = HERE / "node_modules" / "@niivue" / "niivue" / "dist" / "index.js"
#: Served files on disk: name in the link, file and type.
FILES = {
    "": (HERE / "page" / "index.html", "text/html; charset=utf-8"),
    "viewer.css": (HERE / "page" / "viewer.css", "text/css; charset=utf-8"),
    "panel.js": (HERE / "page" / "panel.js", "text/javascript; charset=utf-8"),
    "viewer.js": (HERE / "page" / "viewer.js", "text/javascript; charset=utf-8"),
    "niivue.js": (NIIVUE, "text/javascript; charset=utf-8"),
}
#: Keeps the page from fetching anything elsewhere; NiiVue's font is inline data.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


class ViewerServer(ThreadingHTTPServer):
    """Serve source, result and difference as NIfTI, read slab by slab, in any format.

    Args:
        source: the image that was translated, or a folder with its DICOM series.
        result: its translation, on the same grid.
        port: port on 127.0.0.1; 0 chooses a free one.
        series_uid: series to take if the source is a folder with several series.

    Raises:
        FileNotFoundError: If an image does not exist.
        ValueError: If an image is not a volume, or the grids differ.
    """

    def __init__(self, source: str | Path, result: str | Path, port: int = 0, series_uid: str = "") -> None:
        before, after = Volume(source, series_uid=series_uid), Volume(result)
        difference, step = Difference(before, after), step_for(before.shape)
        whole = holds_int16(before), holds_int16(after)
        self.streams = {
            "source": NiftiStream(before, whole[0], step),
            "result": NiftiStream(after, whole[1], step),
            "difference": NiftiStream(difference, all(whole), step),
        }
        #: Errors while sending an image, by its name.
        self.problems: dict[str, str] = {}
        self.about = {"source": before.path.name, "result": after.path.name, "shape": before.shape, "step": step}
        self.reading = threading.Lock()  # file readers are not thread-safe
        super().__init__(("127.0.0.1", port), _Handler)
        self._secret = secrets.token_urlsafe(12)

    @property
    def link(self) -> str:
        """Address of the page, which other users of the machine cannot guess."""
        return f"http://127.0.0.1:{self.server_port}/{self._secret}/"

    def name_in(self, path: str) -> str | None:
        """Return the name of the requested file or image; None if the link is wrong."""
        start = f"/{self._secret}/"
        return path[len(start) :] if path.startswith(start) else None


class _Handler(BaseHTTPRequestHandler):
    """Answer one request."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        server = cast(ViewerServer, self.server)
        name = server.name_in(self.path)
        if name in FILES:
            file, kind = FILES[name]
            self._send(file.read_bytes(), kind)
        elif name == "about.json":
            self._send(json.dumps(server.about).encode(), "application/json")
        elif name is not None and name.removesuffix(".nii") in server.streams:
            self._stream(server, name.removesuffix(".nii"))
        elif name is not None and name.removesuffix(".txt") in server.streams:
            self._send(server.problems.get(name.removesuffix(".txt"), "").encode(), "text/plain; charset=utf-8")
        else:
            self._send(b"Nothing here: open the whole link that the viewer printed.\n", "text/plain", 404)

    def _stream(self, server: ViewerServer, name: str) -> None:
        """Send an image; if reading fails midway, close the connection and keep the reason for the page."""
        parts = iter(server.streams[name])

        def read() -> bytes:
            with server.reading:
                return next(parts, b"")

        server.problems.pop(name, None)
        self._head("application/octet-stream", len(server.streams[name]))
        try:
            for part in iter(read, b""):
                self.wfile.write(part)
        except ConnectionError:  # the page was closed
            self.close_connection = True
        except Exception as error:  # file readers raise errors of all kinds
            server.problems[name] = str(error)
            print(f"error: cannot read the {name}: {error}", file=sys.stderr)
            self.close_connection = True

    def _send(self, body: bytes, kind: str, status: int = 200) -> None:
        self._head(kind, len(body), status)
        self.wfile.write(body)

    def _head(self, kind: str, size: int, status: int = 200) -> None:
        self.send_response(status)
        for name, value in (
            ("Content-Type", kind),
            ("Content-Length", str(size)),
            ("Content-Security-Policy", POLICY),
            ("Cache-Control", "no-store"),  # keep no copy of a patient's image in the browser
            ("Referrer-Policy", "no-referrer"),
            ("X-Content-Type-Options", "nosniff"),
        ):
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, *args: object) -> None:
        """Do not log successful requests."""
