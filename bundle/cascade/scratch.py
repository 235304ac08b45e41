"""Images on disk, sliced like tensors: what is too large for memory, and what an interrupted run goes on with.

Each is an array of a zarr group. A tile that was written whole is known by its chunks: zarr puts a chunk under its name
only when it is complete, so that nothing else has to be noted, by one process or by several.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import torch
from bundle.geometry import Tile, Window, region
from bundle.runtime import first, rank, wait, world
from bundle.runtime.files import telling_space
from torch import Tensor

try:
    import zarr
except ImportError:  # zarr 3 needs Python 3.11
    zarr = None  # type: ignore[assignment]

#: Chunks are kept at least that long, in voxels a side, where the tile is; many small files are slow.
CHUNK = 48


class ScratchImage:
    """An image on disk that is read and written like a tensor, `(1, 1, *spatial)`.

    Args:
        folder: of the group.
        name: of the image in it.
        affine: from voxels to mm, as a MetaTensor's.
    """

    def __init__(self, folder: str | Path, name: str, affine: Tensor) -> None:
        self.folder, self.name, self.affine = Path(folder), name, affine
        with zarr.config.set({"array.write_empty_chunks": True}):  # or a tile of zeros would not be known as written
            self._array = zarr.open_array(store=str(self.folder / name), mode="r+")
        self.shape = torch.Size((1, 1, *self._array.shape))
        self.ndim = len(self.shape)
        #: What it was made from, for whoever writes the result.
        self.about: dict[str, Any] = {}

    def __getitem__(self, index: Any) -> Tensor:
        """The voxels of a window, `(1, 1, *window)`, from `bundle.geometry.region`."""
        return torch.from_numpy(self._array[self._window(index)])[None, None]

    def __setitem__(self, index: Any, voxels: Tensor) -> None:
        """Write a window of whole chunks.

        Raises:
            NotWrittenError: If the disk is full; what is there stays, so that the run resumes when there is room.
        """
        with telling_space(self.folder):
            self._array[self._window(index)] = voxels[0, 0].float().cpu().numpy()  # NumPy has no bfloat16

    def __len__(self) -> int:
        return 1

    def written(self, window: Window) -> bool:
        """Whether all chunks of a window are on disk."""
        chunks = self._array.chunks
        places = (range(w.start // side, -(-w.stop // side)) for w, side in zip(window, chunks, strict=True))
        return all((self.folder / self.name / "c" / "/".join(map(str, place))).exists() for place in product(*places))

    def sibling(self, name: str, shape: Sequence[int], chunks: Sequence[int]) -> ScratchImage:
        """Open another image of the group, made where it is not there in this shape and these chunks."""
        create(self.folder, name, shape, chunks)
        return self.beside(name)

    def beside(self, name: str) -> ScratchImage:
        """Another image of the group, which is there."""
        image = ScratchImage(self.folder, name, self.affine)
        image.about = self.about
        return image

    def _window(self, index: Any) -> Window:
        """The spatial part of an index."""
        parts = index if isinstance(index, tuple) else (index,)
        return tuple(part for part in parts if part is not ...)


def open_group(folder: str | Path, job: dict[str, Any]) -> Path:
    """Open the group of a job; what another job has left there is removed.

    Args:
        folder: made where missing.
        job: all that the images depend on, for JSON to write.

    Raises:
        RuntimeError: where zarr is not installed.
    """
    if zarr is None:
        raise RuntimeError("streaming needs zarr 3, which needs Python 3.11 or later; translate in memory instead.")
    folder, told = Path(folder), json.dumps(job, sort_keys=True)
    note = folder / "job.json"
    if first():
        with telling_space(folder):
            if folder.exists() and not (note.exists() and note.read_text() == told):
                shutil.rmtree(folder)
            folder.mkdir(parents=True, exist_ok=True)
            if not note.exists():
                note.write_text(told)
    wait()
    return folder


def create(folder: str | Path, name: str, shape: Sequence[int], chunks: Sequence[int], dtype: str = "float32") -> None:
    """Make an array of a group where it is not there in this shape and these chunks."""
    path = Path(folder) / name
    if first():
        if path.exists():
            there = zarr.open_array(store=str(path), mode="r")
            if there.shape != tuple(shape) or there.chunks != tuple(chunks) or str(there.dtype) != dtype:
                shutil.rmtree(path)
        if not path.exists():
            sides: dict[str, Any] = {"shape": tuple(shape), "chunks": tuple(chunks)}
            with telling_space(path):
                zarr.create_array(store=str(path), **sides, dtype=dtype, compressors=None)
    wait()


def parts(core: int) -> int:
    """Into how many chunks a side of a tile is cut: a neighbour that is read for its halo is not read whole."""
    return max(1, min(4, core // CHUNK))


def own(
    out: Tensor | ScratchImage, walk: Iterable[Tile], skipped: Callable[[], object] = lambda: None
) -> Iterator[Tile]:
    """The tiles this process has to make: on disk, its share of what is missing; ``skipped`` hears of the others."""
    for i, tile in enumerate(walk):
        if isinstance(out, Tensor) or (i % world() == rank() and not out.written(tile.write)):
            yield tile
        else:
            skipped()


def put(out: Tensor | ScratchImage, tile: Tile, voxels: Tensor) -> None:
    """Write a tile of a walk."""
    out[region(tile.write)] = voxels


def settle(out: Tensor | ScratchImage) -> None:
    """Wait until all processes have made their tiles of an image on disk."""
    if isinstance(out, ScratchImage):
        wait()
