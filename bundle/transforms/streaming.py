"""Images that are never whole in memory: opened to be walked on disk, and written from there, slab by slab.

::

    file --slabs--> image --.                          on disk, in RAS, as the cascade sees it
                            |  CascadeInferer          tile by tile, every scale of it on disk as well
    file <--slabs-- result <'                          pasted into the source, rounded, in the axes of the source

Both ends go through the very transforms that an image in memory goes through, so that the result is the same.
"""

from __future__ import annotations

import hashlib
import math
import shutil
from collections.abc import Callable, Hashable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import torch
from bundle import __version__
from bundle.cascade import ScratchImage, barrier, create_array, open_group, pending_tiles, write_tile
from bundle.geometry import Tile, Window, even, pyramid, region, tiles
from bundle.images import NIFTI, ZARR, NiftiWriter, Volume, ZarrScales, level_type, result_folder, stem, suffix
from bundle.images.derived import Derivation, DerivedSeries, is_ct
from bundle.runtime import file_hash, first, parse_bytes, prefetch, trim_malloc, wait
from bundle.scanner import find_kernel, matched
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform
from torch import Tensor

#: Bytes of a slab of float32; what is done with one takes a few times that.
SLAB = "32MiB"
#: Longest side of a chunk of the image, in voxels.
CHUNK = 64


class OpenScand(MapTransform):
    """Put an image on disk as the cascade sees it: in RAS, its kernel matched, windowed; slab by slab.

    Args:
        keys: paths of images, any that `bundle.images.find_images` finds.
        folder: where the images of a job are kept until its result is written, in a folder of its own.
        windowing: transform of the key, image in the source's units to what the network sees, voxel by voxel.
        match_kernel: whether to find a CT's kernel and undo it, as `bundle.transforms.match_kernel.MatchKerneld`.
        spatial_dims: 2 or 3.
        weights: the checkpoint. An interrupted run is gone on with where image, weights, settings and the bundle's
            version are the same.
        settings: whatever else the result depends on, for JSON to write.
        series_uid: of a DICOM folder with several series, the one to take.
        whole: a reason why the image has to be whole in memory; null for none.
        allow_missing_keys: whether a missing key is no error.

    Raises:
        ValueError: where there is such a reason.
    """

    def __init__(
        self,
        keys: KeysCollection,
        folder: str | Path,
        windowing: Callable[[dict], Mapping],
        match_kernel: bool = False,
        spatial_dims: int = 3,
        weights: str | Path | None = None,
        settings: Sequence[Any] = (),
        series_uid: str = "",
        whole: str | None = None,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        if whole:
            raise ValueError(f"streaming does not go with {whole}, which needs the whole image in memory; leave one.")
        self.folder, self.windowing, self.spatial_dims = Path(folder), windowing, spatial_dims
        self.match_kernel, self.weights, self.settings = match_kernel, weights, [*settings, series_uid]
        self.series_uid = series_uid

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Replace each path by a `ScratchImage`."""
        out = dict(data)
        for key in self.key_iterator(out):
            out[key] = self.opened(out[key], key)
        return out

    def opened(self, path: str, key: Hashable) -> ScratchImage:
        """One image on disk; what a run before has put there is not put there again."""
        volume = Volume(path, self.spatial_dims, self.series_uid)
        job = {
            "bundle": __version__,
            "image": fingerprint(path),
            "weights": file_hash(self.weights) if self.weights else None,
            "settings": self.settings,
        }
        group = open_group(self.folder / f".part_{stem(path)}", job)
        slab = (*volume.shape[:-1], slab_depth(volume.shape))
        chunks = [min(CHUNK, side) for side in slab[:-1]]
        create_array(group, "image", volume.shape, (*chunks, slab[-1]))
        image = ScratchImage(group, "image", torch.from_numpy(volume.affine))
        image.about = {"volume": volume}
        walk = list(pending_tiles(image, tiles(volume.shape, slab, (0,) * len(slab))))
        kernel = find_kernel(volume, volume.spacing) if self.match_kernel and walk else None

        def read(tile: Tile) -> Tensor:
            return volume.slab(tile.write[-1].start, tile.write[-1].stop)

        def shown(_: Tile, voxels: Tensor) -> Tensor:
            voxels = matched(voxels, volume.spacing, kernel) if kernel else voxels
            return self.windowing({key: MetaTensor(voxels[None], meta=volume.meta)})[key].as_subclass(Tensor)[None]

        for _ in trim_malloc(prefetch(walk, read, shown, partial(write_tile, image))):
            pass
        barrier(image)
        return image


class SaveScand(MapTransform):
    """Write a result from disk in the format of its source; it appears under its name only when whole.

    Args:
        keys: results, `ScratchImage`, as `bundle.cascade.CascadeInferer` leaves them.
        voxelwise: transform of a dictionary of the key, the cascade's result, and of ``source``, the image as it is in
            the file, both `(1, *window)`: to the voxels of the file.
        output_dir: folder, made where missing.
        output_postfix: what the name gets.
        output_ext: ``.nii``, ``.nii.gz`` or ``.ome.zarr``; empty for the source's own, a derived series for a CT series
            of DICOM, or ``.nii`` where the source's cannot be written in parts.
        output_dtype: voxel type of the file; DICOM has int16, an X-ray the type of its depth
            (`bundle.images.bit_depth`). allow_missing_keys: whether a missing key is no error. weights: the checkpoint,
            which a derived series names by its SHA-256; or nothing. series_description: what a derived series is said
            to be. root: folder whose subfolders results keep, see `bundle.images.result_folder`.

    Raises:
        ValueError: where the format cannot be written in parts.
    """

    def __init__(
        self,
        keys: KeysCollection,
        voxelwise: Callable[[dict], Mapping],
        output_dir: str | Path = "output",
        output_postfix: str = "translated",
        output_ext: str = "",
        output_dtype: str = "int16",
        allow_missing_keys: bool = False,
        weights: str | Path = "",
        series_description: str = Derivation.description,
        root: str | Path | None = None,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.weights, self.series_description, self.root = weights, series_description, root
        if output_ext and output_ext not in (*NIFTI, *ZARR):
            raise ValueError(
                f"output_ext {output_ext!r} cannot be written in parts; take one of {', '.join((*NIFTI, *ZARR))}, or "
                "leave out streaming."
            )
        self.voxelwise, self.output_dir, self.output_ext = voxelwise, Path(output_dir), output_ext
        self.output_postfix, self.dtype = output_postfix, np.dtype(output_dtype)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Write the results under the keys and tell their paths."""
        for key in self.key_iterator(dict(data)):
            self.save(data[key], key)
        return dict(data)

    def save(self, result: ScratchImage, key: Hashable) -> None:
        """Write one result, and remove what is on disk of the job."""
        volume: Volume = result.about["volume"]
        derived = bool(volume.series) and not self.output_ext and is_ct(volume.series[0])
        end = self.output_ext or suffix(volume.path)
        end = "" if derived else end if end in (*NIFTI, *ZARR) else ".nii"
        name = "_".join(filter(None, (volume.path.name if derived else stem(volume.path), self.output_postfix)))
        path = result_folder(volume.path, self.output_dir, self.root) / f"{name}{end}"
        if first():
            path.parent.mkdir(parents=True, exist_ok=True)
            write = self.to_series if derived else self.to_zarr if end in ZARR else self.to_nifti
            write(path, result, volume, key)
            shutil.rmtree(result.folder)
            print(f"written: {path}")
        wait()

    def to_nifti(self, path: Path, result: ScratchImage, volume: Volume, key: Hashable) -> None:
        """Write the result with the header of its source, where that is NIfTI as well."""
        header = getattr(nibabel.load(volume.path), "header", None) if suffix(volume.path) in NIFTI else None
        with NiftiWriter(path, volume.file_shape, volume.file_affine, self._type(volume), header) as writer:
            self.convert(result, volume, key, lambda _, voxels: writer.append(voxels))

    def _type(self, volume: Volume) -> np.dtype:
        """The voxel type of the file."""
        bits = volume.meta.get("bits")
        return self.dtype if bits is None else np.dtype(level_type(bits))

    def to_series(self, path: Path, result: ScratchImage, volume: Volume, key: Hashable) -> None:
        """Write the result as a derived series."""
        derivation = Derivation(self.series_description, weights=file_hash(self.weights) if self.weights else "")
        with DerivedSeries(volume.series, path, volume.file_shape, volume.file_affine, derivation) as series:

            def write(window: Window, voxels: np.ndarray) -> None:
                for i in range(voxels.shape[-1]):
                    series.write(window[-1].start + i, voxels[..., i])

            self.convert(result, volume, key, write)

    def convert(
        self,
        result: ScratchImage,
        volume: Volume,
        key: Hashable,
        write: Callable[[Window, np.ndarray], None],
        pasted: bool = True,
    ) -> None:
        """Make the voxels of the file from a result, and write them, slab by slab along the file's last axis.

        Args:
            result: of the finest scale, or of a coarser one.
            volume: the source.
            key: of the result.
            write: is given each slab's window and its voxels.
            pasted: whether the source is at hand, as it is not at the coarser scales.
        """
        shape = volume.axes_in_file(result.shape[2:])
        slab = (*shape[:-1], slab_depth(shape))

        def read(tile: Tile) -> tuple[Tensor, Tensor]:
            made = volume.as_in_file(result[region(volume.of_file(tile.write, shape))][0, 0])
            return made, volume.in_file(tile.write) if pasted else torch.zeros_like(made)

        def converted(_: Tile, given: tuple[Tensor, Tensor]) -> np.ndarray:
            made, source = given
            data = self.voxelwise({key: made[None], "source": MetaTensor(source[None], meta=volume.meta)})
            return data[key].as_subclass(Tensor)[0].numpy()

        walk = tiles(shape, slab, (0,) * len(slab))
        for _ in trim_malloc(prefetch(walk, read, converted, lambda tile, voxels: write(tile.write, voxels))):
            pass

    def to_zarr(self, path: Path, result: ScratchImage, volume: Volume, key: Hashable) -> None:
        """Write the result, and beside it what the coarser scales made, which is its pyramid."""
        scales = [result, *(result.beside(f"result_{i}") for i in range(int(result.name.split("_")[1]))[::-1])]
        spacing = np.asarray(volume.spacing)
        sizes, origins = [spacing], [np.zeros(len(spacing))]
        for factor, scale in zip(pyramid(list(volume.spacing), len(scales) - 1), scales[1:], strict=True):
            sizes.append(sizes[-1] * factor)
            # A coarse voxel lies in the middle of its block; the last one may stick out, which is the first in the file
            # where that runs the other way.
            out = np.asarray(scale.shape[2:]) * sizes[-1] - np.asarray(volume.shape) * spacing
            origins.append((sizes[-1] - spacing) / 2 - out * volume.flipped)
        part = path.with_name(f".part_{path.name}")
        writer = ZarrScales(
            part,
            [volume.axes_in_file(scale.shape[2:]) for scale in scales],
            [volume.axes_in_file(size.tolist()) for size in sizes],
            [volume.axes_in_file(origin.tolist()) for origin in origins],
            volume.file_affine,
            self._type(volume),
            stem(volume.path),
        )
        for level, scale in enumerate(scales):
            self.convert(scale, volume, key, partial(writer.write, level), pasted=level == 0)
        shutil.rmtree(path, ignore_errors=True)
        part.replace(path)


def slab_depth(shape: tuple[int, ...]) -> int:
    """How many slices across the last axis make a slab."""
    return even(shape[-1], max(1, parse_bytes(SLAB) // (4 * math.prod(shape[:-1]))))


def fingerprint(path: str | Path) -> str:
    """What changes when an image does: its place, and size and time of change of its files."""
    path = Path(path)
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    told = [f"{file.name} {file.stat().st_size} {file.stat().st_mtime_ns}" for file in files]
    return hashlib.sha256("\n".join([str(path.resolve()), *told]).encode()).hexdigest()
