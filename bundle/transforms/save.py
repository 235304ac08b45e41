"""Save an image in the format of its source."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from bundle.cascade.scratch import NOTE
from bundle.images import Opened, Write, check_extension, create_image, held, open_image, result_path, suffix
from bundle.images.derived import Derivation
from bundle.images.provenance import PROVENANCE, Own, check_overwrite, check_replaceable, remove_companions
from bundle.runtime import afterwards, file_hash, noted
from bundle.runtime.files import PART, remove_abandoned, sealing
from bundle.runtime.locks import locked
from bundle.runtime.replace import put_back
from bundle.transforms.chosen import KERNELS
from bundle.transforms.densitometry import Densitometry
from bundle.transforms.provenance import Provenance
from monai.config import KeysCollection
from monai.data.utils import to_affine_nd
from monai.transforms import MapTransform, SaveImaged
from monai.utils import get_equivalent_dtype
from torch import Tensor


class SaveImageAsSourced(SaveImaged):
    """Save an image in the format of its source; it appears under its name only when whole.

    Args:
        keys: what to save, `(1, *spatial)`; the name comes from the metadata.
        output_dir: folder, made where missing.
        output_postfix: what the name gets.
        output_ext: such as ``.nii.gz``; empty for the source's own, see `bundle.images.result_path`.
        output_dtype: voxel type of the file. Images that have a depth keep it (`bundle.images.bit_depth`), another PNG
            gets 8 or 16 bits, as many as its values need; a CT series of DICOM has int16.
        allow_missing_keys: do not raise if a key is missing.
        weights: the checkpoint that made the image, which a derived series names by its SHA-256; or nothing.
        series_description: what a derived series is said to be.
        root: folder whose subfolders results keep, see `bundle.images.result_path`.
        densitometry: what measures the lungs in source and result once that is written; null for nothing.
        provenance: what is written beside a result about how it was made; null for nothing.
        overwrite: "own" to replace results of this bundle from the same image alone, "all" to replace whatever lies
            there but the source.
        report: what tells of source and result (`bundle.report.Report`), when all images are done; null for nothing.

    Raises:
        ValueError: If the extension is not that of a format that can be written, or ``overwrite`` is neither.
    """

    def __init__(
        self,
        keys: KeysCollection,
        output_dir: str | Path = "output",
        output_postfix: str = "translated",
        output_ext: str = "",
        output_dtype: Any = np.int16,
        allow_missing_keys: bool = False,
        weights: str | Path = "",
        series_description: str = Derivation.description,
        root: str | Path | None = None,
        densitometry: Densitometry | None = None,
        provenance: Provenance | None = None,
        overwrite: str = "all",
        report: Callable[..., object] | None = None,
    ) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        check_extension(output_ext)
        check_overwrite(overwrite)
        self.provenance, self.overwrite, self.report = provenance, overwrite, report
        self.weights, self.series_description = weights, series_description
        self.output_dir, self.output_postfix, self.output_dtype = Path(output_dir), output_postfix, output_dtype
        self.output_ext, self.root, self.densitometry = output_ext, root, densitometry

    def set_options(self, *args: Any, **kwargs: Any) -> None:
        """Nothing to set: the format follows from each image."""

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Write the images under the keys and tell their paths.

        Raises:
            ValueError: If a format cannot hold the values, or an image does not lie on its DICOM series' grid.
        """
        for key in self.key_iterator(dict(data)):
            image = data[key]
            voxels = torch.as_tensor(image).as_subclass(Tensor).cpu().numpy()[0]
            with self.created(source_of(image, voxels)) as write:
                write(tuple(slice(0, size) for size in voxels.shape), voxels)
        return dict(data)

    @contextmanager
    def created(self, source: Opened) -> Iterator[Write]:
        """What takes the windows of a result, see `bundle.images.create_image`; tells its path when it is whole.

        Raises:
            FileExistsError: If something lies there that must not be replaced.
        """
        named = self.output_postfix, self.output_ext, self.root
        path = result_path(source.path, self.output_dir, *named, files=source.files)
        dtype = get_equivalent_dtype(self.output_dtype, np.ndarray)
        lock = path.with_name(f"{PART}{hashlib.sha256(os.fsencode(path.name)).hexdigest()[:12]}")
        with locked(lock, wait=True, task=f"result {str(path)!r}"):
            put_back(path)
            own = check_replaceable(path, source.path, source.files, self.overwrite)
            remove_abandoned(path.parent, lambda folder: (folder / NOTE).exists())
            derivation = self.derivation(path, source)
            with self.sealed(path, source, own), create_image(path, source, dtype, derivation) as write:
                yield write
            remove_companions(path, (PROVENANCE,) if self.provenance else ())
            print(f"written: {path}")
            series_uid, densities = str(source.meta.get("series_uid", "")), None
            if self.densitometry:
                told = noted()
                opened = open_image(source.path, series_uid)
                densities = self.densitometry(opened, path, told["warnings"], told.get("kernel"))
            if self.report:
                facts = {"densities": densities, "told": noted(), "series_uid": series_uid}
                afterwards(partial(self.report, source.path, path, **facts))

    def derivation(self, path: Path, source: Opened) -> Derivation | None:
        """What a derived DICOM image tells of how it was made; nothing for other formats."""
        if suffix(path) not in ("", ".dcm"):
            return None
        weights = file_hash(self.weights) if self.weights else ""
        kernels, told, kernel = (str(source.meta.get(key, "")) for key in KERNELS)
        return Derivation(self.series_description, weights=weights, kernels=kernels, kernels_told=told, kernel=kernel)

    def sealed(self, path: Path, source: Opened, replaced: Own | None) -> AbstractContextManager[None]:
        """What writes the provenance of a result before the result gets its name, and replaces another."""
        if self.provenance is None:
            return nullcontext()
        return sealing(partial(self.provenance, path, source, replaced))


def source_of(image: Any, voxels: np.ndarray) -> Opened:
    """The source of an image in memory, by its metadata; on the image's own grid if that is another one."""
    meta = getattr(image, "meta", {})
    affine = to_affine_nd(3, np.asarray(torch.as_tensor(getattr(image, "affine", torch.eye(4))), float))
    told = {key: meta[key] for key in ("bits", "series_uid", *KERNELS) if key in meta}
    path = Path(str(meta.get("filename_or_obj") or "image"))
    own = held(voxels, affine, path, told)
    if not path.exists():
        return own
    source = open_image(path, str(meta.get("series_uid", "")))
    sizes = [size for size in source.shape if size != 1], [size for size in voxels.shape if size != 1]
    if sizes[0] != sizes[1] or not np.allclose(source.affine, affine, rtol=1e-4, atol=1e-3):
        return replace(own, files=source.files)
    return replace(source, meta=told)
