"""Check every request against the allow-lists before MONAI Label's own code sees any of its values.

The check is a dependency of the whole app: FastAPI runs it before the function of any route, and routes without a rule
are not served.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from fastapi import HTTPException, Request

from apps.label.rules import Rule
from apps.label.uploads import Upload, last_part
from apps.label.values import check_all, show


def make_guard(rules: Mapping[tuple[str, str], Rule]) -> Callable[[Request], Awaitable[None]]:
    """Return the check as a FastAPI dependency.

    Args:
        rules: rule of each served route, by method and path.

    Returns:
        A function that raises an HTTPException with status 400 and a one-line message if a request breaks its rule.
    """

    async def guard(request: Request) -> None:
        rule = rules.get((request.method, request.scope["route"].path))
        if rule is None:
            raise HTTPException(404, f"{request.method} {request.url.path} is not served here.")
        try:
            check_all(request.path_params.items(), rule.path, "part of the path")
            check_all(request.query_params.multi_items(), rule.query, "query parameter")
            if rule.form or rule.files:
                check_form((await request.form()).multi_items(), rule)
            if rule.body:
                rule.body.check("body", await request.body())
        except ValueError as error:
            raise HTTPException(400, str(error)) from error

    return guard


def check_form(items: list[tuple[str, Any]], rule: Rule) -> None:
    """Check the fields and files of a form, and reduce the path sent with a file to its last part.

    Raises:
        ValueError: If a field or file is not in the rule, or violates it.
    """
    check_all([(key, value) for key, value in items if isinstance(value, str)], rule.form, "form field")
    for key, sent in items:
        if isinstance(sent, str):
            continue
        upload: Upload | None = rule.files.get(key)
        if upload is None:
            files = ", ".join(sorted(rule.files)) or "none"
            raise ValueError(f"file {show(key)} is not known; known: {files}.")
        upload.check(key, sent.filename or "", sent.file)
        sent.filename = last_part(sent.filename or "")
