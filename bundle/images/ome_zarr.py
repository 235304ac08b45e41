"""OME-Zarr images, read and written in chunks, all scales of one beside each other.

Axes are z, y, x on disk, as the format wants them, and x, y, z here. The format knows voxel sizes but no direction, so
the affine is kept beside it, as an attribute of the group.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

try:
    import zarr
except ImportError:  # zarr 3 needs Python 3.11
    zarr = None  # type: ignore[assignment]

#: What a name ends in, longest first.
ZARR = (".ome.zarr", ".zarr")
CHUNK = 64  # voxels a side


def needs_zarr(what: str) -> None:
    """Refuse what zarr is needed for where it is not installed.

    Raises:
        RuntimeError: there.
    """
    if zarr is None:
        raise RuntimeError(f"{what} needs zarr 3, which needs Python 3.11 or later: install it (pip install zarr).")


def is_zarr(path: str | Path) -> bool:
    """Whether the path is a folder that zarr has written."""
    return any((Path(path) / name).is_file() for name in ("zarr.json", ".zgroup", ".zarray"))


class Reversed:
    """An array with its axes reversed; those in front of the last three have one voxel and are left out.

    ::

        on disk   t c z y x        here   x y z

    Raises:
        ValueError: where there is more than one channel or time point.
    """

    def __init__(self, array: Any, path: str | Path) -> None:
        self._array = array
        self._more = max(array.ndim - 3, 0)
        while array.ndim - self._more > 2 and array.shape[self._more] == 1:
            self._more += 1
        if any(side != 1 for side in array.shape[: self._more]):
            raise ValueError(
                f"zarr image {str(path)!r} of shape {array.shape} holds more than one channel or time point; choose "
                "one of them."
            )
        self.shape: tuple[int, ...] = tuple(array.shape[self._more :][::-1])

    def __getitem__(self, index: Sequence[slice]) -> np.ndarray:
        return np.asarray(self._array[(*(0,) * self._more, *index[::-1])]).T


def open_zarr(path: str | Path) -> tuple[Reversed, np.ndarray]:
    """Open a zarr array, or the finest scale of an OME-Zarr image: its voxels, x, y, z, and its affine to RAS.

    Where a group does not hold an affine, it follows from the scale and translation of its metadata.

    Raises:
        RuntimeError: where zarr is not installed.
        ValueError: where the group is no image, or holds several.
    """
    needs_zarr(f"reading {str(path)!r}")
    node = zarr.open(store=str(path), mode="r")
    affine = np.eye(4)
    if isinstance(node, zarr.Group):
        noted: dict[str, Any] = dict(node.attrs)
        try:
            finest = noted.get("ome", noted)["multiscales"][0]["datasets"][0]
        except (KeyError, IndexError) as error:
            raise ValueError(f"zarr group {str(path)!r} is no OME-Zarr image: it has no multiscales.") from error
        affine = np.asarray(noted["affine"], float) if "affine" in noted else _affine(finest)
        node = node[finest["path"]]
    return Reversed(node, path), affine


def _affine(scale: dict[str, Any]) -> np.ndarray:
    """The affine of the transformations of one scale."""
    affine = np.eye(4)
    for step in scale.get("coordinateTransformations", []):
        values = np.asarray(step[step["type"]], float)[::-1][:3]
        if step["type"] == "scale":
            affine[range(len(values)), range(len(values))] = values
        else:
            affine[: len(values), 3] = values
    return affine


class ZarrScales:
    """Write an OME-Zarr image of several scales, the finest first; version 0.5, which is zarr 3.

    Args:
        folder: of the image; made anew.
        shapes: of each scale, x, y, z.
        spacings: voxel size of each scale in mm, x, y, z.
        origins: where the first voxel of each scale lies, in mm from that of the finest along x, y, z.
        affine: of the finest scale, to RAS.
        dtype: of the voxels.
        name: of the image.

    Raises:
        RuntimeError: where zarr is not installed.
    """

    def __init__(
        self,
        folder: str | Path,
        shapes: Sequence[Sequence[int]],
        spacings: Sequence[Sequence[float]],
        origins: Sequence[Sequence[float]],
        affine: np.ndarray,
        dtype: Any,
        name: str = "",
    ) -> None:
        needs_zarr("writing OME-Zarr")
        group = zarr.open_group(store=str(folder), mode="w", zarr_format=3)
        axes = ("x", "y", "z")[: len(shapes[0])][::-1]
        self._arrays: list[Any] = []
        datasets = []
        for level, (shape, spacing, origin) in enumerate(zip(shapes, spacings, origins, strict=True)):
            sides = tuple(shape)[::-1]
            chunks = tuple(min(CHUNK, side) for side in sides)
            self._arrays.append(
                group.create_array(name=str(level), shape=sides, chunks=chunks, dtype=dtype, dimension_names=axes)
            )
            steps = [
                {"type": "scale", "scale": [float(mm) for mm in spacing[::-1]]},
                {"type": "translation", "translation": [float(mm) for mm in origin[::-1]]},
            ]
            datasets.append({"path": str(level), "coordinateTransformations": steps})
        named = [{"name": axis, "type": "space", "unit": "millimeter"} for axis in axes]
        scales: dict[str, Any] = {"name": name, "axes": named, "datasets": datasets}
        group.attrs["ome"] = {"version": "0.5", "multiscales": [scales]}
        group.attrs["affine"] = np.asarray(affine, float).tolist()

    def write(self, level: int, window: Sequence[slice], voxels: np.ndarray) -> None:
        """Write a window of one scale, x, y, z."""
        self._arrays[level][tuple(window)[::-1]] = voxels.T
