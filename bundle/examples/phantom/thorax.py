"""ThoraxPhantom: paint the anatomy into an image of any size, window by window.

array:  axis 0 to the patient's left, axis 1 to the back, axis 2 to the head; its middle is the middle of the chest
2D:     the axial slice through that middle
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from operator import index

import numpy as np
from bundle.examples.phantom.anatomy import FIELD_MM, thorax
from bundle.examples.phantom.bodies import Body, Ellipsoid, Tube, covers
from bundle.examples.phantom.grain import along, sharp_noise, texture
from bundle.scanner import HU_RANGE

BACKGROUND = -1000  # HU, air
GRAVITY = 0.35  # HU/mm, increase of lung density towards the back
TEXTURES = ((14.0, 14.0), (4.0, 16.0))  # texture of lung tissue: size in mm, strength in HU
SMALL = 1024  # voxels of the largest window of a tube that is computed together with others
TOGETHER = 256  # most bodies whose windows are computed together


Bounds = Sequence[tuple[int, int]]


@lru_cache(maxsize=4)
def _anatomy(seed: int) -> tuple[list[Body], np.ndarray]:
    """Return the bodies and their boxes in mm, `(n, 2, 3)`; phantoms of one seed share them."""
    bodies = thorax(seed)
    return bodies, np.array([body.box for body in bodies])


class ThoraxPhantom:
    """A thorax CT of any size whose windows are computed on demand: ``phantom[window]`` is int16, in HU.

    ``phantom[window]`` equals ``phantom[...][window]`` for every window, bit for bit: a value depends only on the seed
    and on the voxel's position in the whole image.

    Args:
        shape: number of voxels along each of two or three axes.
        spacing: voxel spacing in mm, one value or one per axis; None spreads the thorax over the array, smaller values
            show a part of it.
        seed: seed of vessels, airways, emphysema, nodules, texture and noise.
        noise: standard deviation in HU of noise as of a sharp kernel; 0 for none.

    Raises:
        ValueError: If shape, spacing or noise is invalid.

    Example:
        >>> ThoraxPhantom((160, 128, 96))[40:104, 40:104, 48].shape
        (64, 64)
    """

    dtype = np.dtype(np.int16)

    def __init__(
        self, shape: Sequence[int], spacing: Sequence[float] | float | None = None, seed: int = 0, noise: float = 0.0
    ) -> None:
        try:
            self.shape = tuple(index(size) for size in shape)
        except TypeError:
            raise ValueError(
                f"shape {shape!r} is no list of whole numbers of voxels; take one such as (160, 128, 96)."
            ) from None
        self.ndim = len(self.shape)
        if self.ndim not in (2, 3):
            raise ValueError(f"shape {self.shape} has {self.ndim} axes, the phantom 2 or 3; take (160, 128, 96), say.")
        if min(self.shape) < 1:
            raise ValueError(f"shape {self.shape} has an empty axis; every axis needs at least one voxel.")
        if spacing is None:
            spacing = [mm / size for mm, size in zip(FIELD_MM, self.shape, strict=False)]
        self.spacing = tuple(map(float, [spacing] * self.ndim if isinstance(spacing, int | float) else spacing))
        if len(self.spacing) != self.ndim or min(self.spacing) <= 0:
            raise ValueError(
                f"spacing {self.spacing} does not fit the shape {self.shape}; give {self.ndim} lengths in mm above 0."
            )
        if noise < 0:
            raise ValueError(f"noise {noise} is below 0; it is a standard deviation in HU, 0 for none.")
        self.seed, self.noise = int(seed), float(noise)
        # a 2D phantom is painted as a volume of one slice
        self._shape, self._spacing = (*self.shape, 1)[:3], (*self.spacing, self.spacing[0])[:3]
        self._bodies, boxes = _anatomy(self.seed)
        self._extents = self._reach(boxes)

    @property
    def affine(self) -> np.ndarray:
        """Affine matrix from index to millimetres in NIfTI's axes (right, front, head), `(4, 4)`."""
        affine = np.diag([-1.0, -1.0, 1.0, 1.0])
        for dim, (size, side) in enumerate(zip(self.shape, self.spacing, strict=True)):
            affine[dim, 3] = -affine[dim, dim] * side * (size - 1) / 2
            affine[dim, dim] *= side
        return affine

    def __getitem__(self, window: object) -> np.ndarray:
        """Compute a window given by integers, slices of step 1 and ``...``, as in NumPy; int16, in HU.

        Raises:
            IndexError: If the window has another step, lies outside the image, or has more axes.
        """
        bounds, dropped = self._bounds(window)
        bounds, dropped = [*bounds, (0, 1)][:3], [*dropped, True][:3]
        shape = [stop - start for start, stop in bounds]
        values = np.full(shape, BACKGROUND, np.float32)
        if values.size:
            self._paint(values, bounds)
            if self.noise:
                values += np.float32(self.noise) * sharp_noise([np.arange(*b) for b in bounds], self.seed)
        image = np.clip(np.rint(values), *HU_RANGE).astype(self.dtype)
        return image[tuple(0 if drop else slice(None) for drop in dropped)]

    def _paint(self, values: np.ndarray, bounds: Bounds) -> None:
        """Paint all bodies that reach into the window onto its ``values``."""
        low, high = np.array(bounds).T
        reached = (self._extents[:, 0] < high) & (self._extents[:, 1] > low)
        axes = [self._position(dim, *span) for dim, span in enumerate(bounds)]
        grid = [along(axis.astype(np.float32), dim, 3) for dim, axis in enumerate(axes)]
        at = np.flatnonzero(reached.all(1))
        for first in range(0, len(at), TOGETHER):
            some = at[first : first + TOGETHER]
            start, stop = np.maximum(self._extents[some, 0], low) - low, np.minimum(self._extents[some, 1], high) - low
            for body, cover, window in self._covers([self._bodies[i] for i in some], grid, start, stop):
                view = values[window]
                spans = [axis[part] for axis, part in zip(axes, window, strict=True)]
                view += cover * (self._filling(body, spans) - view)

    def _covers(
        self, bodies: Sequence[Body], grid: Sequence[np.ndarray], start: np.ndarray, stop: np.ndarray
    ) -> Iterator[tuple[Body, np.ndarray, tuple[slice, ...]]]:
        """Yield bodies with the filled fraction of each voxel of their windows, and the windows."""
        small = np.array([isinstance(body, Tube) for body in bodies]) & ((stop - start).prod(1) <= SMALL)
        tubes = [body for body, is_small in zip(bodies, small, strict=True) if is_small and isinstance(body, Tube)]
        together = iter(covers(tubes, grid, start[small], stop[small], self._spacing))
        for body, is_small, begin, end in zip(bodies, small, start.tolist(), stop.tolist(), strict=True):
            window = tuple(map(slice, begin, end))
            if is_small:
                yield body, next(together), window
            else:
                part = [axis[(window[dim], ...)] for dim, axis in enumerate(grid)]
                yield body, body.cover(part, self._spacing), window

    def _filling(self, body: Body, axes: Sequence[np.ndarray]) -> np.ndarray:
        """Return the HU of a body at positions ``axes`` (mm); lungs have texture and are denser at the back."""
        filling: np.ndarray = np.asarray(body.value, np.float32)
        if isinstance(body, Ellipsoid) and body.lung:
            filling = filling + np.float32(GRAVITY) * along(axes[1].astype(np.float32), 1, 3)
            for i, (cell, strength) in enumerate(TEXTURES, 1):
                filling = filling + np.float32(strength) * texture(axes, cell, self.seed + i)
        return filling

    def _position(self, dim: int, start: int, stop: int) -> np.ndarray:
        """Return the positions in mm of the voxels from ``start`` to ``stop`` along an axis."""
        return (np.arange(start, stop) - (self._shape[dim] - 1) / 2) * self._spacing[dim]

    def _reach(self, boxes: np.ndarray) -> np.ndarray:
        """Return start and stop of the voxels that bodies in boxes can touch, per axis; `(n, 2, 3)`."""
        first, last = (boxes / np.array(self._spacing) + (np.array(self._shape) - 1) / 2).transpose(1, 0, 2)
        return np.clip(np.stack([np.floor(first) - 1, np.ceil(last) + 2], 1), 0, self._shape).astype(int)

    def _bounds(self, window: object) -> tuple[list[tuple[int, int]], list[bool]]:
        """Return start and stop along each axis, and whether an integer drops the axis."""
        parts: list = list(window) if isinstance(window, tuple) else [window]
        if Ellipsis in parts:
            at = parts.index(Ellipsis)
            parts[at : at + 1] = [slice(None)] * (self.ndim + 1 - len(parts))
        if len(parts) > self.ndim:
            raise IndexError(f"window {window} has {len(parts)} axes; the phantom has {self.ndim}, give no more.")
        parts += [slice(None)] * (self.ndim - len(parts))
        bounds = []
        for part, size in zip(parts, self.shape, strict=True):
            if isinstance(part, slice):
                start, stop, step = part.indices(size)
                if step != 1:
                    raise IndexError(f"window {window} has the step {step}; take step 1 and thin the result out.")
                bounds.append((start, max(start, stop)))
            elif -size <= part < size:
                bounds.append((part % size, part % size + 1))
            else:
                raise IndexError(f"index {part} lies outside of an axis of {size}; take {-size} to {size - 1}.")
        return bounds, [not isinstance(part, slice) for part in parts]
