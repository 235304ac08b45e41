"""The config that a component is being made from, which MONAI hands to nobody."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

from monai.bundle.reference_resolver import ReferenceResolver


def calling_resolver() -> ReferenceResolver | None:
    """Return the resolver that is making the component from which this is called; nothing outside of a config."""
    frame = inspect.currentframe()
    while frame is not None:
        if isinstance(caller := frame.f_locals.get("self"), ReferenceResolver):
            return caller
        frame = frame.f_back
    return None


def calling_config() -> dict[str, Any] | None:
    """Return the config that the component from which this is called is made from, as it is written."""
    resolver = calling_resolver()
    root = resolver.get_item("") if resolver else None
    return None if root is None else root.get_config()


def deferred(key: str) -> Callable[[], Any]:
    """Return what resolves a key of the calling config when it is called, so that its errors meet the caller.

    Args:
        key: an id of the config, such as ``results#images``.

    Raises:
        ValueError: If it is called outside of a config.
    """
    resolver = calling_resolver()
    if resolver is None:
        raise ValueError(f"key {key!r} belongs to no config; name this function in one.")
    return partial(resolver.get_resolved_content, key)
