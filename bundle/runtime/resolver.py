"""The config that a component is being made from, which MONAI hands to nobody."""

from __future__ import annotations

import inspect
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
