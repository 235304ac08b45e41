"""Save an image in the format of its source."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from bundle.images import (
    TIFF,
    ZARR,
    only_channel,
    result_folder,
    series_files,
    stem,
    suffix,
    write_file,
    write_tiff,
    write_zarr,
)
from bundle.images.derived import Derivation, DerivedSeries, is_ct, write_derived_xray
from bundle.runtime import file_hash
from monai.config import KeysCollection
from monai.transforms import MapTransform, SaveImaged
from pydicom.misc import is_dicom


class SaveImageAsSourced(SaveImaged):
    """Save an image in the format of its source; it appears under its name only when whole.

    Args:
        keys: what to save; the name comes from the metadata.
        output_dir: folder, made where missing.
        output_postfix: what the name gets.
        output_ext: such as ``.nii.gz``; empty for the source's own. A CT series of DICOM gives a folder with a derived
            series (`bundle.images.derived`), one of another modality ``.nii.gz``, an X-ray a derived one, a JPEG
            ``.png``.
        output_dtype: voxel type of the file. Images that have a depth keep it (`bundle.images.bit_depth`), another PNG
            gets 8 or 16 bits, as many as its values need; a CT series of DICOM has int16.
        allow_missing_keys: whether a missing key is no error.
        weights: the checkpoint that made the image, which a derived series names by its SHA-256; or nothing.
        series_description: what a derived series is said to be.
        root: folder whose subfolders results keep, see `bundle.images.result_folder`.
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
    ) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        self.weights, self.series_description = weights, series_description
        self.output_dir, self.output_postfix, self.output_dtype = Path(output_dir), output_postfix, output_dtype
        self.output_ext, self.root = output_ext, root

    def set_options(self, *args: Any, **kwargs: Any) -> None:
        """Nothing to set: the format follows from each image."""

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Write the images under the keys and tell their paths.

        Raises:
            ValueError: where a PNG cannot hold the values, or an image does not lie on its DICOM series' grid.
        """
        for key in self.key_iterator(dict(data)):
            image = data[key]
            source = self._series(image)
            if source:
                self._derive(image, source)
                continue
            path = Path(str(image.meta.get("filename_or_obj", "")))
            end = self.output_ext or suffix(path) or (".dcm" if "bits" in image.meta else ".nii.gz")
            end = {".jpg": ".png", ".jpeg": ".png", ".mhd": ".mha"}.get(end, end)
            folder = result_folder(path, self.output_dir, self.root)
            folder.mkdir(parents=True, exist_ok=True)
            writers = {".dcm": self._write_xray, **dict.fromkeys(ZARR, write_zarr), **dict.fromkeys(TIFF, write_tiff)}
            write = writers.get(end, write_file)
            print(f"written: {write(image, folder, self.output_postfix, end, self.output_dtype)}")
        return dict(data)

    def _write_xray(self, image: Any, folder: Path, postfix: str, end: str, _: Any) -> Path:
        """Write a derived X-ray."""
        source = Path(image.meta["filename_or_obj"])
        if not (source.is_file() and is_dicom(source)):
            raise ValueError(f"source {str(source)!r} is no DICOM X-ray to derive one from; take another output_ext.")
        path = folder / f"{'_'.join(filter(None, (stem(source), postfix)))}{end}"
        write_derived_xray(source, path, only_channel(image), self._derivation())
        return path

    def _series(self, image: Any) -> list[str]:
        """The files of the CT series that an image came from, where its result is to be one as well."""
        if self.output_ext or "series_uid" not in image.meta:
            return []
        files = series_files(image.meta["filename_or_obj"], image.meta["series_uid"])
        return files if is_ct(files[0]) else []

    def _derive(self, image: Any, source: list[str]) -> None:
        """Write a derived series."""
        name = "_".join(filter(None, (Path(source[0]).parent.name, self.output_postfix)))
        voxels = only_channel(image)
        with DerivedSeries(source, self.output_dir / name, voxels.shape, image.affine, self._derivation()) as series:
            for index in range(voxels.shape[-1]):
                series.write(index, voxels[..., index])
        print(f"written: {self.output_dir / name}")

    def _derivation(self) -> Derivation:
        return Derivation(self.series_description, weights=file_hash(self.weights) if self.weights else "")
