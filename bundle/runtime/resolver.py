"""Find the config that a component is being instantiated from, which MONAI does not pass to the component."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

from monai.bundle.reference_resolver import ReferenceResolver


def calling_resolver() -> ReferenceResolver | None:
    """Return the resolver that is instantiating the calling component; None outside of a config."""
    frame = inspect.currentframe()
    while frame is not None:
        if isinstance(caller := frame.f_locals.get("self"), ReferenceResolver):
            return caller
        frame = frame.f_back
    return None


def calling_config() -> dict[str, Any] | None:
    """Return the config, as written, from which the calling component is instantiated; None outside of a config."""
    resolver = calling_resolver()
    root = resolver.get_item("") if resolver else None
    return None if root is None else root.get_config()


def deferred(key: str) -> Callable[[], Any]:
    """Return a function that resolves a key of the calling config, so that errors arise when the function is called.

    Args:
        key: an id in the config, such as ``results#images``.

    Raises:
        ValueError: If this is called outside of a config.
    """
    resolver = calling_resolver()
    if resolver is None:
        raise ValueError(f"key {key!r} belongs to no config; name this function in one.")
    return partial(resolver.get_resolved_content, key)
