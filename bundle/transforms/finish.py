"""Finish a result: from what the cascade made to the voxels of a file, whole or slab by slab, by the same transforms.

::

    result, in RAS --> restoring: in the source's axes and units, pasted, rounded --> saving: window by window
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from bundle.cascade import ScratchImage
from bundle.geometry import Tile, region, tiles
from bundle.images import Opened, Volume
from bundle.runtime import first, prefetch, trim_malloc, wait
from bundle.runtime.files import remove_folder
from bundle.transforms.prepare import slab_depth
from bundle.transforms.save import SaveImageAsSourced
from monai.config import KeysCollection
from monai.data import MetaTensor, decollate_batch
from monai.transforms import MapTransform
from torch import Tensor


class FinishImaged(MapTransform):
    """Restore and save what the cascade made, in memory or on disk.

    Args:
        keys: results: a batch of tensors, or a `ScratchImage`, as `bundle.cascade.CascadeInferer` leaves them.
        postprocessing: all transforms of a result; a `SaveImageAsSourced` among them writes it.
        opening: the first transforms of preprocessing, up to the image's own orientation: what is inverted.
        image_key: the image, as what was prepared.
        allow_missing_keys: do not raise if a key is missing.
    """

    def __init__(
        self,
        keys: KeysCollection,
        postprocessing: Any,
        opening: Sequence[Any] = (),
        image_key: str = "image",
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.postprocessing, self.opening, self.image_key = postprocessing, opening, image_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Write the results under the keys and tell their paths."""
        out = dict(data)
        on_disk = [key for key in self.key_iterator(out) if isinstance(out[key], ScratchImage)]
        for key in on_disk:
            self.save(out[key], key)
        if not on_disk:
            (out,) = [self.postprocessing(item) for item in decollate_batch(out)]
        return out

    def save(self, result: ScratchImage, key: Hashable) -> None:
        """Write one result from disk, and remove what is there of the job.

        Raises:
            FileExistsError: If something lies there meanwhile that must not be replaced; nothing of the job is kept, as
                the next run would be refused from the start.
        """
        steps = self.postprocessing.transforms
        (saving,) = [step for step in steps if isinstance(step, SaveImageAsSourced)]
        restoring = [step for step in steps if step is not saving]
        volume: Volume = result.about["volume"]
        if first():
            try:
                self.write(result, volume, key, restoring, saving)
            except FileExistsError:
                _remove(result)
                raise
            _remove(result)
        wait()

    def write(
        self, result: ScratchImage, volume: Volume, key: Hashable, restoring: Sequence[Any], saving: SaveImageAsSourced
    ) -> None:
        """Make the voxels of the file, slab by slab along its last axis."""
        source, image = result.about["source"], volume.image
        slab = (*image.shape[:-1], slab_depth(image.shape))

        def read(tile: Tile) -> tuple[Tensor, Opened]:
            return result[region(volume.of_file(tile.write))][0], image.part(tile.write).loaded()

        def restored(_: Tile, given: tuple[Tensor, Opened]) -> np.ndarray:
            made, part = given
            data: Any = {self.image_key: part}
            for step in self.opening:
                data = step(data)
            data = {**data, key: MetaTensor(made)}
            for step in restoring:
                data = step(data)
            return torch.as_tensor(data[key]).as_subclass(Tensor)[0].cpu().numpy()

        walk = tiles(image.shape, slab, (0,) * len(slab))
        with saving.created(source) as write:
            for _ in trim_malloc(prefetch(walk, read, restored, lambda tile, voxels: write(tile.write, voxels))):
                pass


def _remove(result: ScratchImage) -> None:
    """Remove what is there of a job."""
    remove_folder(result.folder)
    result.about["lock"].release()
