"""Predict the time, memory and disk space of a run, and what it will refuse, before any voxel is read.

::

    results --name, existing files--> headers --prepare: in memory or on disk--> cascade: scales, tiles --> a plan
                  '-------------------------'---------- refused, with the run's own message ----'

The run's own code makes every decision. Nothing is written into the folder of the results.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from bundle.cascade import CascadeInferer, Pace, TilePlan, check_zarr, sample_name, scratch_bytes
from bundle.images import Opened, Volume, open_image, result_path
from bundle.runtime.errors import last_line
from bundle.runtime.files import size_of, trying
from bundle.runtime.host_memory import resident_memory
from bundle.runtime.malloc import KEPT
from bundle.runtime.process import age
from bundle.transforms.finish import FinishImaged
from bundle.transforms.prepare import VOXEL, PrepareImaged, slab_depth
from bundle.transforms.rehearsal import Rehearsal

#: Peak memory of the transforms of a slab, in slabs, measured.
SLABS = 16
#: Time for a process to end, relative to its start, measured: the libraries shut down slowly.
END = 1 / 3
NOT_CHECKED = "check_input looks at voxels, so what it refuses or warns of is not known yet"
NOT_CROPPED = "all of it is an upper limit: the lungs, to which the image is cropped, are not known yet"
NOT_REPORTED = "its report, which is written after all images, is not contained"


@dataclass(frozen=True)
class ImagePlan:
    """The plan for one image.

    Args:
        image: its path, or the seed of a generated image.
        refused: the run's message why it is refused; empty if it is not.
        result: path of the result.
        shape: voxels per axis, as the cascade sees them.
        spacing: voxel size in mm per axis.
        streamed: whether its scales are kept on disk.
        resumed: bytes that an interrupted run has left, from which this one resumes.
        scales: the tiles of each scale, coarsest first.
        seconds: seconds of each step.
        device_memory: bytes on the device, without those that its libraries take for themselves.
        host_memory: peak memory of the whole process in bytes.
        scratch: bytes on disk until the result is written.
        result_bytes: bytes of the result; an upper limit if its format is compressed.
        notes: further remarks.
    """

    image: str
    refused: str = ""
    result: str = ""
    shape: tuple[int, ...] = ()
    spacing: tuple[float, ...] = ()
    streamed: bool = False
    resumed: int = 0
    scales: tuple[TilePlan, ...] = ()
    seconds: Mapping[str, float] = field(default_factory=dict)
    device_memory: int = 0
    host_memory: int = 0
    scratch: int = 0
    result_bytes: int = 0
    notes: tuple[str, ...] = ()

    @property
    def tiles(self) -> int:
        """Number of tiles of all scales."""
        return sum(map(len, self.scales))


@dataclass(frozen=True)
class _Scan:
    """Facts about an image that is not refused: from its header, and how it is cut into tiles."""

    item: Any
    shape: tuple[int, ...]
    spacing: tuple[float, ...]
    on_disk: bool
    factors: list[list[int]]
    plans: list[TilePlan]
    seconds: dict[str, float]
    image: Opened | None


class Plan:
    """Plan a run: all its images, one after the other.

    Args:
        results: returns the run's ``results``, by image (`bundle.images.plan_results`), or the seeds of generated
            images.
        images: returns the paths of all images, in case the results are refused.
        preparing: the run's preparation.
        inferer: the run's inferer.
        network: the run's network; its weights need not be loaded.
        finishing: the run's finishing.
    """

    def __init__(
        self,
        results: Callable[[], Any],
        images: Callable[[], Sequence[str]],
        preparing: PrepareImaged,
        inferer: CascadeInferer,
        network: Any,
        finishing: FinishImaged,
    ) -> None:
        self.preparing, self.finishing = preparing, finishing
        self.inferer, self.network = inferer, network
        #: Why the whole run is refused; empty if it is not.
        self.refused = ""
        self.items = self._items(results, images)
        #: Seconds of a run before the first image and after the last: the age of this process, and a share of it to
        #: end.
        self.start = age() * (1 + END)
        self.pace, self.rehearsal = Pace(inferer, network), Rehearsal(preparing, finishing)

    def _items(self, results: Callable[[], Any], images: Callable[[], Sequence[str]]) -> list[Any]:
        try:
            return list(results())
        except Exception as error:  # any error that would end the run
            found: list[Any] = []
            with suppress(Exception):
                found = list(images())
            if not found:
                raise
            self.refused = last_line(error).removeprefix("error: ")
            return found

    def __iter__(self) -> Iterator[ImagePlan]:
        """Yield the plan of each image."""
        for item in self.items:
            try:
                scan = self._allowed(str(item)) if isinstance(item, (str, Path)) else self._generated(item)
            except Exception as error:  # any error that would end the run
                yield ImagePlan(str(item), last_line(error).removeprefix("error: "))
            else:
                yield self._planned(scan)

    def _allowed(self, path: str) -> _Scan:
        """Return the facts about an image file.

        Raises:
            Exception: Any error with which the run would refuse it.
        """
        preparing, begun = self.preparing, time.perf_counter()
        image = open_image(path, preparing.series_uid)
        opened = time.perf_counter() - begun
        preparing.check.by_header(image)
        on_disk = preparing.on_disk(image)
        with trying():
            preparing.check_space(image, preparing.scratch(image) if on_disk else None)
        volume, dims = Volume(image.of_dims(preparing.spatial_dims)), preparing.spatial_dims
        if on_disk:
            check_zarr()
        return self._scan(path, volume.shape[:dims], volume.spacing[:dims], on_disk, image, opened)

    def _generated(self, seed: int) -> _Scan:
        """Return the facts about a generated image."""
        shape = self.preparing.preprocessing.shape
        return self._scan(seed, shape, (1.0,) * len(shape), False)

    def _scan(self, item: Any, shape: Any, spacing: Any, on_disk: bool, image: Any = None, opened: float = 0) -> _Scan:
        begun = time.perf_counter()
        factors, plans = self.inferer.plan(self.network, shape, spacing, on_disk)
        planned = time.perf_counter() - begun
        return _Scan(item, shape, spacing, on_disk, factors, plans, {"open": opened, "cut into tiles": planned}, image)

    def _planned(self, scan: _Scan) -> ImagePlan:
        """Return the plan for an image that is not refused."""
        preparing, image = self.preparing, scan.image
        (device, host), resumed = self._memory(scan), 0
        notes = [NOT_REPORTED] if self.finishing.saving.report else []
        notes += [NOT_CROPPED] if preparing.whole == "crop_lungs" else []
        if image is None:
            result = self._result(Path(sample_name(scan.item)))
            steps, kind = self.rehearsal.of_seed(scan.item, scan.shape, result), preparing.output_dtype
        else:
            result, kind = self._result(image.path, image.files), preparing.result_type(image)
            steps = self.rehearsal.seconds(image, result, scan.on_disk, scan.seconds["open"])
            if preparing.check.action != "off" and len(image.shape) == 3:
                notes.append(NOT_CHECKED)
            if scan.on_disk and (resumed := size_of(preparing.scratch(image))):
                notes.append("an interrupted run is resumed, which needs less time and disk space than shown")
        steps = {**scan.seconds, **steps, "networks": self.pace.seconds(scan.factors, scan.plans, scan.on_disk)}
        return ImagePlan(
            str(scan.item),
            result=str(result),
            shape=tuple(scan.shape),
            spacing=tuple(scan.spacing),
            streamed=scan.on_disk,
            resumed=resumed,
            scales=tuple(scan.plans),
            seconds=steps,
            scratch=self._scratch(scan) if scan.on_disk else 0,
            result_bytes=np.dtype(kind).itemsize * math.prod(scan.shape),
            notes=tuple(notes),
            device_memory=device,
            host_memory=host,
        )

    def _memory(self, scan: _Scan) -> tuple[int, int]:
        """Return the peak memory for an image, in bytes: on the device, and of this process on the host."""
        idle, tile = self._idle, self.pace.tile_bytes(scan.plans)
        on_cpu = self.pace.device.type == "cpu"
        if scan.on_disk:
            slab = 4 * math.prod(scan.shape[:-1]) * slab_depth(scan.shape)
            host = KEPT + max(SLABS * slab, self.pace.queued_bytes(scan.plans), tile * on_cpu)
        else:
            host = VOXEL * math.prod(scan.shape) + self.pace.finest_bytes(scan.plans) * on_cpu
        if scan.image is not None and scan.image.kept:
            host += math.prod(scan.image.shape) * scan.image.dtype.itemsize
        return self.pace.weight_bytes + tile, idle + host

    def _scratch(self, scan: _Scan) -> int:
        """Return the bytes on disk of an image and its scales."""
        image, preparing = scan.image, self.preparing
        assert image is not None
        voxel = np.dtype(preparing.result_type(image)).itemsize if preparing.finisher(image) else None
        kept, slab = preparing.is_kept(image), slab_depth(scan.shape)
        return scratch_bytes(self.network, scan.factors, scan.plans, slab, kept, voxel)

    def _result(self, path: Path, files: Sequence[str] = ()) -> Path:
        saving = self.finishing.saving
        named = saving.output_postfix, saving.output_ext, saving.root
        return result_path(path, saving.output_dir, *named, files=files)

    @cached_property
    def _idle(self) -> int:
        """Bytes of memory of the process before the first image is read; a run takes as many."""
        return resident_memory() or 0
