"""MONAI transforms around the cascade, a thin wrapper each: load a scan, mark, paste back, save as it came."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from bundle.depth import depth_of, level_type
from bundle.dicom import Derivation, DerivedSeries, is_ct, write_derived_xray
from bundle.ome_zarr import ZARR
from bundle.runtime.files import file_hash
from bundle.scanner import find_kernel, matched
from bundle.series import series_files
from bundle.sinks import (
    LOSSLESS,
    TIFF,
    check_ext,
    only_channel,
    result_ext,
    result_folder,
    write_file,
    write_tiff,
    write_zarr,
)
from bundle.storage import ScanReader, spacing_of, stem
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import LoadImaged, MapTransform, SaveImaged
from pydicom.misc import is_dicom
from torch import Tensor


class LoadImageOrSeriesd(LoadImaged):
    """Load any image that `bundle.storage.find_images` finds, a DICOM series folder among them.

    The format follows from the path, so that a broken file gives its own error and not one of every reader tried.

    Args:
        keys: paths.
        series_uid: of DICOM folders with several series, the Series Instance UID of the one to take.
        kwargs: of MONAI's `LoadImaged`.
    """

    def __init__(self, keys: KeysCollection, series_uid: str = "", **kwargs: Any) -> None:
        super().__init__(keys, reader=ScanReader, **kwargs)
        self.reader = ScanReader(series_uid)

    def __call__(self, data: Mapping[Hashable, Any], reader: Any = None) -> dict[Hashable, Any]:
        """Load the paths under the keys as `(*spatial)`."""
        return super().__call__(data, reader or self.reader)


class SaveImageAsSourced(SaveImaged):
    """Save an image in the format of its source; it appears under its name only when whole.

    Args:
        keys: what to save; the name comes from the metadata.
        output_dir: folder, made where missing.
        output_postfix: what the name gets.
        output_ext: such as ``.nii.gz``; empty for the source's own. A CT series of DICOM gives a folder with a derived
            series (`bundle.dicom`), one of another modality ``.nii.gz``, an X-ray a derived one, a JPEG ``.png``.
        output_dtype: voxel type of the file. Images that have a depth keep it (`bundle.depth`), another PNG gets 8 or
            16 bits, as many as its values need; a CT series of DICOM has int16.
        allow_missing_keys: whether a missing key is no error.
        weights: the checkpoint that made the image, which a derived series names by its SHA-256; or nothing.
        series_description: what a derived series is said to be.
        root: folder whose subfolders results keep, see `bundle.sinks.result_folder`.

    Raises:
        ValueError: If ``output_ext`` is not written.
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
        if output_ext:
            check_ext(LOSSLESS.get(output_ext, output_ext))
        self.weights, self.series_description = weights, series_description
        self.output_dir, self.output_postfix, self.output_dtype = Path(output_dir), output_postfix, output_dtype
        self.output_ext, self.root = output_ext, root

    def set_options(self, *args: Any, **kwargs: Any) -> None:
        """Nothing to set: the format follows from each image."""

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Write the images under the keys and tell their paths.

        Raises:
            ValueError: where a PNG cannot hold the values, or an image does not lie on its DICOM series' grid.
            NotWrittenError: If a file cannot be written whole, see `bundle.runtime.files`.
        """
        for key in self.key_iterator(dict(data)):
            image = data[key]
            source = self._series(image)
            if source:
                self._derive(image, source)
                continue
            path = Path(str(image.meta.get("filename_or_obj", "")))
            end = result_ext(image, self.output_ext)
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


class MatchKerneld(MapTransform):
    """Match a CT's own reconstruction kernel, found from its noise, to the soft one that the cascade makes.

    One filter for the whole volume, before the cascade and outside of its tiles (see `bundle.scanner.matching`). A scan
    with too little flat soft tissue to tell its kernel, and one that is smoother already, is left as it is.

    Args:
        keys: CTs in HU, `(1, x, y, z)`, slices in the first two axes.
        allow_missing_keys: whether a missing key is no error.
    """

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Filter each CT."""
        out = dict(data)
        for key in self.key_iterator(out):
            image = out[key]
            voxels, spacing = torch.as_tensor(image).as_subclass(Tensor)[0], spacing_of(image, 3)
            kernel = find_kernel(voxels, spacing)
            if kernel is not None:
                shown = matched(voxels, spacing, kernel)[None]
                out[key] = MetaTensor(shown, meta=image.meta, applied_operations=image.applied_operations)
        return out


class PasteIntoSourced(MapTransform):
    """Put a result into its source, which stays where the network was not asked.

    That is outside what was translated, and where the source lies beyond what the network was shown: the padding
    around a scanner's field of view below, metal above. The result gets the source's metadata.

    Args:
        keys: results in the source's units and on its grid, `(1, *spatial)`.
        source_key: the image as it was loaded.
        low: lowest value that the network was shown.
        high: highest value that the network was shown.
        inside_key: where present, an image that is 1 where the network was asked (see `MarkInsided`) and 0 elsewhere.
        allow_missing_keys: whether a missing key is no error.
    """

    def __init__(
        self,
        keys: KeysCollection,
        source_key: str,
        low: float,
        high: float,
        inside_key: str = "inside",
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.source_key, self.inside_key = source_key, inside_key
        self.low, self.high = low, high

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Paste each result.

        Raises:
            ValueError: where result and source differ in shape.
        """
        out = dict(data)
        source = torch.as_tensor(out[self.source_key]).as_subclass(Tensor).cpu()
        for key in self.key_iterator(out):
            result = out[key]
            if result.shape != source.shape:
                raise ValueError(
                    f"{key} of shape {tuple(result.shape)} is not on the grid of {self.source_key}, "
                    f"{tuple(source.shape)}; invert the preprocessing first."
                )
            asked = (source >= self.low) & (source <= self.high)
            if self.inside_key in out:
                asked &= torch.as_tensor(out[self.inside_key]).cpu() > 0.5
            values = torch.where(asked, result.as_subclass(Tensor).cpu(), source)
            out[key] = MetaTensor(values, meta=dict(getattr(out[self.source_key], "meta", {})))
        return out


class MarkInsided(MapTransform):
    """Put an image of ones beside a result, which tells after `Invertd` where the result is one.

    Args:
        keys: the result.
        inside_key: where the ones go, on the result's grid.
        allow_missing_keys: whether a missing key is no error.
    """

    def __init__(self, keys: KeysCollection, inside_key: str = "inside", allow_missing_keys: bool = False) -> None:
        super().__init__(keys, allow_missing_keys)
        self.inside_key = inside_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Add the ones."""
        out = dict(data)
        for key in self.key_iterator(out):
            out[self.inside_key] = torch.ones_like(out[key])
        return out


class RoundAndCastd(MapTransform):
    """Cast images to the voxel type of the file: rounded and clipped to what it holds, so that no voxel wraps.

    Args:
        keys: images.
        dtype: name of a torch type, such as ``int16``; one of floating point is neither rounded nor clipped. An image
            that has a depth gets the type of its levels instead (`bundle.depth`).
        allow_missing_keys: whether a missing key is no error.

    Raises:
        ValueError: where there is no such type.
    """

    def __init__(self, keys: KeysCollection, dtype: str = "int16", allow_missing_keys: bool = False) -> None:
        super().__init__(keys, allow_missing_keys)
        found = getattr(torch, str(dtype), None)
        if not isinstance(found, torch.dtype):
            raise ValueError(f"output_dtype {dtype!r} is no voxel type; take one such as int16, uint8 or float32.")
        self.dtype = found

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Cast each image.

        Raises:
            ValueError: where a voxel is no finite number.
        """
        out = dict(data)
        for key in self.key_iterator(out):
            image = out[key]
            if not bool(torch.isfinite(image).all()):
                raise ValueError(f"{key} holds voxels that are no finite numbers; check the weights and the source.")
            bits = depth_of(image)
            dtype = self.dtype if bits is None else getattr(torch, level_type(bits))
            if not dtype.is_floating_point:
                limits = torch.iinfo(dtype)
                image = image.round().clamp(limits.min, limits.max)
            out[key] = image.to(dtype)
        return out
