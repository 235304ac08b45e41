"""MONAI Label's server behind the closed lists of `rules`; it answers while it translates, and says what was wrong."""

from __future__ import annotations

import inspect
import os
from functools import partial
from http import HTTPStatus
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import monailabel.interfaces.app as interfaces
from fastapi import APIRouter, Depends, FastAPI, HTTPException, Request
from fastapi.responses import JSONResponse
from monailabel.config import settings
from monailabel.endpoints import (
    activelearning,
    batch_infer,
    datastore,
    infer,
    info,
    login,
    logs,
    model,
    scoring,
    session,
    train,
)
from monailabel.endpoints.user import auth
from monailabel.interfaces.utils.app import app_instance
from monailabel.tasks.infer.bundle import BundleInferTask
from monailabel.tasks.train.bundle import BundleTrainTask
from monailabel.utils.async_tasks import task
from monailabel.utils.others.generic import device_list

from apps.label.datastore import FencedDatastore
from apps.label.evaluated import EvaluatedError, check_evaluated, checking
from apps.label.folder import NAME
from apps.label.guard import make_guard
from apps.label.rules import make_rules, why_off
from apps.label.studies import OutsideError, find

# By default any web page that is open in a browser on this machine may read what the server answers.
settings.MONAI_LABEL_CORS_ORIGINS = [f"http://127.0.0.1:{settings.MONAI_LABEL_SERVER_PORT}"]
import monailabel.app as stock  # noqa: E402 - takes the setting as it is when it is imported

RULES = make_rules(NAME, device_list())
ROUTERS = [info, model, infer, batch_infer, train, activelearning, scoring, datastore, logs, session]
ROUTERS += [login] if settings.MONAI_LABEL_AUTH_ENABLE else []


def threaded(router: APIRouter) -> None:
    """Replace MONAI Label's route of inference by one that runs in a thread: its own keeps all others waiting.

    One image is translated at a time, in the order of the requests: ``MONAI_LABEL_INFER_CONCURRENCY`` is 1.
    """
    (route,) = router.routes
    original = route.endpoint

    def api_run_inference(image: str, **request: Any) -> Any:
        request.pop("user")  # whom the signature has let in
        try:
            image = find(image, app_instance().studies, app_instance().datastore())
        except FileNotFoundError as error:
            raise HTTPException(404, str(error)) from error
        return infer.run_inference(image=image, **request)

    api_run_inference.__signature__ = inspect.signature(original)  # type: ignore[attr-defined]
    router.routes.clear()
    router.add_api_route("/{model}", api_run_inference, methods=["POST"], summary="Run Inference for supported model")


def in_background(request: dict[str, Any], method: str, **options: Any) -> Any:
    """Start training or inference of all images in another process, once their values and files are checked."""
    check_evaluated(request)
    app_instance().datastore().check_all()
    return run_background_task(request, method, **options)


def harden() -> None:
    """Put what is checked in the place of what the stock app would use, and make its authentication work.

    It verifies a token without saying by which algorithm, and PyJWT 2 refuses to, so that nobody would be let in.
    """
    interfaces.LocalDatastore = FencedDatastore
    BundleInferTask.pre_transforms = checking(BundleInferTask.pre_transforms, 1)
    BundleTrainTask.__call__ = checking(BundleTrainTask.__call__, 1)
    task.run_background_task = in_background
    auth.jwt = SimpleNamespace(decode=partial(auth.jwt.decode, algorithms=["RS256"]))


def served(router: APIRouter) -> APIRouter:
    """The routes of a router that have a rule."""
    kept = APIRouter()
    kept.routes.extend(
        route for route in router.routes if any((method, route.path) in RULES for method in route.methods)
    )
    return kept


def told(_: Request, error: Exception) -> JSONResponse:
    """What went wrong, in the words of whoever found it, instead of "Internal Server Error"; the log has all of it."""
    while error.__cause__:
        error = error.__cause__  # type: ignore[assignment]
    return JSONResponse({"detail": f"{error}" or type(error).__name__}, 500)


def refused(_: Request, error: Exception) -> JSONResponse:
    """What a request may not have: an image outside the studies, or a value that would be evaluated."""
    return JSONResponse({"detail": str(error)}, 403 if isinstance(error, OutsideError) else 400)


def missing(request: Request, error: HTTPException) -> JSONResponse:
    """A route that there is not, and why, if MONAI Label has it."""
    detail, path = error.detail, request.url.path
    if detail == HTTPStatus(error.status_code).phrase:
        why = why_off(request.method, path)
        detail = f"{request.method} {path} is not served here{f': {why}' if why else ''}."
    return JSONResponse({"detail": detail}, error.status_code, error.headers)


def make_app() -> FastAPI:
    """MONAI Label's app, with the guard before every route; only routes that have a rule are in it."""
    harden()
    threaded(infer.router)
    made = FastAPI(
        title=settings.MONAI_LABEL_PROJECT_NAME,
        docs_url=None,
        redoc_url="/docs",
        lifespan=stock.lifespan,
        middleware=stock.app.user_middleware,
        dependencies=[Depends(make_guard(RULES))],
    )
    for endpoint in ROUTERS:
        made.include_router(served(endpoint.router), prefix=settings.MONAI_LABEL_API_STR)
    made.get("/", include_in_schema=False)(stock.custom_swagger_ui_html)
    made.get("/favicon.ico", include_in_schema=False)(stock.favicon)
    handlers = {Exception: told, OutsideError: refused, EvaluatedError: refused, 404: missing, 405: missing}
    for kind, handler in handlers.items():
        made.add_exception_handler(kind, handler)
    return made


def leave_working_folder() -> None:
    """Work in an empty folder: MONAI Label takes an image's name for a file there before it looks in the studies."""
    folder = Path(settings.MONAI_LABEL_APP_DIR).parent / "empty"
    folder.mkdir(exist_ok=True)
    os.chdir(folder)


run_background_task = task.run_background_task
app = make_app()
leave_working_folder()
