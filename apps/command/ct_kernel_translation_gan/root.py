"""Find the bundle: inside the installed package, or around it in a clone."""

from __future__ import annotations

import json
import sys
from pathlib import Path

#: Private folder of the installed package, which keeps the generic name `bundle` out of site-packages.
PRIVATE = "_bundle"
#: Levels from this file up to the top of a clone.
UP = 3


def bundle_root() -> Path:
    """Return the bundle's folder, which contains ``bundle/``, ``configs/`` and ``models/``.

    Raises:
        FileNotFoundError: If there is none.
    """
    here = Path(__file__).resolve()
    for root in (here.parent / PRIVATE, here.parents[UP]):
        if (root / "configs" / "inference.json").is_file() and (root / "bundle" / "__init__.py").is_file():
            return root
    raise FileNotFoundError(f"the bundle is not at {str(here.parent / PRIVATE)!r}; install the package again.")


def version() -> str:
    """Return the version without importing the bundle."""
    metadata = bundle_root() / "configs" / "metadata.json"
    return str(json.loads(metadata.read_text(encoding="utf-8"))["version"])


def is_ours_or_free() -> bool:
    """Return whether this process can import the bundle: no other package called ``bundle`` is loaded."""
    loaded = sys.modules.get("bundle")
    if loaded is None:
        return True
    places = [Path(place).resolve() for place in getattr(loaded, "__path__", ())]
    return bundle_root() / "bundle" in places


def put_first() -> Path:
    """Put the bundle's folder first on this process's search path and return it."""
    root = bundle_root()
    if str(root) not in sys.path:
        sys.path.insert(0, str(root))
    return root
