"""Find which arguments a component of a config takes."""

from __future__ import annotations

import inspect
from functools import cache
from pydoc import ErrorDuringImport, locate
from typing import Any

from monai.bundle import ComponentLocator
from monai.bundle.config_item import ConfigComponent


def arguments_of(target: Any) -> set[str] | None:
    """Return the names of the arguments that a component takes, and MONAI's own such as ``_mode_``.

    Args:
        target: its ``_target_``: the full name of a class or function, or one of MONAI's without its module.

    Returns:
        The names; None if they are not known, or if it takes any.
    """
    if not isinstance(target, str) or target[:1] in ("$", "@", "%"):
        return None
    place = target if "." in target else _known().get_component_module_name(target)
    try:
        component = locate(place) if isinstance(place, str) else None
        taken = inspect.signature(component).parameters if callable(component) else None
    except (ErrorDuringImport, TypeError, ValueError):
        return None
    if taken is None or any(each.kind is inspect.Parameter.VAR_KEYWORD for each in taken.values()):
        return None
    return {*taken, *ConfigComponent.non_arg_keys}


@cache
def _known() -> ComponentLocator:
    """Return MONAI's list of its components, which takes seconds to make."""
    return ComponentLocator()
