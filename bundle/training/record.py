"""A training's settings, written beside its weights."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import bundle
import monai
import torch


def write_record(path: str | Path, settings: Mapping[str, Any]) -> None:
    """Write the settings as they were resolved, overrides included, and the versions of what ran, as JSON.

    Args:
        path: a ``.json`` file; its folder is made where missing.
        settings: names and values; what JSON does not know is written as text.
    """
    versions = {
        "bundle": bundle.__version__,
        "monai": monai.__version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
    }
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"settings": dict(settings), "versions": versions}, indent=4, default=str)
    path.write_text(text + "\n", encoding="utf-8")
