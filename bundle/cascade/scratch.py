"""Images on disk, sliced like tensors: for images that do not fit into memory, and to resume an interrupted run.

Each is an array of a zarr group, or a folder of slabs in it. A tile has been written if its chunks exist, as zarr gives
a chunk its name only when it is complete. Data that is no longer needed is removed (`bundle.cascade.rows`), a whole
scale only after the next one is recorded as complete.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import Any, Protocol

import torch
from bundle.cascade.slabs import SlabFiles
from bundle.geometry import Tile, Window, region
from bundle.runtime import first, rank, wait, world
from bundle.runtime.files import telling_space
from torch import Tensor

try:
    import zarr
except ImportError:  # zarr 3 needs Python 3.11
    zarr = None  # type: ignore[assignment]

#: Shortest side of a chunk, in voxels, unless the tile is shorter: many small files are slow.
SHORTEST_CHUNK = 48
#: Files of a group that record its job and how its scales are cut.
NOTE, CUT = "job.json", "tiles.json"
#: File that marks an image as complete.
WHOLE = "whole"


class Finisher(Protocol):
    """Converts a result to the voxels of the output file, a range of slices at a time, and keeps them in the group."""

    def is_finished(self, result: ScratchImage, start: int, stop: int) -> bool:
        """Return whether the slices from ``start`` to ``stop`` have been converted."""

    def finish(self, result: ScratchImage, start: int, stop: int) -> None:
        """Convert the slices from ``start`` to ``stop``."""


class ScratchImage:
    """An image on disk that is read and written like a tensor, `(1, 1, *spatial)`.

    Args:
        folder: folder of the group.
        name: name of the image in the group.
        affine: affine from voxels to mm, like that of a MetaTensor.
        slabs: slabs that hold the voxels; null for an existing zarr array.
    """

    def __init__(self, folder: str | Path, name: str, affine: Tensor, slabs: SlabFiles | None = None) -> None:
        self.folder, self.name, self.affine, self.slabs = Path(folder), name, affine, slabs
        self._array: Any = slabs
        if slabs is None:
            with zarr.config.set({"array.write_empty_chunks": True}):  # every written tile must leave files
                self._array = zarr.open_array(store=str(self.folder / name), mode="r+")
        self.shape = torch.Size((1, 1, *self._array.shape))
        self.ndim = len(self.shape)
        #: Facts about the image's origin, for the writer of the result.
        self.about: dict[str, Any] = {}
        #: Converts the rows of the finest result as they are written, which are then removed; null to keep them.
        self.finisher: Finisher | None = None
        self._dropped = 0

    def __getitem__(self, index: Any) -> Tensor:
        """Return the voxels of a window, `(1, 1, *window)`; the index comes from `bundle.geometry.region`."""
        return torch.from_numpy(self._array[self._window(index)])[None, None]

    def __setitem__(self, index: Any, voxels: Tensor) -> None:
        """Write a window that consists of whole chunks.

        Raises:
            NotWrittenError: If the disk is full. Existing data stays, so that the run can resume once there is space.
        """
        with telling_space(self.folder):
            self._array[self._window(index)] = voxels[0, 0].float().cpu().numpy()  # NumPy has no bfloat16

    def __len__(self) -> int:
        return 1

    def is_written(self, window: Window) -> bool:
        """Return whether all chunks of a window are on disk."""
        chunks = self._array.chunks
        places = (range(w.start // side, -(-w.stop // side)) for w, side in zip(window, chunks, strict=True))
        return all((self.folder / self.name / "c" / "/".join(map(str, place))).exists() for place in product(*places))

    def sibling(self, name: str, shape: Sequence[int], chunks: Sequence[int]) -> ScratchImage:
        """Open another image of the group; create it unless it exists with this shape and these chunks."""
        create_array(self.folder, name, shape, chunks)
        return self.beside(name)

    def beside(self, name: str) -> ScratchImage:
        """Open another, existing image of the group."""
        image = ScratchImage(self.folder, name, self.affine)
        image.about = self.about
        return image

    def fill(self, start: int, stop: int) -> None:
        """Compute the slices of an image in slabs that are not on disk; all processes must call it."""
        if self.slabs:
            self.slabs.fill(start, stop)

    def forget(self, below: int | None = None) -> None:
        """Remove all slabs, or those below a slice, if they can be recomputed; kept ones are only removed together."""
        if self.slabs and first():
            self.slabs.forget(below)

    def drop(self, below: int) -> None:
        """Remove the chunks whose slices are all below a slice; they cannot be recomputed."""
        if not first():
            return
        *across, depth = self._array.chunks
        rows = [range(-(-size // side)) for size, side in zip(self._array.shape, across, strict=False)]
        whole = -(-self.shape[-1] // depth) if below >= self.shape[-1] else max(below, 0) // depth
        for last in range(self._dropped, whole):
            for place in product(*rows):
                (self.folder / self.name / "c" / "/".join(map(str, (*place, last)))).unlink(missing_ok=True)
            self._dropped = last + 1

    def resume(self, cut: Sequence[Sequence[int]]) -> int:
        """Return how many scales of the group, from the coarsest, are already complete; all processes must call it.

        Data of scales that were cut differently is removed.

        Args:
            cut: how each scale is cut in this run.
        """
        note, text = self.folder / CUT, json.dumps([list(scale) for scale in cut])
        if first() and not (note.exists() and note.read_text(encoding="utf-8") == text):
            for entry in self.folder.iterdir():
                if entry.is_dir() and entry.name != self.name:
                    shutil.rmtree(entry)
            with telling_space(self.folder):
                note.write_text(text, encoding="utf-8")
        wait()
        whole = [scale for scale in range(len(cut)) if (self.folder / f"result_{scale}" / WHOLE).exists()]
        if whole:
            self._clean(whole[-1])
        return whole[-1] + 1 if whole else 0

    def result(self, scale: int, finest: bool) -> ScratchImage:
        """Open the result of a scale; that of the finest scale gets the finisher, if there is one."""
        image = self.beside(f"result_{scale}")
        image.finisher = self.finisher if finest else None
        return image

    def finish_scale(self, scale: int, finest: bool) -> None:
        """Record that a scale is complete in all processes, and remove what it was computed from.

        Args:
            scale: the scale whose result has been written.
            finest: whether it is the scale of this image itself.
        """
        wait()
        if first():
            with telling_space(self.folder):
                (self.folder / f"result_{scale}" / WHOLE).touch()
            self._clean(scale)
        if finest:
            self.forget()
        wait()

    def _clean(self, scale: int) -> None:
        """Remove what is no longer needed once a scale is complete, including what a killed process left."""
        if first():
            for lower in range(scale + 1):
                shutil.rmtree(self.folder / f"image_{lower}", ignore_errors=True)
                shutil.rmtree(self.folder / f"result_{lower - 1}", ignore_errors=True)

    def _window(self, index: Any) -> Window:
        """Return the spatial part of an index."""
        parts = index if isinstance(index, tuple) else (index,)
        return tuple(part for part in parts if part is not ...)


def check_zarr() -> None:
    """Check that zarr is installed, which images on disk need.

    Raises:
        RuntimeError: If zarr is not installed.
    """
    if zarr is None:
        raise RuntimeError("streaming needs zarr 3, which needs Python 3.11 or later; translate in memory instead.")


def stored_bytes(shape: Sequence[int], chunks: Sequence[int]) -> int:
    """Return the bytes of an image's voxels on disk: float32, in whole chunks even at the borders."""
    sides = (-(-size // side) * side for size, side in zip(shape, chunks, strict=True))
    return 4 * math.prod(sides)


def open_group(folder: str | Path, job: dict[str, Any]) -> Path:
    """Open the group of a job, and remove the files of any other job in the folder.

    Args:
        folder: folder of the group; created if missing.
        job: everything that the images depend on; must be serializable to JSON.

    Raises:
        RuntimeError: If zarr is not installed.
    """
    check_zarr()
    folder, text = Path(folder), json.dumps(job, sort_keys=True)
    note = folder / NOTE
    if first():
        with telling_space(folder):
            if folder.exists() and not (note.exists() and note.read_text(encoding="utf-8") == text):
                shutil.rmtree(folder)
            folder.mkdir(parents=True, exist_ok=True)
            if not note.exists():
                note.write_text(text, encoding="utf-8")
    wait()
    return folder


def create_array(
    folder: str | Path, name: str, shape: Sequence[int], chunks: Sequence[int], dtype: str = "float32"
) -> None:
    """Create an array in a group, unless it exists with this shape, these chunks and this dtype.

    Voxels that were never written, or were removed, read as NaN, which no result may contain.
    """
    path = Path(folder) / name
    if first():
        if path.exists() and not _is_array(path, tuple(shape), tuple(chunks), dtype):
            shutil.rmtree(path)
        if not path.exists():
            sides: dict[str, Any] = {"shape": tuple(shape), "chunks": tuple(chunks)}
            with telling_space(path):
                zarr.create_array(store=str(path), **sides, dtype=dtype, compressors=None, fill_value=math.nan)
    wait()


def _is_array(path: Path, shape: tuple[int, ...], chunks: tuple[int, ...], dtype: str) -> bool:
    """Return whether a folder is such an array, not one left incomplete by a killed process."""
    try:
        old = zarr.open_array(store=str(path), mode="r")
    except Exception:  # whatever zarr raises for an incomplete array
        return False
    return bool(old.shape == shape and old.chunks == chunks and str(old.dtype) == dtype)


def chunks_per_side(core: int) -> int:
    """Return the number of chunks per side of a tile; with several, a halo does not read whole neighbouring tiles."""
    return max(1, min(4, core // SHORTEST_CHUNK))


def pending_tiles(
    out: Tensor | ScratchImage, plan: Iterable[Tile], on_skip: Callable[[], object] = lambda: None
) -> Iterator[Tile]:
    """Yield the tiles that this process has to compute: all in memory; on disk, those of its share not yet written.

    Args:
        out: the image to write.
        plan: all tiles of the image.
        on_skip: called for each of the other tiles.
    """
    if isinstance(out, Tensor):
        yield from plan
        return
    own, world_size = rank(), world()
    for i, tile in enumerate(plan):
        if i % world_size == own and not out.is_written(tile.write):
            yield tile
        else:
            on_skip()


def write_tile(out: Tensor | ScratchImage, tile: Tile, voxels: Tensor) -> None:
    """Write one tile."""
    out[region(tile.write)] = voxels


def barrier(out: Tensor | ScratchImage) -> None:
    """Wait until all processes have written their tiles of an image on disk."""
    if isinstance(out, ScratchImage):
        wait()
