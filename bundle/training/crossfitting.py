"""Cross-fitting: let cascades that were not trained on an image make its previous scale.

A cascade translates the images it was trained on better than others. A scale that learns only from such results trusts
its previous scale too much (`docs/brain.md` has figures).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

from bundle.cascade import Cascade
from bundle.training.weights import load_trained


class CrossFitting:
    """Choose the cascades that were not trained on an image.

    Args:
        cascade: cascade with the networks; its weights are not changed.
        folders: folders of other trainings, each with weights and records of the previous scales; empty for no
            cross-fitting.
        scale: the scale to train.
        own: whether the cascade itself makes previous scales as well. It has seen every image; but if the other
            trainings had few images of a kind, their results are far worse than its own will be on a new image, and a
            scale that learns only from them trusts its previous scale too little.
    """

    def __init__(self, cascade: Cascade, folders: Sequence[str | Path], scale: int, own: bool = False) -> None:
        self.cascade, self.scale, self.own = cascade, scale, own
        self.seen = {Path(folder): images_of(Path(folder), scale) for folder in folders}

    def unseen(self, image: str | Path) -> list[Path]:
        """Return the folders of the trainings that have not seen an image; none if no folders were given.

        Raises:
            ValueError: If every training has seen it, unless the cascade itself counts as well.
        """
        name = Path(image).name
        folders = [folder for folder, names in self.seen.items() if name not in names]
        if self.seen and not folders and not self.own:
            raise ValueError(
                f"cross_fitting {[str(folder) for folder in self.seen]}: each of them was trained on {name}; add a "
                "training that was not (--held_out, or another --fold)."
            )
        return folders

    def __call__(self, image: str | Path) -> Iterator[Cascade]:
        """Yield the cascades of the trainings that have not seen an image, and the cascade itself if it counts."""
        for folder in self.unseen(image):
            cascade = deepcopy(self.cascade)
            load_trained(cascade, folder, self.scale, "")
            yield cascade
        if self.seen and self.own:
            yield self.cascade


def images_of(folder: Path, scales: int) -> set[str]:
    """Return the names of the images that the first scales of a training were trained on.

    Raises:
        FileNotFoundError: If the weights or the record of a scale are missing.
    """
    names: set[str] = set()
    for scale in range(scales):
        for file in (folder / f"scale_{scale}.pt", folder / f"scale_{scale}.json"):
            if not file.is_file():
                raise FileNotFoundError(f"cross_fitting: {file} is missing; train scale {scale} there first.")
        record: Mapping[str, Any] = json.loads((folder / f"scale_{scale}.json").read_text(encoding="utf-8"))
        names.update(record["settings"]["trained_on"])
    return names
