"""Prepare an image for the cascade: whole in memory, or slab by slab on disk, by the same transforms.

::

    file --whole, or slab by slab--> opening: in RAS --> showing: as the cascade sees it --> tensor, or image on disk

An image in memory is the case of one slab. On disk a slab is made when the cascade gets there.
"""

from __future__ import annotations

import json
import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from bundle.cascade import ScratchImage, Slabs, open_group
from bundle.cascade.scratch import NOTE, Finisher
from bundle.geometry import even
from bundle.images import ImageError, Opened, Volume, level_type, open_image, result_path, stem, suffix
from bundle.images.derived import Derivation
from bundle.images.formats import check_creatable
from bundle.images.readback import least_bytes
from bundle.runtime import Job, begin_notes, first, free_memory, parse_bytes, wait, world
from bundle.runtime.files import PART, check_space, free_space, remove_abandoned, size_of
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
#: Slices of the image, and of its result, that lie on disk in float32, if neither is kept: about two rows of tiles.
ROWS = 256
#: What an image in memory takes at most, its scales and results among it, measured: bytes a voxel.
VOXEL = 28
#: Characters of an image's name that the name of its scratch folder keeps.
LONGEST = 40
#: The share of the free memory that it may take before it goes to disk, and there of the free disk before it is made
#: anew for each way through it.
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
        finishing: the transform that saves results (`bundle.transforms.FinishImaged`): it gets those on disk row by
            row, so that they need not lie there in float32; null to give it the whole.
        keep: whether an image on disk stays there as the cascade sees it, and is not made again, slab by slab, to be
            pooled, and then translated; null: if it takes less than a quarter of the disk that is free.

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
        finishing: Finisher | None = None,
        keep: bool | None = None,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        if whole and streaming:
            raise ValueError(
                f"streaming cannot be combined with {whole}, which needs the whole image in memory; leave one."
            )
        self.preprocessing, self.whole = preprocessing, whole
        self.streaming, self.output_ext, self.output_dtype = streaming, output_ext, output_dtype
        self.folder, self.spatial_dims, self.match_kernel = Path(folder), spatial_dims, match_kernel
        self.job, self.series_uid = job or Job(), series_uid
        self.choice, self.check = choice or KernelChoice(), check or CheckInput("off")
        self.finishing, self.keep = finishing, keep
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

    def is_kept(self, image: Opened) -> bool:
        """Whether an image on disk is kept as the cascade sees it; by several processes always, as they share it."""
        if self.keep is not None or world() > 1:
            return self.keep is not False
        return 4 * math.prod(image.shape) <= free_space(self.folder) / SHARE

    def finisher(self, image: Opened) -> Finisher | None:
        """What takes an image's result row by row, if the slices of the file are those of the cascade."""
        return self.finishing if Volume(image).thin_axis == 2 else None

    def check_space(self, image: Opened) -> None:
        """Refuse to begin what disk or memory have no room for, and what the result's format cannot hold.

        On disk are the voxels of the result, and beside them its file, or before some slices of 32 bits; without a
        `finisher` all slices of the result, and image or file.
        """
        end = suffix(result_path(image.path, self.folder, "", self.output_ext, files=image.files))
        kind = self.result_type(image)
        needed = least_bytes(image.shape, kind, end)
        if self.on_disk(image):
            voxels, rows = (least_bytes(shape, np.float32, "") for shape in (image.shape, _first(image.shape, ROWS)))
            if self.finisher(image):
                needed = least_bytes(image.shape, kind, "") + max(needed, 2 * rows)
            else:
                needed = voxels + max(needed, rows)
            needed = max(needed - size_of(self.scratch(image)), 0)
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
        chosen = self.choice(volume, volume.spacing, image.meta) if self.match_kernel else Chosen()
        shape = volume.shape[:dims]

        def read(slices: tuple[int, int]) -> Opened:
            window = (*(slice(0, side) for side in shape[:-1]), slice(*slices))
            return volume.image.part(in_file(volume, window)).loaded()

        def show(part: Opened) -> np.ndarray:
            shown = self.preprocessing({key: part, "kernel": chosen.conversion})[key]
            return torch.as_tensor(shown).as_subclass(Tensor)[0].float().cpu().numpy()

        starts = range(0, shape[-1], slab_depth(shape))
        slabs = Slabs(group / "image", shape, starts, read, show, self.is_kept(image))
        scratch = ScratchImage(group, "image", torch.from_numpy(volume.affine), slabs)
        source = replace(image, meta={**image.meta, **chosen.told()})
        scratch.about = {"source": source, "volume": volume, "lock": self._lock}
        scratch.finisher = self.finisher(image)
        return scratch


def _first(shape: Sequence[int], slices: int) -> tuple[int, ...]:
    """The shape of the first slices of an image."""
    return (*shape[:-1], min(shape[-1], slices))


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


def collate(items: Sequence[dict[Hashable, Any]]) -> Any:
    """A batch of one image on disk as it is, of images in memory as MONAI makes it."""
    (first, *others) = items
    on_disk = any(isinstance(value, ScratchImage) for value in first.values())
    return first if on_disk and not others else list_data_collate(items)
