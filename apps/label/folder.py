"""The folder that MONAI Label starts from: its stock app `monaibundle`, and in it this bundle, unmodified."""

from __future__ import annotations

import importlib.util
import shutil
import sys
from pathlib import Path

#: The bundle's name in requests. From it MONAI Label guesses what a model is for: no "detection" or the like in it.
NAME = "ct_kernel_translation_gan"
#: What a bundle consists of, as far as MONAI Label opens it.
PARTS = ("LICENSE", "bundle", "configs", "models")


def lay_out(folder: str | Path, bundle: str | Path) -> Path:
    """Make the app's folder, or bring it up to date, and return the app's path in it.

    ::

        folder/monaibundle/main.py                 copied from the installed package
        folder/monaibundle/model/NAME/configs  --> the bundle's own, as are its code and weights

    What MONAI Label writes into the bundle, training runs and logs, stays in the folder. Weights that training writes
    into ``models`` are the bundle's own.

    Args:
        folder: made where missing.
        bundle: holds the parts.

    Raises:
        ModuleNotFoundError: If MONAI Label is not installed.
        FileNotFoundError: If a part is missing.
    """
    if importlib.util.find_spec("monailabel") is None:
        raise ModuleNotFoundError(
            "MONAI Label is not installed in this environment; make label makes one that has it, .venv-label."
        )
    bundle, app = Path(bundle).resolve(), Path(folder).resolve() / "monaibundle"
    missing = [part for part in PARTS if not (bundle / part).exists()]
    if missing:
        raise FileNotFoundError(f"bundle {str(bundle)!r} has no {', '.join(missing)}; give a bundle's folder.")
    stock = Path(sys.prefix) / "monailabel" / "sample-apps" / "monaibundle"
    shutil.copytree(stock, app, ignore=shutil.ignore_patterns("logs", "model", "__pycache__"), dirs_exist_ok=True)
    model = app / "model" / NAME
    model.mkdir(parents=True, exist_ok=True)
    for part in PARTS:
        (model / part).unlink(missing_ok=True)
        (model / part).symlink_to(bundle / part)
    return app
