"""A job: all that a result depends on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from bundle import __version__
from bundle.runtime.files import file_hash, fingerprint
from bundle.runtime.origins import origin_of


class Job:
    """What results are made by; with an image, all that its result depends on.

    Args:
        weights: the checkpoint; null for none.
        settings: whatever else results depend on, for JSON to write.
    """

    def __init__(self, weights: str | Path | None = None, settings: Sequence[Any] = ()) -> None:
        self.weights, self.settings = weights, list(settings)

    @cached_property
    def weights_hash(self) -> str | None:
        """The SHA-256 of the weights."""
        return file_hash(self.weights) if self.weights else None

    def of(self, image: str | Path, series_uid: str = "") -> dict[str, Any]:
        """Return what the result of an image depends on, for JSON to write.

        Args:
            image: its path.
            series_uid: of a DICOM folder with several series, the one to take.
        """
        told = {"image": fingerprint(image), "place": place_of(image), "weights": self.weights_hash}
        return {"bundle": __version__, **told, "settings": [*self.settings, *filter(None, [series_uid])]}

    def key(self, image: str | Path | None = None, series_uid: str = "") -> str:
        """Return a short hash of the job, or of the job of an image, that changes with anything in it."""
        told = {"bundle": __version__, "weights": self.weights_hash, "settings": self.settings}
        told = self.of(image, series_uid) if image is not None else told
        return hashlib.sha256(json.dumps(told, sort_keys=True, default=str).encode()).hexdigest()[:12]


def place_of(path: str | Path) -> str:
    """Return a hash of where a file or folder lies, or of its place in its archive, which does not tell its name."""
    return hashlib.sha256(str(origin_of(path).resolve()).encode(errors="surrogateescape")).hexdigest()[:16]
