"""Lay out the folder that MONAI Label starts from: its stock app `monaibundle` with this bundle in it, unmodified."""

from __future__ import annotations

import importlib.util
import shutil
import sys
from pathlib import Path

#: The bundle's name in requests. MONAI Label guesses a model's task from it, so it must not contain "detection" etc.
NAME = "ct_kernel_translation_gan"
#: Parts of the bundle that MONAI Label opens.
PARTS = ("LICENSE", "bundle", "configs", "models")


def lay_out(folder: str | Path, bundle: str | Path) -> Path:
    """Create or update the app's folder and return the path of the app in it.

    ::

        folder/monaibundle/main.py                 copied from the installed package
        folder/monaibundle/model/NAME/configs  --> the bundle's own, as are its code and weights

    Training runs and logs that MONAI Label writes into the bundle stay in this folder, but weights that training writes
    into ``models`` go to the bundle itself.

    Args:
        folder: folder of the app, created if missing.
        bundle: folder of the bundle.

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
