"""MONAI Label's server, which goes on answering while it translates, and says what was wrong with a request."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import JSONResponse
from monailabel.config import settings
from monailabel.endpoints import infer
from monailabel.interfaces.utils.app import app_instance


def found(image: str) -> str:
    """An image as MONAI Label takes it: the name of a stored one, or a path; a folder of the studies becomes its path.

    Raises:
        HTTPException: where there is none.
    """
    store = app_instance().datastore()
    folder = Path(app_instance().studies) / image
    if not image or store.get_image_uri(image) or Path(image).exists():
        return image
    if folder.is_dir():
        return str(folder)
    stored = ", ".join(sorted(store.list_images())[:8]) or "nothing"
    raise HTTPException(
        404, f"image {image!r} is not among the studies, which hold {stored}; name one, or a folder of DICOM files."
    )


def threaded(router: APIRouter) -> None:
    """Replace MONAI Label's route of inference by one that runs in a thread: its own keeps all others waiting.

    One image is translated at a time, in the order of the requests: ``MONAI_LABEL_INFER_CONCURRENCY`` is 1.
    """
    (route,) = router.routes
    original = route.endpoint

    def api_run_inference(image: str, **request: Any) -> Any:
        request.pop("user")  # whom the signature has let in
        return infer.run_inference(image=found(image), **request)

    api_run_inference.__signature__ = inspect.signature(original)  # type: ignore[attr-defined]
    router.routes.clear()
    router.add_api_route("/{model}", api_run_inference, methods=["POST"], summary="Run Inference for supported model")


def told(_: Request, error: Exception) -> JSONResponse:
    """What went wrong, in the words of whoever found it, instead of "Internal Server Error"; the log has all of it."""
    while error.__cause__:
        error = error.__cause__  # type: ignore[assignment]
    return JSONResponse({"detail": f"{error}" or type(error).__name__}, 500)


threaded(infer.router)
# By default any web page that is open in a browser on this machine may read what the server answers.
settings.MONAI_LABEL_CORS_ORIGINS = [f"http://127.0.0.1:{settings.MONAI_LABEL_SERVER_PORT}"]
from monailabel.app import app  # noqa: E402 - takes routes and settings as they are when it is imported

app.add_exception_handler(Exception, told)
