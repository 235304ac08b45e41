"""Read the words of ``python -m monai.bundle run`` as python-fire and MONAI do: options, run id, a file of arguments.

::

    run inference -config_file a.json --tile-size=64 --args_file args.json
    -> run_id: inference, config_file: a.json, tile_size: 64, args_file: args.json, and what args.json adds
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Sequence
from typing import Any

import monai.bundle
from monai.bundle import ConfigParser

#: Commands of MONAI that run a config.
RUNS = ("run", "run_workflow", "run-workflow")
#: What fire takes for an option: a negative number is none.
FLAG = re.compile(r"--.|-[a-zA-Z]")


def options_of(given: Sequence[str]) -> dict[str, str]:
    """Return the options and their values as typed; a positional word gets the name of MONAI's argument.

    Args:
        given: the words after ``run``.
    """
    found: dict[str, str] = {}
    free: list[str] = []
    left = list(given)
    while left and left[0] != "--":
        word = left.pop(0)
        if not FLAG.match(word):
            free.append(word)
            continue
        name, equals, value = word.lstrip("-").partition("=")
        if not equals:
            value = "True" if not left or FLAG.match(left[0]) else left.pop(0)
        found[name.replace("-", "_")] = value
    return {**dict(zip(inspect.signature(monai.bundle.run).parameters, free, strict=False)), **found}


def in_args_file(path: str) -> dict[str, Any]:
    """Return the arguments in a JSON or YAML file.

    Raises:
        ValueError: If it is no such file, or holds no mapping.
    """
    try:
        told = ConfigParser.load_config_file(path)
    except OSError as error:
        raise ValueError(f"args_file {path!r} cannot be read: {error.strerror}; give a JSON or YAML file.") from None
    if not isinstance(told, dict):
        raise ValueError(f'args_file {path!r} holds no mapping of arguments; write it like {{"tile_size": 64}}.')
    return told


def monai_arguments() -> set[str]:
    """Return the names of the arguments of MONAI's own, which are no keys of a config."""
    of = (monai.bundle.run, monai.bundle.run_workflow, monai.bundle.create_workflow, monai.bundle.ConfigWorkflow)
    named = (each for function in of for each in inspect.signature(function).parameters.values())
    return {each.name for each in named if each.kind is not inspect.Parameter.VAR_KEYWORD}
