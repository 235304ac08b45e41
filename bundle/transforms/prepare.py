"""Prepare an image for the cascade: whole in memory, or slab by slab on disk, by the same transforms.

::

    file --whole, or slab by slab--> opening: in RAS --> showing: as the cascade sees it --> tensor, or image on disk

An image in memory is the case of one slab.
"""

from __future__ import annotations

import json
import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from bundle.cascade import ScratchImage, barrier, create_array, open_group, pending_tiles, write_tile
from bundle.cascade.scratch import NOTE
from bundle.geometry import Tile, even, tiles
from bundle.images import ImageError, Opened, Volume, level_type, open_image, result_path, stem, suffix
from bundle.images.derived import Derivation
from bundle.images.formats import check_creatable
from bundle.images.readback import least_bytes
from bundle.runtime import Job, begin_notes, first, free_memory, parse_bytes, prefetch, trim_malloc, wait, world
from bundle.runtime.files import PART, check_space, remove_abandoned, size_of
from bundle.runtime.job import place_of
from bundle.runtime.locks import HeldLock
from bundle.transforms.check_input import CheckInput
from bundle.transforms.chosen import Chosen
from bundle.transforms.kernel_choice import KernelChoice
from monai.config import KeysCollection
from monai.data import list_data_collate
from monai.transforms import MapTransform
from torch import Tensor

try:
    import zarr
except ImportError:  # zarr 3 needs Python 3.11
    zarr = None  # type: ignore[assignment]

#: Bytes of a slab of float32; what is done with one takes a few times that.
SLAB = "32MiB"
#: Longest side of a chunk of the image, in voxels.
CHUNK = 64
#: What an image in memory takes at most, its scales and results among it, measured: bytes a voxel.
VOXEL = 28
#: Characters of an image's name that the name of its scratch folder keeps.
LONGEST = 40
#: The share of the free memory that it may take before it goes to disk.
SHARE = 4


class PrepareImaged(MapTransform):
    """Prepare images in memory, or on disk if they are too large for that.

    Args:
        keys: paths of images, any that `bundle.images.find_images` finds.
        preprocessing: all transforms of an image, from its path to what the network sees; on disk none of them may look
            at more than slices.
        streaming: whether the scales lie on disk; null: if the image in memory would take more than a quarter of the
            memory that is free.
        folder: where images on disk are kept until their result is written, each in a folder of its own.
        match_kernel: whether the kernel of a CT has to be found first, see `bundle.transforms.MatchKerneld`.
        spatial_dims: 2 or 3.
        job: weights and settings. An interrupted run resumes if image, job and the bundle's version are the same.
        series_uid: of a DICOM folder with several series, the one to take.
        whole: a reason why the image has to be whole in memory; null for none.
        output_ext: of the results, for which the disk has to have room.
        output_dtype: of the results.
        allow_missing_keys: do not raise if a key is missing.
        choice: of the kernels, as `MatchKerneld` has it.
        check: what looks at each image before anything else is done with it; null for nothing.

    Raises:
        ValueError: If streaming is asked for and there is such a reason, or kernels are named that nothing would match.
    """

    def __init__(
        self,
        keys: KeysCollection,
        preprocessing: Any,
        streaming: bool | None = None,
        folder: str | Path = "output",
        match_kernel: bool = False,
        spatial_dims: int = 3,
        job: Job | None = None,
        series_uid: str = "",
        whole: str | None = None,
        output_ext: str = "",
        output_dtype: str = "int16",
        allow_missing_keys: bool = False,
        choice: KernelChoice | None = None,
        check: CheckInput | None = None,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        if whole and streaming:
            raise ValueError(f"streaming does not go with {whole}, which needs the whole image in memory; leave one.")
        self.preprocessing, self.whole = preprocessing, whole
        self.streaming, self.output_ext, self.output_dtype = streaming, output_ext, output_dtype
        self.folder, self.spatial_dims, self.match_kernel = Path(folder), spatial_dims, match_kernel
        self.job, self.series_uid = job or Job(), series_uid
        self.choice, self.check = choice or KernelChoice(), check or CheckInput("off")
        for key in () if match_kernel else ("source_kernel", "target_kernel"):
            if value := getattr(self.choice, key):
                raise ValueError(f"{key} {value!r} has no effect as match_kernel is False here; leave it out.")
        self._lock: HeldLock | None = None

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Replace each path by a MetaTensor `(1, *spatial)`, or by a `ScratchImage`.

        Raises:
            ImageError: If the image, or a derived series of it, is refused (`bundle.transforms.CheckInput`).
            LockedError: If other processes work on the same image on disk, and this one is not alone.
            NotWrittenError: If the disk has no room for the result, and on disk for the image and the scales.
        """
        begin_notes()
        if self._lock:
            self._lock.release()  # of an image that failed
        out = dict(data)
        for key in self.key_iterator(out):
            if not isinstance(out[key], (str, Path)):
                return self.preprocessing(out)
            image = open_image(out[key], self.series_uid)
            self.check(image)
            if first() or not self.on_disk(image):  # else the first process does it for all
                self.tidy(image)
                self.check_space(image)
            if not self.on_disk(image):
                return self.preprocessing({**out, key: image})
            out[key] = self.put_on_disk(image, key)
        return out

    def on_disk(self, image: Opened) -> bool:
        """Whether an image goes to disk."""
        if self.streaming is not None:
            return self.streaming
        if self.whole or zarr is None or world() > 1:
            return False
        return VOXEL * math.prod(image.shape) > free_memory() / SHARE

    def result_type(self, image: Opened) -> str:
        """The voxel type of an image's result."""
        return level_type(image.bits) if image.bits else self.output_dtype

    def check_space(self, image: Opened) -> None:
        """Refuse to begin what disk or memory have no room for, and what the result's format cannot hold.

        On disk are the result, and two images of 32 bits.
        """
        end = suffix(result_path(image.path, self.folder, "", self.output_ext, files=image.files))
        needed = least_bytes(image.shape, self.result_type(image), end)
        if self.on_disk(image):
            needed += max(2 * least_bytes(image.shape, np.float32, "") - size_of(self.scratch(image)), 0)
        elif (memory := VOXEL * math.prod(image.shape)) > (free := free_memory()):
            way_out = f"leave out {self.whole}, and " if self.whole else ""
            raise ImageError(
                f"image {str(image.path)!r} of {image.shape} voxels takes {memory} bytes of memory, and {free} are "
                f"free; {way_out}set streaming True, which needs zarr 3, or free some."
            )
        check_space(self.folder / image.path.name, needed)
        check_creatable(self.folder / f"result{end}", image, self.output_dtype, Derivation())

    def tidy(self, image: Opened) -> None:
        """Remove what killed processes have left, but for what this job, or one of another image, can resume from."""
        own, place = self.scratch(image) if self.on_disk(image) else None, place_of(image.path)
        remove_abandoned(self.folder, lambda folder: folder == own or _is_elsewhere(folder, place))

    def scratch(self, image: Opened) -> Path:
        """The folder where an image lies on disk: one for each job, so that no two processes share it by chance."""
        return self.folder / f"{PART}{stem(image.path)[:LONGEST]}_{self.job.key(image.path, self.series_uid)}"

    def put_on_disk(self, image: Opened, key: Hashable) -> ScratchImage:
        """One image on disk, as the network sees it; what a run before has put there is not put there again."""
        volume, dims = Volume(image.of_dims(self.spatial_dims)), self.spatial_dims
        if first():
            self._lock = HeldLock(self.scratch(image), wait=world() == 1, task=f"image {str(image.path)!r}")
        wait()
        group = open_group(self.scratch(image), self.job.of(image.path, self.series_uid))
        shape = volume.shape[:dims]
        slab = (*shape[:-1], slab_depth(shape))
        create_array(group, "image", shape, image_chunks(shape))
        scratch = ScratchImage(group, "image", torch.from_numpy(volume.affine))
        walk = list(pending_tiles(scratch, tiles(shape, slab, (0,) * dims)))
        matched = self.match_kernel and (walk or first())  # who finds all slabs there still tells what was chosen
        chosen = self.choice(volume, volume.spacing, image.meta) if matched else Chosen()
        source = replace(image, meta={**image.meta, **chosen.told()})
        scratch.about = {"source": source, "volume": volume, "lock": self._lock}

        def read(tile: Tile) -> Opened:
            return volume.image.part(in_file(volume, tile.write)).loaded()

        def seen(_: Tile, part: Opened) -> Tensor:
            shown = self.preprocessing({key: part, "kernel": chosen.conversion})[key]
            return torch.as_tensor(shown).as_subclass(Tensor)[None]

        for _ in trim_malloc(prefetch(walk, read, seen, partial(write_tile, scratch))):
            pass
        barrier(scratch)
        return scratch


def _is_elsewhere(folder: Path, place: str) -> bool:
    """Whether a folder is the scratch of an image at another place, which may still resume."""
    try:
        return json.loads((folder / NOTE).read_text(encoding="utf-8"))["place"] != place
    except (OSError, ValueError, KeyError, TypeError):
        return False


def in_file(volume: Volume, window: Sequence[slice]) -> tuple[slice, ...]:
    """The window of the file of a window in RAS."""
    bounds = [(part.start, part.stop) for part in window]
    return volume.in_file([*bounds, *[(0, 1)] * (3 - len(bounds))])


def slab_depth(shape: Sequence[int]) -> int:
    """How many slices across the last axis make a slab."""
    return even(shape[-1], max(1, parse_bytes(SLAB) // (4 * math.prod(shape[:-1]))))


def image_chunks(shape: Sequence[int]) -> tuple[int, ...]:
    """The chunks of an image on disk, each of which lies in one slab."""
    return (*(min(CHUNK, side) for side in shape[:-1]), slab_depth(shape))


def collate(items: Sequence[dict[Hashable, Any]]) -> Any:
    """A batch of one image on disk as it is, of images in memory as MONAI makes it."""
    (first, *others) = items
    on_disk = any(isinstance(value, ScratchImage) for value in first.values())
    return first if on_disk and not others else list_data_collate(items)
