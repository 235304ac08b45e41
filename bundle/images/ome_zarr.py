"""Read and write OME-Zarr, and read plain zarr arrays, in chunks; a result also contains coarser scales.

Named axes may have any order on disk and are x, y, z in memory; a plain array has z, y, x. The format stores voxel
sizes but no directions, so a result also stores its affine, in mm, as an attribute of the group.
"""

from __future__ import annotations

import errno
import math
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from bundle.geometry import Tile, coarser_affine, even, pool, pyramid, shapes, tiles
from bundle.geometry.pyramid import finer
from bundle.images.image import LENGTHS, ImageError, LazyImage, Opened, Write, in_order, millimetres, named, one_channel
from bundle.images.readback import least_bytes
from bundle.runtime import parse_bytes
from bundle.runtime.files import atomic

try:
    import zarr
except ImportError:  # zarr 3 needs Python 3.11
    zarr = None  # type: ignore[assignment]

SUFFIXES = {".ome.zarr": ".ome.zarr", ".zarr": ".zarr"}
#: Voxels a side of a chunk. Where this many slices take more than BLOCK, a chunk has fewer slices, which are larger.
CHUNK = 64
#: Scales of a result: the finest, and coarser ones for viewers.
SCALES = 4
#: Bytes of float32 that are pooled, or collected for a layer of chunks, at once.
BLOCK = "32MiB"
#: Units of the format that a result keeps, by their names in this bundle; others become mm.
UNITS = {"mm": "millimeter", "micron": "micrometer", "meter": "meter"}


def needs_zarr(what: str) -> None:
    """Refuse to do something that needs zarr if it is not installed.

    Args:
        what: what needs zarr, for the error message.

    Raises:
        RuntimeError: If zarr is not installed.
    """
    if zarr is None:
        raise RuntimeError(f"{what} needs zarr 3, which needs Python 3.11 or later: install it (pip install zarr).")


def matches(path: Path) -> bool:
    """Return whether the path is a zarr folder."""
    return any((path / name).is_file() for name in ("zarr.json", ".zgroup", ".zarray"))


def open(path: Path, **_: Any) -> Opened:
    """Open an array, or the finest scale of an OME-Zarr image.

    Raises:
        RuntimeError: If zarr is not installed.
        ImageError: If the group is not an image, holds several channels or time points, or leads out of its folder.
    """
    needs_zarr(f"reading {str(path)!r}")
    _check_links(path)
    with named(path):
        node: Any = zarr.open(store=str(path), mode="r")
        node, names, affine, units = _finest(path, node)
        space = [names.index(name) for name in "xyz" if name in names]
        shape = [int(node.shape[axis]) for axis in space]
    other = [int(size) for axis, size in enumerate(node.shape) if axis not in space]
    if any(size != 1 for size in other):
        raise ImageError(
            f"zarr image {str(path)!r} of shape {node.shape} holds more than one channel or time point; choose one of "
            "them."
        )

    def read(window: Sequence[slice]) -> np.ndarray:
        index: list[Any] = [0] * node.ndim
        for axis, part in zip(space, window, strict=False):
            index[axis] = part
        kept = [axis for axis in range(node.ndim) if isinstance(index[axis], slice)]
        return np.asarray(node[tuple(index)]).transpose([kept.index(axis) for axis in space[: len(window)]])

    return Opened(path, one_channel(path, shape, node.dtype), affine, node.dtype, read, units)


def _finest(path: Path, node: Any) -> tuple[Any, list[str], np.ndarray, str]:
    """Return the finest array of an image, the names of its axes, its affine in mm, and its unit."""
    if not isinstance(node, zarr.Group):
        return node, _names(path, {}, node.ndim), np.eye(4), "mm"
    noted: dict[str, Any] = dict(node.attrs)
    try:
        scales = noted.get("ome", noted)["multiscales"][0]
        finest = scales["datasets"][0]
    except (KeyError, IndexError, TypeError) as error:
        raise ImageError(f"zarr group {str(path)!r} is not an OME-Zarr image: it has no multiscales.") from error
    array: Any = node[_inside(path, finest["path"])]
    if not isinstance(array, zarr.Array):
        raise ImageError(f"zarr group {str(path)!r}: the path {finest['path']!r} of its multiscales is not an array.")
    names = _names(path, scales, array.ndim)
    affine, units = _affine(path, scales, finest, names)
    return array, names, np.asarray(noted["affine"], float) if "affine" in noted else affine, units


def _names(path: Path, scales: dict[str, Any], dims: int) -> list[str]:
    """Return the names of the axes in lower case; older versions name none and use the order t, c, z, y, x."""
    axes = scales.get("axes") or ["t", "c", "z", "y", "x"][-dims:]
    names = [str(axis["name"] if isinstance(axis, dict) else axis).lower() for axis in axes]
    if len(names) != dims or len(set(names)) != dims or not {"x", "y"} <= set(names):
        raise ImageError(
            f"zarr group {str(path)!r} names the axes {', '.join(names)} for an array of {dims}; x and y, and z of a "
            "volume, each once, are needed: correct its multiscales."
        )
    return names


def _affine(path: Path, scales: dict[str, Any], finest: dict[str, Any], names: Sequence[str]) -> tuple[np.ndarray, str]:
    """Return the affine in mm of the finest scale, from its own and then the common transformations, and the unit."""
    size, origin = np.ones(len(names)), np.zeros(len(names))
    for step in (*finest.get("coordinateTransformations", ()), *scales.get("coordinateTransformations", ())):
        kind = step.get("type")
        if kind == "identity":
            continue
        values = np.asarray(step.get(kind, ()), float) if kind in ("scale", "translation") else np.empty(0)
        if values.shape != size.shape or not np.isfinite(values).all():
            raise ImageError(
                f"zarr group {str(path)!r} has a coordinate transformation {step}; a scale or a translation of "
                f"{len(names)} numbers is read: write its voxel size so."
            )
        size, origin = (size * values, origin * values) if kind == "scale" else (size, origin + values)
    axes = {str(a["name"]).lower(): a for a in scales.get("axes") or () if isinstance(a, dict)}
    found = [axes.get(name, {}).get("unit") for name in "xyz" if name in names]
    known = {word: unit for unit, word in UNITS.items()}
    affine = np.eye(4)
    for axis, name in enumerate(name for name in "xyz" if name in names):
        scale = millimetres(path, str(found[axis] or ""))
        affine[axis, axis], affine[axis, 3] = (numbers[names.index(name)] * scale for numbers in (size, origin))
    if not all(affine[axis, axis] > 0 for axis in range(3)):
        raise ImageError(f"zarr group {str(path)!r} has a voxel size that is not above zero; correct its multiscales.")
    alike = len(set(found)) == 1 and found[0] in known
    return affine, known[str(found[0])] if alike else "mm"


def _inside(path: Path, name: Any) -> str:
    """Return the path of a scale after checking that it stays inside the group."""
    parts = str(name).split("/")
    if not isinstance(name, str) or not all(parts) or {".", ".."} & set(parts) or "\\" in name or ":" in name:
        raise ImageError(
            f"zarr group {str(path)!r}: the path {name!r} of its multiscales is not that of an array in the group; "
            "only what lies in its folder is read: copy the array into it and name it there."
        )
    return name


def _check_links(path: Path) -> None:
    """Refuse a folder that contains a symbolic link to a place outside it."""
    whole = path.resolve()
    for folder, folders, files in os.walk(path):
        for link in (Path(folder, name) for name in (*folders, *files)):
            if link.is_symlink() and not link.resolve().is_relative_to(whole):
                raise ImageError(
                    f"zarr folder {str(path)!r}: {str(link.relative_to(path))!r} is a symbolic link that leads out of "
                    "it; only what lies in the folder is read: copy the folder with 'cp -rL'."
                )


@contextmanager
def create(path: Path, like: LazyImage, dtype: np.dtype, name: str = "", **_: Any) -> Iterator[Write]:
    """Write an image of several scales window by window, version 0.5; see `bundle.images.formats.create_image`.

    The coarser scales are pooled from the finest one, as in the cascade.

    Raises:
        RuntimeError: If zarr is not installed.
        FileExistsError: If the path is a folder with other contents.
    """
    needs_zarr("writing OME-Zarr")
    dims = len(like.shape)
    factors = pyramid(list(like.spacing), SCALES - 1)
    grids = shapes(like.shape, factors)[::-1]
    if path.is_dir() and not matches(path) and any(path.iterdir()):
        raise FileExistsError(f"folder {str(path)!r} is not of zarr; move it away, or take another output_dir.")

    def verify(part: Path) -> None:
        group: Any = zarr.open_group(store=str(part), mode="r")
        for level, grid in enumerate(grids):
            array = group[str(level)]
            if array.shape != grid[::-1] or array.dtype != dtype:
                raise OSError(errno.EIO, f"its scale {level} was read back as {array.shape}, {array.dtype}")
        for file in part.rglob("*"):
            if file.is_file() and not file.stat().st_size:
                raise OSError(errno.EIO, f"its file {str(file.relative_to(part))!r} was read back empty")

    with atomic(path, least_bytes(like.shape, dtype, path.suffix.lower()), verify) as part:
        group = zarr.open_group(store=str(part), mode="w", zarr_format=3)
        axes = ("x", "y", "z")[:dims][::-1]
        arrays: list[Any] = []
        affine, datasets = torch.from_numpy(like.affine), []
        unit = like.units if like.units in UNITS else "mm"
        for level, grid in enumerate(grids):
            if level:
                affine = coarser_affine(affine, [*factors[level - 1], *(1,) * (3 - dims)])
            arrays.append(
                group.create_array(
                    name=str(level), shape=grid[::-1], chunks=_chunks(grid)[::-1], dtype=dtype, dimension_names=axes
                )
            )
            datasets.append({"path": str(level), "coordinateTransformations": _steps(like, affine.numpy(), unit)})
        scales: dict[str, Any] = {
            "name": name,
            "axes": [{"name": axis, "type": "space", "unit": UNITS[unit]} for axis in axes],
            "datasets": datasets,
        }
        group.attrs["ome"] = {"version": "0.5", "multiscales": [scales]}
        group.attrs["affine"] = like.affine.tolist()

        with in_order(path, like.shape, _Layers(arrays[0]).append) as write:
            yield write
        for fine, coarse, factor in zip(arrays, arrays[1:], factors, strict=False):
            _pool(fine, coarse, list(factor))


def _steps(like: LazyImage, affine: np.ndarray, unit: str) -> list[dict[str, Any]]:
    """Return the transformations of a scale: its voxel size, and the position of its first voxel along the axes."""
    dims = len(like.shape)
    sizes = np.linalg.norm(affine[:3, :dims], axis=0)
    along = like.affine[:3, :dims] / np.linalg.norm(like.affine[:3, :dims], axis=0)
    origin = affine[:3, 3] @ along
    return [
        {"type": kind, kind: (numbers / LENGTHS[unit])[::-1].tolist()}
        for kind, numbers in (("scale", sizes), ("translation", origin))
    ]


def _pool(fine: Any, coarse: Any, factor: list[int]) -> None:
    """Write the means of blocks, slab by slab; the border is repeated, as in the cascade."""
    shape, whole = coarse.shape[::-1], fine.shape[::-1]
    depth = max(parse_bytes(BLOCK) // (4 * math.prod(whole[:-1]) * factor[-1]), 1)

    def pooled(tile: Tile) -> np.ndarray:
        window = finer(tile.write, factor, whole)
        block = torch.from_numpy(np.asarray(fine[window[::-1]], np.float32).T.copy())[None, None]
        means = pool(block, factor)[0, 0].numpy()
        return means.astype(fine.dtype) if fine.dtype.kind == "f" else np.rint(means).astype(fine.dtype)

    layers = _Layers(coarse)
    for tile in tiles(shape, (*shape[:-1], even(shape[-1], depth)), (0,) * len(shape)):
        layers.append(pooled(tile))


def _chunks(shape: Sequence[int]) -> tuple[int, ...]:
    """Return the shape of the chunks: a layer of them takes at most BLOCK in float32, or one slice."""
    slices = parse_bytes(BLOCK) // (4 * math.prod(shape[:-1]))
    depth = 2 ** int(math.log2(min(max(slices, 1), CHUNK)))
    side = CHUNK * 2 ** (int(math.log2(CHUNK / depth)) // max(len(shape) - 1, 1))
    return (*(min(side, size) for size in shape[:-1]), min(depth, shape[-1]))


class _Layers:
    """Write slabs along the last axis in layers of chunks: a chunk that is written in parts is unpacked for each.

    Args:
        array: array to write to; its axes are those of the slabs, reversed.
    """

    def __init__(self, array: Any) -> None:
        self.array, self.start = array, 0
        self.slabs: list[np.ndarray] = []

    def append(self, slab: np.ndarray) -> None:
        """Take the next slab; its layers are written once they are whole."""
        self.slabs.append(slab.T)
        held, depth = sum(map(len, self.slabs)), self.array.chunks[0]
        if self.start + held < self.array.shape[0]:
            held -= held % depth
        if not held:
            return
        block = np.concatenate(self.slabs)
        self.array[self.start : self.start + held] = block[:held]
        self.start, self.slabs = self.start + held, [block[held:]]
