"""Start MONAI Label with this bundle: ``python -m apps.label STUDIES``."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from apps.label.access import check_access
from apps.label.folder import NAME, lay_out
from apps.label.uploads import SUFFIXES

ROOT = Path(__file__).parents[2]
SHIM = Path(__file__).parent / "torchvision_without_cuda"
#: Seconds that a request may wait for its result: practically no limit, since requests wait in one queue.
PATIENCE = 24 * 3600


def serve(
    studies: str,
    port: int = 8000,
    host: str = "127.0.0.1",
    folder: str = "output/label",
    bundle: str = str(ROOT),
    anyone_may_use_this_server: bool = False,
) -> None:
    """Serve a folder of images until interrupted.

    Args:
        studies: folder of the images; MONAI Label also keeps its list of images and stored results there.
        port: port of the server.
        host: address to listen on. Any address but loopback requires MONAI Label's authentication, set by
            ``MONAI_LABEL_AUTH_ENABLE`` and ``MONAI_LABEL_AUTH_REALM_URI`` in the environment.
        folder: folder in which the app is laid out.
        bundle: folder of the bundle.
        anyone_may_use_this_server: allow an address other than loopback without authentication: whoever reaches it may
            read, add and remove images and results, train, and change the weights.

    Raises:
        ModuleNotFoundError: If MONAI Label is not installed.
        FileNotFoundError: If the studies or the bundle do not exist.
        ValueError: If others can reach the server without authentication.
    """
    host = str(host)
    check_access(host, os.environ, bool(anyone_may_use_this_server))
    images = Path(str(studies)).resolve()
    if not images.is_dir():
        raise FileNotFoundError(f"studies {str(studies)!r} is not a folder; give one that holds images, or is to.")
    app = lay_out(folder, bundle)
    command = [
        *(sys.executable, "-m", "monailabel.main", "start_server", "--app", str(app), "--studies", str(images)),
        *("--host", host, "--port", str(port), "--uvicorn_app", "apps.label.server:app"),
        *("--conf", "models", NAME, "--conf", "zoo_source", "local", "--conf", "sam2", "false"),
    ]
    print(f"server   http://{host}:{port}   (Ctrl-C ends it)", flush=True)
    os.execve(sys.executable, command, {**settings(app), **os.environ, "PYTHONPATH": search_path()})


def settings(app: Path) -> dict[str, str]:
    """Return MONAI Label's settings that differ from its defaults; environment variables take precedence."""
    quoted = ", ".join(f'"*{suffix}"' for suffix in SUFFIXES)  # image files, besides folders of DICOM files
    return {
        "MONAI_LABEL_DATASTORE_FILE_EXT": f"[{quoted}]",
        "MONAI_LABEL_INFER_CONCURRENCY": "1",
        "MONAI_LABEL_INFER_TIMEOUT": str(PATIENCE),
        "MONAI_LABEL_SESSION_PATH": str(app.parent / "sessions"),
        "BUNDLE_ISOLATED": "4GiB",  # memory limit of the separate process that decodes images
    }


def search_path() -> str:
    """Return Python's search path with the server, and the replacement of torchvision's compiled part."""
    return os.pathsep.join(filter(None, (str(SHIM), str(ROOT), os.environ.get("PYTHONPATH"))))


if __name__ == "__main__":
    import fire

    try:
        fire.Fire(serve)
    except (ModuleNotFoundError, FileNotFoundError, ValueError) as error:
        sys.exit(f"error: {error}")
