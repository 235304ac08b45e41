"""Measure how long the steps around the cascade take on this machine, on a synthetic image of a few slices.

::

    header of the image         a few synthetic slices of its shape          the steps of a run, one by one
    [. . . . . . . . . . .] --> [. . .] in a temporary folder            --> seconds of each, times slices
"""

from __future__ import annotations

import hashlib
import math
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from copy import copy
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from bundle.cascade import SlabFiles
from bundle.images import ImageError, Opened, Volume, create_image, held, open_image, result_path, suffix
from bundle.images.derived import Derivation
from bundle.images.formats import check_creatable
from bundle.images.readback import PLAIN
from bundle.runtime.files import size_of
from bundle.scanner import SOFT, crossed_slices, edge_spread, fitted_kernel, flat_noise, searched_slices, spread_slices
from bundle.transforms.densitometry import measured
from bundle.transforms.finish import FinishImaged
from bundle.transforms.input_scores import SLICES, input_scores
from bundle.transforms.prepare import PrepareImaged, collate
from monai.data import decollate_batch

#: Voxels of the synthetic image, which has at least one slice.
STAND_IN = 2**20
#: Bytes that are hashed to measure the speed.
HASHED = 2**24
#: Voxel size in mm of the slices to which a kernel is fitted.
PIXEL = (1.4, 1.4, 2.0)
IMAGE, PRED = "image", "pred"


class Rehearsal:
    """Estimate the duration of a run without its cascade, measured once for each format and slice shape.

    Args:
        preparing: the run's preparation.
        finishing: the run's finishing.
    """

    def __init__(self, preparing: PrepareImaged, finishing: FinishImaged) -> None:
        self.preparing, self.finishing = preparing, finishing
        self._rates: dict[Any, dict[str, float]] = {}

    def seconds(self, image: Opened, result: Path, on_disk: bool, opened: float) -> dict[str, float]:
        """Return the seconds of each step of an image, by name.

        Args:
            image: image to translate.
            result: path of its result.
            on_disk: whether its scales are kept on disk.
            opened: seconds that opening it took.
        """
        kind = suffix(image.path), suffix(result), image.shape[:2], on_disk
        if kind not in self._rates:
            self._rates[kind] = self._measured(image, result, on_disk)
        rate, voxels = self._rates[kind], math.prod(image.shape)
        three = len(image.shape) == 3
        volume = Volume(image).shape if three else (*image.shape, 1)
        fits = self.preparing.match_kernel and self.preparing.choice.looks
        looked = len(spread_slices(volume[2], SLICES)) if three and self.preparing.check.action != "off" else 0
        flat, edge = (len(searched_slices(volume)), len(crossed_slices(volume)) or 1) if fits else (0, 0)
        found = flat * rate["flat"] + edge * rate["edge"] + fits * rate["fit"]
        one = rate["read"] * voxels / volume[2]
        if suffix(image.path) in PLAIN:
            again, checked = (2 * flat + 3 * edge) * one, looked * one
        else:  # each read unpacks the file from its start
            again, checked = 3 * fits * one * volume[2], bool(looked) * one * volume[2]
        steps = {
            "open": opened * (1 if on_disk else 2) + rate["refused"],
            "check": looked * rate["check"] + checked,
            "find the kernel": found + (again if on_disk else 0.0),
            "prepare": (rate["read"] + rate["shown"] + rate["stored"] / 2) * voxels,
            "finish": (rate["restored"] + rate["written"] + rate["stored"] / 2) * voxels,
            "provenance": rate["hash"] * size_of(image.path),
        }
        if on_disk:
            steps["finish"] += rate["read"] * voxels
            steps["prepare"] *= 1 if self.preparing.is_kept(image) else 2
        if self.finishing.saving.densitometry:
            steps["densitometry"] = rate["density"] * voxels
        return steps

    def of_seed(self, seed: int, shape: tuple[int, ...], result: Path) -> dict[str, float]:
        """Return the seconds of each step of a generated image: making its noise, and writing the result.

        Args:
            seed: seed of the noise.
            shape: shape of the image.
            result: path of its result.
        """
        kind, acted = suffix(result), self.preparing.preprocessing
        if kind not in self._rates:
            if len(shape) == 3:
                acted = copy(acted)
                acted.shape = (*shape[:-1], max(STAND_IN // math.prod(shape[:-1]), 1))
            voxels, noise = math.prod(acted.shape), partial(acted, {IMAGE: seed})
            made, shown, restored = self._transformed(noise, voxels)
            with tempfile.TemporaryDirectory() as folder:
                like, kind_ = held(made, np.eye(4)), np.dtype(self.preparing.output_dtype)
                written = timed(partial(save, Path(folder) / result.name, like, made, kind_)) / voxels
            self._rates[kind] = {"prepare": shown, "finish": restored + written}
        return {step: rate * math.prod(shape) for step, rate in self._rates[kind].items()}

    def _measured(self, image: Opened, result: Path, on_disk: bool) -> dict[str, float]:
        """Return the seconds of each step, per voxel or per sampled slice."""
        found = dict.fromkeys(("check", "flat", "edge", "fit", "density", "stored"), 0.0)
        with tempfile.TemporaryDirectory() as folder:
            acted, place = stand_in(image), Path(folder)
            voxels = math.prod(acted.shape)
            source = place / "source" / f"image{suffix(result_path(image.path, place, files=image.files))}"
            with suppress(ImageError):
                save(source, acted, acted.whole(), np.dtype(np.int16) if image.files else image.dtype)
            opened = open_image(source) if source.exists() else acted
            loaded = opened.loaded()
            found["read"] = timed(lambda: opened.whole()) / voxels
            end = place / "result" / f"image{suffix(result)}"
            kind, like = np.dtype(self.preparing.result_type(image)), replace(acted, path=place / "none")
            found["refused"] = timed(lambda: check_creatable(end, like, kind, Derivation()))
            given = {IMAGE: replace(loaded, meta=image.meta), "kernel": SOFT}
            show = partial(self.preparing.preprocessing, given)
            restored, found["shown"], found["restored"] = self._transformed(show, voxels)
            restored = restored.reshape(acted.shape)
            found["written"] = timed(lambda: save(end, like, restored, kind)) / voxels
            found["hash"] = timed(lambda: hashlib.sha256(bytes(HASHED))) / HASHED
            if on_disk:
                found["stored"] = timed(lambda: stored(place / "scratch", acted.shape)) / voxels
            if len(acted.shape) == 3:
                found |= self._looked_at(loaded, end)
        return found

    @cached_property
    def _fit(self) -> float:
        """Seconds of one kernel fit, on slices of ordinary size: smaller ones would show too little."""
        seen = torch.from_numpy(body((2, 256, 256))).movedim(0, -1)
        noise, edge = flat_noise(seen, PIXEL), edge_spread(seen, PIXEL)
        return timed(lambda: fitted_kernel(noise, edge))

    def _transformed(self, show: Callable[[], Any], voxels: int) -> tuple[np.ndarray, float, float]:
        """Run the transforms before and after the cascade; return the result and the seconds per voxel of both."""
        begun = time.perf_counter()
        shown = show()
        between = time.perf_counter()
        batch = collate([{key: value for key, value in shown.items() if key != "kernel"}])
        batch[PRED] = torch.as_tensor(batch[IMAGE]).as_subclass(torch.Tensor).clone()
        (item,) = decollate_batch(batch)
        made = self.finishing.before_saving(item, PRED)
        return made, (between - begun) / voxels, (time.perf_counter() - between) / voxels

    def _looked_at(self, loaded: Opened, result: Path) -> dict[str, float]:
        """Return the seconds of the steps that analyse a CT: check, kernel search and densitometry."""
        volume, found = Volume(loaded), {}
        if self.preparing.check.action != "off":
            found["check"] = timed(lambda: input_scores(loaded)) / len(spread_slices(volume.shape[2], SLICES))
        if self.preparing.match_kernel:
            found["flat"] = timed(lambda: flat_noise(volume, volume.spacing)) / len(searched_slices(volume.shape))
            crossed = len(crossed_slices(volume.shape)) or 1
            found["edge"] = timed(lambda: edge_spread(volume, volume.spacing)) / crossed
            found["fit"] = self._fit
        if self.finishing.saving.densitometry:
            voxels = math.prod(volume.shape)
            with suppress(ValueError):  # no lungs are found in it
                found["density"] = timed(lambda: measured(volume, Volume(result))) / voxels
        return found


def stand_in(image: Opened) -> Opened:
    """Return a synthetic image in memory that shows a body, with an image's header and slice shape but few slices.

    A 2D picture keeps its size and contains noise.
    """
    if len(image.shape) == 2:
        levels = np.random.default_rng(0).integers(0, 2 ** (image.bits or 8), image.shape)
        return replace(image, read=levels.astype(image.dtype).__getitem__)
    thin = Volume(image).thin_axis
    others = [size for axis, size in enumerate(image.shape) if axis != thin]
    number = min(max(STAND_IN // math.prod(others), 1), image.shape[thin])
    voxels = np.moveaxis(body((number, *others)), 0, thin)
    files = image.files[:number] if image.files else ()
    return replace(image, shape=voxels.shape, read=voxels.__getitem__, files=files)


def body(shape: tuple[int, ...]) -> np.ndarray:
    """Return slices, `(slices, x, y)` in HU, with a disc of soft tissue, two lungs, and noise."""
    x, y = np.meshgrid(*(np.linspace(-1, 1, size) for size in shape[1:]), indexing="ij")
    slice_ = np.where(x**2 + y**2 < 0.7, 40.0, -1000.0)
    slice_[(np.abs(x) - 0.4) ** 2 + y**2 < 0.06] = -850.0
    noise = np.random.default_rng(0).normal(0, 30, shape)
    return (slice_ + noise).clip(-1024).astype(np.int16)


def save(path: Path, like: Opened, voxels: np.ndarray, dtype: np.dtype) -> None:
    """Write an image as a run does."""
    with create_image(path, like, dtype, Derivation()) as write:
        write(tuple(slice(0, size) for size in voxels.shape), voxels)


def stored(folder: Path, shape: tuple[int, ...]) -> None:
    """Write an image to scratch, and read it back."""
    slabs = SlabFiles(folder, shape, [0])
    slabs.write((0, shape[-1]), np.zeros(shape, np.float32))
    slabs[tuple(slice(0, size) for size in shape)]


def timed(work: Callable[[], object]) -> float:
    """Return the seconds that a function takes."""
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun
