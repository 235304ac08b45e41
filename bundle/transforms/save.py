"""Save an image in the format of its source."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Hashable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from bundle.cascade.scratch import NOTE
from bundle.images import Opened, Write, check_extension, create_image, held, open_image, result_path, suffix
from bundle.images.derived import Derivation, check_description
from bundle.images.provenance import (
    PROVENANCE,
    Own,
    check_overwrite,
    check_replaceable,
    read_provenance,
    remove_companions,
)
from bundle.runtime import afterwards, fault, file_hash, noted, typed_text
from bundle.runtime.errors import last_line
from bundle.runtime.files import PART, remove_abandoned, sealing
from bundle.runtime.locks import locked
from bundle.runtime.replace import put_back
from bundle.transforms.chosen import KERNELS
from bundle.transforms.densitometry import Densitometry, path_of
from bundle.transforms.provenance import Provenance
from monai.config import KeysCollection
from monai.data.utils import to_affine_nd
from monai.transforms import MapTransform, SaveImaged
from monai.utils import get_equivalent_dtype
from torch import Tensor


class Reporter(Protocol):
    """A writer of reports (`bundle.report.Report`)."""

    def __call__(self, source: Path, result: Path, **facts: Any) -> object:
        """Write the reports of a result."""

    def is_there(self, result: Path) -> bool:
        """Return whether a result has all its reports."""


class SaveImageAsSourced(SaveImaged):
    """Save an image in the format of its source; it appears under its name only when it is complete.

    Args:
        keys: images to save, `(1, *spatial)`; the file name comes from the metadata.
        output_dir: output folder, created if missing.
        output_postfix: text that is added to the name.
        output_ext: such as ``.nii.gz``; empty for the source's own, see `bundle.images.result_path`.
        output_dtype: voxel type of the file. Images with a bit depth keep it (`bundle.images.bit_depth`), other PNGs
            get 8 or 16 bits, depending on their values; a DICOM CT series has int16.
        allow_missing_keys: do not raise if a key is missing.
        weights: the checkpoint that made the image, which a derived series identifies by its SHA-256; or empty.
        series_description: description of a derived series, printable and of at most 64 characters, in any script.
        root: folder whose subfolders results keep, see `bundle.images.result_path`.
        densitometry: measures the lungs in source and result after writing; null to skip.
        provenance: writes a file beside each result about how it was made; null to skip.
        overwrite: "own" to replace only results of this bundle from the same image, "all" to replace any file except
            the source.
        report: writes a report on source and result (`bundle.report.Report`) after all images; null to skip.

    Raises:
        ValueError: If no format with this extension can be written, ``overwrite`` has an unknown value, or a DICOM
            header cannot hold ``series_description``.
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
        report: Reporter | None = None,
    ) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        check_extension(output_ext)
        check_overwrite(overwrite)
        self.provenance, self.overwrite, self.report = provenance, overwrite, report
        self.weights = weights
        self.series_description = check_description(typed_text("series_description", series_description))
        self.output_dir, self.output_dtype = Path(output_dir), output_dtype
        self.output_postfix = typed_text("output_postfix", output_postfix)
        self.output_ext, self.root, self.densitometry = output_ext, root, densitometry

    def set_options(self, *args: Any, **kwargs: Any) -> None:
        """Do nothing: the format follows from each image."""

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Write the images under the keys and print their paths.

        Raises:
            ValueError: If a format cannot hold the values, or an image is not on the grid of its DICOM series.
        """
        for key in self.key_iterator(dict(data)):
            image = data[key]
            voxels = torch.as_tensor(image).as_subclass(Tensor).cpu().numpy()[0]
            with self.created(source_of(image, voxels)) as write:
                write(tuple(slice(0, size) for size in voxels.shape), voxels)
        return dict(data)

    @contextmanager
    def created(self, source: Opened) -> Iterator[Write]:
        """Yield a function that writes windows of a result, see `bundle.images.create_image`; print its path when done.

        Raises:
            FileExistsError: If its path is taken by a file that must not be replaced.
        """
        dtype = get_equivalent_dtype(self.output_dtype, np.ndarray)
        with self.held(source) as path:
            put_back(path)
            own = check_replaceable(path, source.path, source.files, self.overwrite)
            remove_abandoned(path.parent, lambda folder: (folder / NOTE).exists())
            derivation, seal = self.derivation(path, source), partial(self.seal, path, source, own)
            with sealing(seal), create_image(path, source, dtype, derivation) as write:
                yield write
            print(f"written: {path}")
            self.write_beside(source.path, path, noted(), str(source.meta.get("series_uid", "")))

    @contextmanager
    def held(self, source: Opened) -> Iterator[Path]:
        """Yield the path of a result, which no other process writes meanwhile."""
        named = self.output_postfix, self.output_ext, self.root
        path = result_path(source.path, self.output_dir, *named, files=source.files)
        lock = path.with_name(f"{PART}{hashlib.sha256(os.fsencode(path.name)).hexdigest()[:12]}")
        with locked(lock, wait=True, task=f"result {str(path)!r}"):
            yield path

    def write_beside(
        self, source: Path, result: Path, told: Mapping[str, Any], series_uid: str = "", missing: bool = False
    ) -> None:
        """Measure the densities of a result and print them, and write its reports after all images.

        Args:
            source: path of the source.
            result: path of the result.
            told: warnings and facts about the translation, as in its provenance.
            series_uid: series to read if the source is a folder with several series.
            missing: write only what is not there yet.
        """
        densities = None
        if self.densitometry and not (missing and path_of(result).exists()):
            opened = open_image(source, series_uid)
            densities = self.densitometry(opened, result, told["warnings"], told.get("kernel"))
        if self.report and not (missing and self.report.is_there(result)):
            afterwards(partial(self.report, source, result, densities=densities, told=told, series_uid=series_uid))

    def add_missing(self, image: str | Path, series_uid: str = "") -> None:
        """Write what is asked for beside an existing result and is not there, by its provenance; report a failure.

        Args:
            image: path of the source.
            series_uid: series to read if it is a folder with several series.
        """
        try:
            source = open_image(image, series_uid)
            with self.held(source) as path:
                self.write_beside(source.path, path, read_provenance(path) or noted(), series_uid, missing=True)
        except Exception as error:  # whatever a library raises, the result is complete
            fault(f"nothing beside the result of {str(image)!r}: {last_line(error).removeprefix('error: ')}")

    def derivation(self, path: Path, source: Opened) -> Derivation | None:
        """Return how a derived DICOM image was made; None for other formats."""
        if suffix(path) not in ("", ".dcm"):
            return None
        weights = file_hash(self.weights) if self.weights else ""
        kernels, told, kernel = (str(source.meta.get(key, "")) for key in KERNELS)
        return Derivation(self.series_description, weights=weights, kernels=kernels, kernels_told=told, kernel=kernel)

    def seal(self, path: Path, source: Opened, replaced: Own | None, whole: Path) -> None:
        """Write the provenance just before a result gets its name, and remove what is about the one that it replaces.

        If the process is killed in between, nothing is taken for a measurement of the new result.
        """
        if self.provenance:
            self.provenance(path, source, replaced, whole)
        remove_companions(path, (PROVENANCE,) if self.provenance else ())


def source_of(image: Any, voxels: np.ndarray) -> Opened:
    """Return the source file of an image in memory, or the image itself if there is none or its grid differs."""
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
