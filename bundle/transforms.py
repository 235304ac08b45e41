"""MONAI transforms around the cascade, a thin wrapper each: load a scan, mark, paste back, save as it came."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from bundle.dicom import Derivation, DerivedSeries, is_ct
from bundle.ome_zarr import ZARR, ZarrScales
from bundle.scanner import find_kernel, matched
from bundle.series import series_files
from bundle.storage import ScanReader, file_hash, spacing_of, stem, suffix
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.data.folder_layout import default_name_formatter
from monai.transforms import LoadImaged, MapTransform, SaveImage, SaveImaged
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
            series (`bundle.dicom`), one of another modality ``.nii.gz``, a JPEG ``.png``.
        output_dtype: voxel type of the file. A PNG gets 8 or 16 bits, as many as its values need; DICOM has int16.
        allow_missing_keys: whether a missing key is no error.
        weights: the checkpoint that made the image, which a derived series names by its SHA-256; or nothing.
        series_description: what a derived series is said to be.
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
    ) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        self.weights, self.series_description = weights, series_description
        self.output_dir, self.output_postfix, self.output_dtype = Path(output_dir), output_postfix, output_dtype
        self.output_ext = output_ext

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
            end = self.output_ext or suffix(image.meta.get("filename_or_obj", "")) or ".nii.gz"
            end = {".jpg": ".png", ".jpeg": ".png", ".mhd": ".mha"}.get(end, end)
            self.output_dir.mkdir(parents=True, exist_ok=True)
            if end in ZARR:
                print(f"written: {_save_zarr(image, self.output_dir, self.output_postfix, end, self.output_dtype)}")
                continue
            with tempfile.TemporaryDirectory(dir=self.output_dir, prefix=".part_") as part:
                save = SaveImage(
                    part,
                    self.output_postfix,
                    end,
                    output_dtype=_photo_type(image) if end == ".png" else self.output_dtype,
                    resample=False,
                    separate_folder=False,
                    print_log=False,
                    output_name_formatter=_name,
                )
                save(image)
                for file in Path(part).iterdir():
                    file.replace(self.output_dir / file.name)
                    print(f"written: {self.output_dir / file.name}")
        return dict(data)

    def _series(self, image: Any) -> list[str]:
        """The files of the CT series that an image came from, where its result is to be one as well."""
        if self.output_ext or "series_uid" not in image.meta:
            return []
        files = series_files(image.meta["filename_or_obj"], image.meta["series_uid"])
        return files if is_ct(files[0]) else []

    def _derive(self, image: Any, source: list[str]) -> None:
        """Write a derived series."""
        name = "_".join(filter(None, (Path(source[0]).parent.name, self.output_postfix)))
        digest = file_hash(self.weights) if self.weights else ""
        voxels = torch.as_tensor(image).as_subclass(Tensor).cpu().numpy()[0]
        derivation = Derivation(self.series_description, weights=digest)
        with DerivedSeries(source, self.output_dir / name, voxels.shape, image.affine, derivation) as series:
            for index in range(voxels.shape[-1]):
                series.write(index, voxels[..., index])
        print(f"written: {self.output_dir / name}")


def _save_zarr(image: MetaTensor, folder: Path, postfix: str, end: str, dtype: Any) -> Path:
    """Write an image of one scale as OME-Zarr."""
    name = stem(image.meta.get("filename_or_obj", "") or "image")
    path, shape = folder / f"{name}_{postfix}{end}", tuple(image.shape[1:])
    voxels = torch.as_tensor(image)[0].as_subclass(Tensor).numpy()
    kind = voxels.dtype if isinstance(dtype, torch.dtype) else dtype
    with tempfile.TemporaryDirectory(dir=folder, prefix=".part_") as part:
        made = Path(part) / path.name
        writer = ZarrScales(
            made, [shape], [spacing_of(image, len(shape))], [[0.0] * len(shape)], np.asarray(image.affine), kind, name
        )
        writer.write(0, [slice(0, side) for side in shape], voxels)
        shutil.rmtree(path, ignore_errors=True)
        made.replace(path)
    return path


def _name(meta: dict, saver: Any) -> dict:
    """MONAI's name of an image, with a suffix for it to take off: the last number of a UID is none."""
    names = default_name_formatter(meta, saver)
    source = str(Path(names["subject"]))
    return {**names, "subject": source[: len(source) - len(suffix(source))] + ".image"}


def _photo_type(image: Tensor) -> type[np.generic]:
    """The smallest type of a PNG that holds an image: MONAI would wrap its values into 8 bits."""
    low, high = float(image.min()), float(image.max())
    if low < 0 or high > 65535:
        raise ValueError(
            f"the image holds {low:g} to {high:g} and a .png holds 0 to 65535; take output_ext '.nii.gz', or clip it."
        )
    return np.uint8 if high <= 255 else np.uint16


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
        dtype: name of a torch type, such as ``int16``; one of floating point is neither rounded nor clipped.
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
            if not self.dtype.is_floating_point:
                limits = torch.iinfo(self.dtype)
                image = image.round().clamp(limits.min, limits.max)
            out[key] = image.to(self.dtype)
        return out
