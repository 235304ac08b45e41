"""MONAI Label's server behind the allow-lists of `rules`; it stays responsive and reports errors in plain words."""

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

# By default, any web page open in a browser on this machine may read the server's answers.
settings.MONAI_LABEL_CORS_ORIGINS = [f"http://127.0.0.1:{settings.MONAI_LABEL_SERVER_PORT}"]
import monailabel.app as stock  # noqa: E402 - reads the setting when it is imported

RULES = make_rules(NAME, device_list())
ROUTERS = [info, model, infer, batch_infer, train, activelearning, scoring, datastore, logs, session]
ROUTERS += [login] if settings.MONAI_LABEL_AUTH_ENABLE else []


def threaded(router: APIRouter) -> None:
    """Replace MONAI Label's inference route, which blocks all other requests, by one that runs in a thread.

    One image is translated at a time, in the order of the requests: ``MONAI_LABEL_INFER_CONCURRENCY`` is 1.
    """
    (route,) = router.routes
    original = route.endpoint

    def api_run_inference(image: str, **request: Any) -> Any:
        request.pop("user")  # already authenticated by a dependency in the signature
        try:
            image = find(image, app_instance().studies, app_instance().datastore())
        except FileNotFoundError as error:
            raise HTTPException(404, str(error)) from error
        return infer.run_inference(image=image, **request)

    api_run_inference.__signature__ = inspect.signature(original)  # type: ignore[attr-defined]
    router.routes.clear()
    router.add_api_route("/{model}", api_run_inference, methods=["POST"], summary="Run Inference for supported model")


def in_background(request: dict[str, Any], method: str, **options: Any) -> Any:
    """Start training or inference of all images in another process after checking values and files."""
    check_evaluated(request)
    app_instance().datastore().check_all()
    return run_background_task(request, method, **options)


def harden() -> None:
    """Replace parts of the stock app by checked ones, and repair its authentication.

    The stock app verifies tokens without naming an algorithm, which PyJWT 2 refuses, so that nobody could log in.
    """
    interfaces.LocalDatastore = FencedDatastore
    BundleInferTask.pre_transforms = checking(BundleInferTask.pre_transforms, 1)
    BundleTrainTask.__call__ = checking(BundleTrainTask.__call__, 1)
    task.run_background_task = in_background
    auth.jwt = SimpleNamespace(decode=partial(auth.jwt.decode, algorithms=["RS256"]))


def served(router: APIRouter) -> APIRouter:
    """Return a router with only those routes that have a rule."""
    kept = APIRouter()
    kept.routes.extend(
        route for route in router.routes if any((method, route.path) in RULES for method in route.methods)
    )
    return kept


def told(_: Request, error: Exception) -> JSONResponse:
    """Answer with the message of the root cause instead of "Internal Server Error"; the log has the traceback."""
    while error.__cause__:
        error = error.__cause__  # type: ignore[assignment]
    return JSONResponse({"detail": f"{error}" or type(error).__name__}, 500)


def refused(_: Request, error: Exception) -> JSONResponse:
    """Refuse a request that names an image outside the studies, or a value that would be evaluated."""
    return JSONResponse({"detail": str(error)}, 403 if isinstance(error, OutsideError) else 400)


def missing(request: Request, error: HTTPException) -> JSONResponse:
    """Answer a request for a route that is not served; tell why if MONAI Label has the route."""
    detail, path = error.detail, request.url.path
    if detail == HTTPStatus(error.status_code).phrase:
        why = why_off(request.method, path)
        detail = f"{request.method} {path} is not served here{f': {why}' if why else ''}."
    return JSONResponse({"detail": detail}, error.status_code, error.headers)


def make_app() -> FastAPI:
    """Return MONAI Label's app with the guard before every route, and only with routes that have a rule."""
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
    """Change to an empty folder: MONAI Label looks for images in the working folder before it looks in the studies."""
    folder = Path(settings.MONAI_LABEL_APP_DIR).parent / "empty"
    folder.mkdir(exist_ok=True)
    os.chdir(folder)


run_background_task = task.run_background_task
app = make_app()
leave_working_folder()
