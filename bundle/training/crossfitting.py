"""Previous scales made by cascades that were not trained on the image: cross-fitting.

What a cascade makes of the images it was trained on is better than what it makes of others. A scale that learns from
the former alone trusts its previous scale too much (`docs/brain.md` has figures).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

from bundle.networks import Cascade
from bundle.training.weights import load_trained


class CrossFitting:
    """Choose, for each image, a cascade that was not trained on it.

    Args:
        cascade: tells the networks; it is left as it is.
        folders: of other trainings, each with weights and records of the scales before; none for no cross-fitting.
        scale: the scale to train.
    """

    def __init__(self, cascade: Cascade, folders: Sequence[str | Path], scale: int) -> None:
        self.cascade, self.scale = cascade, scale
        self.seen = {Path(folder): images_of(Path(folder), scale) for folder in folders}
        self.loaded: tuple[Path, Cascade] | None = None

    def folder(self, image: str | Path) -> Path | None:
        """The first training that has not seen an image, or null where none are given.

        Raises:
            ValueError: where each has seen it.
        """
        name = Path(image).name
        if not self.seen:
            return None
        for folder, names in self.seen.items():
            if name not in names:
                return folder
        raise ValueError(
            f"cross_fitting {[str(folder) for folder in self.seen]}: each of them was trained on {name}; add a "
            "training that was not (--held_out, or another --fold)."
        )

    def __call__(self, image: str | Path) -> Cascade | None:
        """That training's cascade, or null where none are given."""
        folder = self.folder(image)
        if folder is None:
            return None
        if self.loaded is None or self.loaded[0] != folder:
            cascade = deepcopy(self.cascade)
            load_trained(cascade, folder, self.scale, "")
            self.loaded = folder, cascade
        return self.loaded[1]


def images_of(folder: Path, scales: int) -> set[str]:
    """The names of the images that the first scales of a training were trained on.

    Raises:
        FileNotFoundError: where the weights or the record of a scale are missing.
    """
    names: set[str] = set()
    for scale in range(scales):
        for file in (folder / f"scale_{scale}.pt", folder / f"scale_{scale}.json"):
            if not file.is_file():
                raise FileNotFoundError(f"cross_fitting: {file} is missing; train scale {scale} there first.")
        record: Mapping[str, Any] = json.loads((folder / f"scale_{scale}.json").read_text(encoding="utf-8"))
        names.update(record["settings"]["trained_on"])
    return names
