"""Prepare an image for the cascade: whole in memory, or slab by slab on disk, by the same transforms.

::

    file --whole, or slab by slab--> open: in RAS --> show: as the cascade sees it --> tensor, or image on disk

An image in memory is the case of a single slab. On disk, a slab is made when the cascade needs it.
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
from bundle.cascade import ScratchImage, SlabFiles, open_group
from bundle.cascade.scratch import NOTE, Finisher
from bundle.geometry import even
from bundle.images import ImageError, Opened, Volume, files_of, level_type, open_image, result_path, stem, suffix
from bundle.images.derived import Derivation
from bundle.images.formats import check_creatable
from bundle.images.readback import least_bytes
from bundle.runtime import Job, begin_notes, first, free_memory, parse_bytes, set_up_malloc, world
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

#: Bytes of a float32 slab; processing one takes a few times as much.
SLAB = "16MiB"
#: Slices of the image and of its result that are on disk in float32 if neither is kept: about two rows of tiles.
ROWS = 256
#: Peak memory of an image in memory, including its scales and results, in bytes per voxel, measured.
VOXEL = 28
#: Most characters of an image's name in the name of its scratch folder.
LONGEST = 40
#: An image may take 1 / SHARE of the free memory, else it goes to disk; and there 1 / SHARE of the free disk space,
#: else its slabs are recomputed for each pass.
SHARE = 4


class PrepareImaged(MapTransform):
    """Prepare images in memory, or on disk if they are too large for that.

    Args:
        keys: paths of images that `bundle.images.find_images` finds.
        preprocessing: all transforms of an image, from its path to the input of the network; on disk, each of them must
            work slice by slice.
        streaming: whether the scales are kept on disk; null: if the image in memory would take more than a quarter of
            the free memory.
        folder: folder in which images on disk are kept until their result is written, each in a folder of its own.
        match_kernel: whether the kernel of a CT has to be found first, see `bundle.transforms.MatchKerneld`.
        spatial_dims: 2 or 3.
        job: weights and settings. An interrupted run resumes if image, job and the bundle's version are the same.
        series_uid: the series to read from a DICOM folder with several.
        whole: a reason why the whole image has to be in memory; null for none.
        output_ext: extension of the results, for the check of disk space.
        output_dtype: voxel type of the results.
        allow_missing_keys: do not raise if a key is missing.
        choice: choice of the kernels, as in `MatchKerneld`.
        check: checks each image before anything else is done with it; null for no check.
        finishing: the transform that saves results (`bundle.transforms.FinishImaged`). It gets results on disk row by
            row, so that they are not stored in float32; null to pass on the whole result.
        keep: whether an image on disk is stored as the cascade sees it, rather than recomputed slab by slab for pooling
            and again for translation; null: if it takes at most a quarter of the free disk space.

    Raises:
        ValueError: If streaming is requested although there is such a reason, or kernels are given but not matched.
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
            ImageError: If the image is refused (`bundle.transforms.CheckInput`) or does not fit into memory, or if the
                result, such as a derived series, cannot be made from it.
            SharedError: If several processes share the image, and one of them has one of these errors, or another run
                works on the image.
            NotWrittenError: If there is not enough disk space for the result, or for the image and scales on disk.
        """
        begin_notes()
        if self._lock:
            self._lock.release()  # of an earlier image that failed
        out = dict(data)
        for key in self.key_iterator(out):
            if not isinstance(out[key], (str, Path)):
                return self.preprocessing(out)
            begin_notes(f"image {str(out[key])!r}:")
            image = open_image(out[key], self.series_uid)
            on_disk = self.on_disk(image)  # asked once: the free memory changes
            if on_disk:
                set_up_malloc()  # before threads get heaps of their own
            self.check(image)
            scratch = self.scratch(image) if on_disk else None
            if first() or not scratch:  # else the first process does it for all
                self.tidy(image, scratch)
                self.check_space(image, scratch)
            if not scratch:
                return self.preprocessing({**out, key: image})
            out[key] = self.put_on_disk(image, key, scratch)
        return out

    def on_disk(self, image: Opened) -> bool:
        """Return whether an image is kept on disk."""
        if self.streaming is not None:
            return self.streaming
        if self.whole or zarr is None or world() > 1:
            return False
        return VOXEL * math.prod(image.shape) > free_memory() / SHARE

    def result_type(self, image: Opened) -> str:
        """Return the voxel type of an image's result."""
        return level_type(image.bits) if image.bits else self.output_dtype

    def is_kept(self, image: Opened) -> bool:
        """Return whether an image on disk is stored as the cascade sees it; several processes store it by default."""
        if self.keep is not None or world() > 1:
            return self.keep is not False
        return 4 * math.prod(image.shape) <= free_space(self.folder) / SHARE

    def finisher(self, image: Opened) -> Finisher | None:
        """Return the finisher of an image, which takes its result row by row, if the file has the cascade's slices."""
        return self.finishing if Volume(image).thin_axis == 2 else None

    def check_space(self, image: Opened, scratch: Path | None) -> None:
        """Refuse an image if disk or memory have too little space, or if the result's format cannot hold it.

        On disk are the voxels of the result, together with some float32 slices first, and with its file later. Without
        a `finisher`, they are all float32 slices of the result, with some of the image first, and with the file later.

        Args:
            image: the image.
            scratch: its folder if it is kept on disk; null if it stays in memory.

        Raises:
            ImageError: If the image does not fit into memory, or the format cannot hold the result.
            NotWrittenError: If there is not enough disk space.
        """
        end = suffix(result_path(image.path, self.folder, "", self.output_ext, files=image.files))
        kind = self.result_type(image)
        needed = least_bytes(image.shape, kind, end)
        if scratch:
            voxels, rows = (least_bytes(shape, np.float32, "") for shape in (image.shape, _first(image.shape, ROWS)))
            if self.finisher(image):
                needed = least_bytes(image.shape, kind, "") + max(needed, 2 * rows)
            else:
                needed = voxels + max(needed, rows)
            needed = max(needed - size_of(scratch), 0)
        elif (memory := VOXEL * math.prod(image.shape)) > (free := free_memory()):
            way_out = f"leave out {self.whole}, and " if self.whole else ""
            raise ImageError(
                f"image {str(image.path)!r} of {image.shape} voxels takes {memory} bytes of memory, and {free} are "
                f"free; {way_out}set streaming True, which needs zarr 3, or free some."
            )
        check_space(self.folder / image.path.name, needed)
        check_creatable(self.folder / f"result{end}", image, self.output_dtype, Derivation())

    def tidy(self, image: Opened, scratch: Path | None) -> None:
        """Remove what killed processes have left, except what this job, or a job of another image, can resume from."""
        place = place_of(image.path)
        remove_abandoned(self.folder, lambda folder: folder == scratch or _is_elsewhere(folder, place))

    def scratch(self, image: Opened) -> Path:
        """Return the scratch folder of an image: one for each job, so that different jobs never share it."""
        return self.folder / f"{PART}{stem(image.path)[:LONGEST]}_{self.job.key(*self._input(image))}"

    def _input(self, image: Opened) -> tuple[Path, str, list[Path]]:
        """Return what `Job.of` has to know of an image."""
        return image.path, self.series_uid, files_of(image.path)

    def put_on_disk(self, image: Opened, key: Hashable, folder: Path) -> ScratchImage:
        """Return an image on disk, as the network sees it; slabs that an earlier run has stored are reused."""
        volume, dims = Volume(image.of_dims(self.spatial_dims)), self.spatial_dims
        if first():
            self._lock = HeldLock(folder, wait=world() == 1, task=f"image {str(image.path)!r}")
        group = open_group(folder, self.job.of(*self._input(image)))
        chosen = self.choice(volume, volume.spacing, image.meta) if self.match_kernel else Chosen()
        shape = volume.shape[:dims]

        def read(slices: tuple[int, int]) -> Opened:
            window = (*(slice(0, side) for side in shape[:-1]), slice(*slices))
            return volume.image.part(in_file(volume, window)).loaded()

        def show(part: Opened) -> np.ndarray:
            shown = self.preprocessing({key: part, "kernel": chosen.conversion})[key]
            return torch.as_tensor(shown).as_subclass(Tensor)[0].float().cpu().numpy()

        starts = range(0, shape[-1], slab_depth(shape))
        slabs = SlabFiles(group / "image", shape, starts, read, show, self.is_kept(image))
        scratch = ScratchImage(group, "image", torch.from_numpy(volume.affine), slabs)
        source = replace(image, meta={**image.meta, **chosen.metadata()})
        scratch.about = {"source": source, "volume": volume, "lock": self._lock}
        scratch.finisher = self.finisher(image)
        return scratch


def _first(shape: Sequence[int], slices: int) -> tuple[int, ...]:
    """Return the shape of the first slices of an image."""
    return (*shape[:-1], min(shape[-1], slices))


def _is_elsewhere(folder: Path, place: str) -> bool:
    """Return whether a folder is the scratch of an image at another path, which may still resume."""
    try:
        return json.loads((folder / NOTE).read_text(encoding="utf-8"))["place"] != place
    except (OSError, ValueError, KeyError, TypeError):
        return False


def in_file(volume: Volume, window: Sequence[slice]) -> tuple[slice, ...]:
    """Return the window of the file for a window in RAS."""
    bounds = [(part.start, part.stop) for part in window]
    return volume.in_file([*bounds, *[(0, 1)] * (3 - len(bounds))])


def slab_depth(shape: Sequence[int]) -> int:
    """Return the number of slices along the last axis in a slab."""
    return even(shape[-1], max(1, parse_bytes(SLAB) // (4 * math.prod(shape[:-1]))))


def collate(items: Sequence[dict[Hashable, Any]]) -> Any:
    """Return a batch: a single image on disk unchanged, images in memory collated by MONAI."""
    (first, *others) = items
    on_disk = any(isinstance(value, ScratchImage) for value in first.values())
    return first if on_disk and not others else list_data_collate(items)
