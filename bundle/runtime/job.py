"""Describe a job: everything that a result depends on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from bundle import __version__
from bundle.runtime.hashes import file_hash, fingerprint
from bundle.runtime.origins import origin_of


class Job:
    """The weights and settings that results depend on; combined with an image, all that its result depends on.

    Args:
        weights: path of the checkpoint; null for none.
        settings: everything else that results depend on, serializable to JSON.
    """

    def __init__(self, weights: str | Path | None = None, settings: Sequence[Any] = ()) -> None:
        self.weights, self.settings = weights, list(settings)

    @cached_property
    def weights_hash(self) -> str | None:
        """SHA-256 of the weights; None without weights."""
        return file_hash(self.weights) if self.weights else None

    def of(self, image: str | Path, series_uid: str = "", files: Sequence[Path] = ()) -> dict[str, Any]:
        """Return everything that the result of an image depends on, serializable to JSON.

        Args:
            image: path of the image.
            series_uid: the series to use, for a DICOM folder with several series.
            files: the files that hold it (`bundle.images.files_of`); none for the path itself.
        """
        told = {"image": fingerprint(image, files), "place": place_of(image), "weights": self.weights_hash}
        return {"bundle": __version__, **told, "settings": [*self.settings, *filter(None, [series_uid])]}

    def key(self, image: str | Path | None = None, series_uid: str = "", files: Sequence[Path] = ()) -> str:
        """Return a short hash of the job, optionally for one image, that changes whenever part of the job does."""
        told = {"bundle": __version__, "weights": self.weights_hash, "settings": self.settings}
        told = self.of(image, series_uid, files) if image is not None else told
        return hashlib.sha256(json.dumps(told, sort_keys=True, default=str).encode()).hexdigest()[:12]


def place_of(path: str | Path) -> str:
    """Return a hash of the path of a file or folder, or of its path in its archive, which does not reveal its name."""
    return hashlib.sha256(str(origin_of(path).resolve()).encode(errors="surrogateescape")).hexdigest()[:16]
