"""Fixed validation patches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from monai.data import Dataset


class FixedPatches(Dataset):
    """Draw patches once, from one volume after the other, and reuse them at every validation.

    Args:
        data: images, as for `monai.data.Dataset`.
        transform: transform that loads an image.
        patching: random transform that turns an image into a patch.
        number: number of patches.
        seed: seed of the patches.

    Raises:
        ValueError: If there is no image.
    """

    def __init__(self, data: Sequence, transform: Any, patching: Any, number: int, seed: int = 0) -> None:
        super().__init__(data, transform)
        if not len(data):
            raise ValueError(
                "there is no image to validate on: the fold is empty; take num_folds of at most the images."
            )
        patching.set_random_state(seed=seed)
        volumes = [transform(item) for item in data]
        self.patches = [patching(dict(volumes[i % len(volumes)])) for i in range(number)]

    def __len__(self) -> int:
        """Return the number of patches."""
        return len(self.patches)

    def __getitem__(self, index: Any) -> Any:
        """Return one patch."""
        return self.patches[index]
