"""Convert the output of the cascade to the voxels of a file and save it, whole or slab by slab, by the same transforms.

::

    result, in RAS --> restore: the source's axes and units, paste, round --> save: window by window

A result on disk is restored row by row while the cascade makes it, and its rows are stored as they will be in the file.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from bundle.cascade import ScratchImage, SlabFiles
from bundle.geometry import Tile, Window, region, tiles
from bundle.images import Opened, Volume
from bundle.runtime import first, prefetch, trim_malloc, wait
from bundle.runtime.files import remove_folder
from bundle.transforms.prepare import in_file, slab_depth
from bundle.transforms.save import SaveImageAsSourced
from monai.config import KeysCollection
from monai.data import MetaTensor, decollate_batch
from monai.transforms import MapTransform
from nibabel.orientations import apply_orientation, axcodes2ornt, io_orientation, ornt_transform
from torch import Tensor

#: Folder of a scratch group with the finished slices of a result.
FINISHED = "finished"


class FinishImaged(MapTransform):
    """Restore and save the output of the cascade, in memory or on disk.

    Args:
        keys: results: a batch of tensors, or a `ScratchImage`, as returned by `bundle.cascade.CascadeInferer`.
        postprocessing: all transforms of a result; a `SaveImageAsSourced` among them writes it.
        opening: the first transforms of preprocessing, up to the orientation, which are inverted.
        image_key: key of the image, as in the preprocessing.
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
        """Write the results under the keys and print their paths."""
        out = dict(data)
        on_disk = [key for key in self.key_iterator(out) if isinstance(out[key], ScratchImage)]
        for key in on_disk:
            self.save(out[key], key)
        if not on_disk:
            (out,) = [self.postprocessing(item) for item in decollate_batch(out)]
        return out

    def save(self, result: ScratchImage, key: Hashable) -> None:
        """Write one result from disk, and remove the job's scratch folder.

        Raises:
            FileExistsError: If the result's path was meanwhile taken by a file that must not be replaced; the scratch
                folder is removed even then, as the next run would be refused from the start.
        """
        volume: Volume = result.about["volume"]
        if first():
            try:
                self.write(result, volume, key)
            except FileExistsError:
                _remove(result)
                raise
            _remove(result)
        wait()

    @property
    def saving(self) -> SaveImageAsSourced:
        """The transform that writes the results."""
        (saving,) = [step for step in self.postprocessing.transforms if isinstance(step, SaveImageAsSourced)]
        return saving

    def add_missing(self, image: str, series_uid: str = "") -> None:
        """Make what is asked for beside an existing result, see `SaveImageAsSourced.add_missing`."""
        self.saving.add_missing(image, series_uid)

    def restored(self, made: Tensor, part: Opened, key: Hashable) -> np.ndarray:
        """Return the voxels of a part of the file.

        Args:
            made: output of the cascade, `(1, *spatial)`, in RAS.
            part: the same part of the source, held in memory.
            key: key of the result.
        """
        data: Any = {self.image_key: part}
        for step in self.opening:
            data = step(data)
        return self.before_saving({**data, key: MetaTensor(made)}, key)

    def before_saving(self, data: Any, key: Hashable) -> np.ndarray:
        """Return the voxels of the file: the result after all transforms except the one that writes it."""
        for step in self.postprocessing.transforms:
            data = data if isinstance(step, SaveImageAsSourced) else step(data)
        return torch.as_tensor(data[key]).as_subclass(Tensor)[0].cpu().numpy()

    def is_finished(self, result: ScratchImage, start: int, stop: int) -> bool:
        """Return whether slices of a result are stored as they will be in the file."""
        slabs = self._slabs(result, start, stop)
        return all(slabs.holds(begin) for begin, _ in slabs.parts)

    def finish(self, result: ScratchImage, start: int, stop: int) -> None:
        """Restore slices of a result, and store them as they will be in the file."""
        (key,), volume = self.keys, result.about["volume"]
        slabs, across = self._slabs(result, start, stop), [slice(0, side) for side in result.shape[2:-1]]

        def read(slices: tuple[int, int]) -> tuple[Tensor, Opened]:
            window = (*across, slice(*slices))
            return result[region(window)][0], volume.image.part(in_file(volume, window)).loaded()

        def restored(_: Any, given: tuple[Tensor, Opened]) -> np.ndarray:
            return turned(self.restored(*given, key), volume)

        missing = [slices for slices in slabs.parts if not slabs.holds(slices[0])]
        for _ in trim_malloc(prefetch(missing, read, restored, slabs.write)):
            pass

    def write(self, result: ScratchImage, volume: Volume, key: Hashable) -> None:
        """Write the voxels of the file, slab by slab along its last axis; unfinished ones are restored first."""
        source, image = result.about["source"], volume.image
        slab = (*image.shape[:-1], slab_depth(image.shape))
        finished = self._all_finished(result) if result.finisher else None

        def read(tile: Tile) -> Any:
            window: Window = volume.of_file(tile.write)
            return finished[window] if finished else (result[region(window)][0], image.part(tile.write).loaded())

        def restored(_: Tile, given: Any) -> np.ndarray:
            if finished:
                return turned(given, volume, back=True)
            made, part = given
            return self.restored(made, part, key)

        walk = tiles(image.shape, slab, (0,) * len(slab))
        with self.saving.created(source) as write:
            for _ in trim_malloc(prefetch(walk, read, restored, lambda tile, voxels: write(tile.write, voxels))):
                pass

    def _slabs(self, result: ScratchImage, start: int, stop: int) -> SlabFiles:
        """Return the slabs of a row of finished slices."""
        shape = result.shape[2:]
        return SlabFiles(result.folder / FINISHED, (*shape[:-1], stop), range(start, stop, slab_depth(shape)))

    def _all_finished(self, result: ScratchImage) -> SlabFiles:
        """Return all finished slabs."""
        folder = result.folder / FINISHED
        return SlabFiles(folder, result.shape[2:], sorted(int(file.stem) for file in folder.glob("*.npy")))


def turned(voxels: np.ndarray, volume: Volume, back: bool = False) -> np.ndarray:
    """Reorient voxels from the axes of a volume's file to RAS, or back; those of a 2D picture are left unchanged."""
    if volume.is_picture:
        return voxels
    own, ras = io_orientation(volume.image.affine), axcodes2ornt("RAS")
    return np.asarray(apply_orientation(voxels, ornt_transform(ras, own) if back else own))


def _remove(result: ScratchImage) -> None:
    """Remove the scratch folder of a job, and release its lock."""
    remove_folder(result.folder)
    result.about["lock"].release()
