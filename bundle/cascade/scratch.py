"""Images on disk, sliced like tensors: for what is too large for memory, and to resume an interrupted run.

Each is an array of a zarr group. A tile is known to be written by its chunks: zarr gives a chunk its name only when it
is complete, so that nothing else has to be recorded, by one process or by several.
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

#: Shortest side of a chunk, in voxels, unless the tile is shorter: many small files are slow.
SHORTEST_CHUNK = 48
#: The file of a group that tells its job.
NOTE = "job.json"


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
        #: Facts about its origin, for whoever writes the result.
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

    def is_written(self, window: Window) -> bool:
        """Return whether all chunks of a window are on disk."""
        chunks = self._array.chunks
        places = (range(w.start // side, -(-w.stop // side)) for w, side in zip(window, chunks, strict=True))
        return all((self.folder / self.name / "c" / "/".join(map(str, place))).exists() for place in product(*places))

    def sibling(self, name: str, shape: Sequence[int], chunks: Sequence[int]) -> ScratchImage:
        """Open another image of the group; create it if there is none of this shape and these chunks."""
        create_array(self.folder, name, shape, chunks)
        return self.beside(name)

    def beside(self, name: str) -> ScratchImage:
        """Open another image of the group, which exists."""
        image = ScratchImage(self.folder, name, self.affine)
        image.about = self.about
        return image

    def _window(self, index: Any) -> Window:
        """Return the spatial part of an index."""
        parts = index if isinstance(index, tuple) else (index,)
        return tuple(part for part in parts if part is not ...)


def open_group(folder: str | Path, job: dict[str, Any]) -> Path:
    """Open the group of a job; the files of another job in the folder are removed.

    Args:
        folder: created if missing.
        job: everything that the images depend on; must be serializable to JSON.

    Raises:
        RuntimeError: If zarr is not installed.
    """
    if zarr is None:
        raise RuntimeError("streaming needs zarr 3, which needs Python 3.11 or later; translate in memory instead.")
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
    """Create an array of a group, unless there is one of this shape, these chunks and this type."""
    path = Path(folder) / name
    if first():
        if path.exists() and not _is_array(path, tuple(shape), tuple(chunks), dtype):
            shutil.rmtree(path)
        if not path.exists():
            sides: dict[str, Any] = {"shape": tuple(shape), "chunks": tuple(chunks)}
            with telling_space(path):
                zarr.create_array(store=str(path), **sides, dtype=dtype, compressors=None)
    wait()


def _is_array(path: Path, shape: tuple[int, ...], chunks: tuple[int, ...], dtype: str) -> bool:
    """Whether a folder is such an array; one that a process was killed in making or removing is none."""
    try:
        old = zarr.open_array(store=str(path), mode="r")
    except Exception:  # whatever zarr makes of half an array
        return False
    return bool(old.shape == shape and old.chunks == chunks and str(old.dtype) == dtype)


def chunks_per_side(core: int) -> int:
    """Return into how many chunks a side of a tile is cut, so that a halo does not read whole neighbours."""
    return max(1, min(4, core // SHORTEST_CHUNK))


def pending_tiles(
    out: Tensor | ScratchImage, plan: Iterable[Tile], on_skip: Callable[[], object] = lambda: None
) -> Iterator[Tile]:
    """Yield the tiles that this process has to compute: all in memory; on disk, its share of those not yet written.

    Args:
        out: the image to write.
        plan: all of its tiles.
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
