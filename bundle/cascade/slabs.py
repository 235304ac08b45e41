"""An image on disk in slabs along its last axis, one file each, computed when needed and removed after use.

::

    0.npy   8.npy   16.npy                  a window of slices 6 to 9 reads parts of two files;
    [. . .] [. . .] [. . .] slices -->      a missing file is computed first
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from bundle.geometry import Window
from bundle.runtime import prefetch, rank, trim_malloc, wait, world
from bundle.runtime.files import telling_space
from numpy.lib.format import header_data_from_array_1_0, write_array_header_1_0

#: Start and stop of the slices of a slab.
Slices = tuple[int, int]


class SlabFiles:
    """An image on disk, `(*spatial)`, read like an array; the file of a slab gets its name only when it is complete.

    Args:
        folder: folder of the files.
        shape: voxels per axis.
        starts: first slice of each slab; the first is 0.
        read: reads what a slab is computed from, such as a part of a file; null if slabs cannot be computed.
        show: computes the voxels of a slab from what ``read`` returns.
        kept: whether slabs stay until `forget` removes all of them.
    """

    def __init__(
        self,
        folder: Path,
        shape: Sequence[int],
        starts: Sequence[int],
        read: Callable[[Slices], Any] | None = None,
        show: Callable[[Any], np.ndarray] | None = None,
        kept: bool = True,
    ) -> None:
        self.folder, self.shape, self.kept = folder, tuple(shape), kept
        self.parts = list(zip(starts, [*starts[1:], self.shape[-1]], strict=True))
        self._read, self._show = read, show

    def within(self, start: int, stop: int) -> Iterator[Slices]:
        """Yield the slabs that overlap a range of slices."""
        return (part for part in self.parts if part[0] < stop and part[1] > start)

    def __getitem__(self, window: Window) -> np.ndarray:
        """Read a window; missing slabs are computed first.

        Raises:
            FileNotFoundError: If a slab is missing and cannot be computed.
        """
        *across, (first, last) = *window[:-1], (window[-1].start, window[-1].stop)
        out = np.empty(0)
        for start, stop in self.within(first, last):
            if self._read and self._show and not self.holds(start):
                self.write((start, stop), self._show(self._read((start, stop))))
            slab = np.load(self._file(start), mmap_mode="r", allow_pickle=False)
            found = slab[(*across, slice(max(first - start, 0), min(last, stop) - start))]
            if not out.size:
                out = np.empty((*found.shape[:-1], last - first), found.dtype)
            begin = max(first, start) - first
            out[..., begin : begin + found.shape[-1]] = found
        return out

    def holds(self, start: int) -> bool:
        """Return whether the slab that starts at a slice is on disk."""
        return self._file(start).exists()

    def write(self, part: Slices, voxels: np.ndarray) -> None:
        """Write a slab.

        Raises:
            NotWrittenError: If the disk is full; existing slabs stay.
        """
        with telling_space(self.folder.parent):
            self.folder.mkdir(exist_ok=True)
            unfinished = self.folder / f"{part[0]}.{rank()}.part"
            with unfinished.open("wb") as file:
                whole = np.ascontiguousarray(voxels)
                write_array_header_1_0(file, header_data_from_array_1_0(whole))
                file.write(whole.data)  # `np.save` hides the cause of a failed write
            unfinished.replace(self._file(part[0]))

    def fill(self, start: int, stop: int) -> None:
        """Compute the missing slabs of a range of slices; each of several processes computes its share."""
        if self._read is None or self._show is None:
            return
        parts, show = list(self.within(start, stop)), self._show
        own = (part for part in parts[rank() :: world()] if not self.holds(part[0]))
        for _ in trim_malloc(prefetch(own, self._read, lambda _, given: show(given), self.write)):
            pass
        wait()

    def forget(self, below: int | None = None) -> None:
        """Remove all slabs, or those below a slice, if they can be recomputed; kept ones are only removed together."""
        if self._read is None or (below is not None and self.kept):
            return
        for start, stop in self.parts:
            if below is None or stop <= below:
                self._file(start).unlink(missing_ok=True)

    def _file(self, start: int) -> Path:
        return self.folder / f"{start}.npy"
