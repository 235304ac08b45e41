"""Sinks: files that an image in memory is written to, each under its name only when whole."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

import itk
import numpy as np
import torch
from bundle.geometry import spacing_of
from bundle.images.bit_depth import depth_of, level_type
from bundle.images.formats import stem, suffix
from bundle.images.ome_zarr import ZarrScales
from monai.data import MetaTensor
from monai.data.folder_layout import default_name_formatter
from monai.transforms import SaveImage
from monai.utils import get_equivalent_dtype
from torch import Tensor

#: Files of levels, without a sign.
TIFF = (".tif", ".tiff")


def write_file(image: MetaTensor, folder: Path, postfix: str, end: str, dtype: Any) -> Path:
    """Write an image as one file, and return its path.

    Args:
        image: `(1, *spatial)`; its metadata tell the name.
        folder: where it goes.
        postfix: what the name gets.
        end: suffix of a format that MONAI writes.
        dtype: voxel type, where neither the image's depth nor the format decides.

    Raises:
        ValueError: where the format cannot hold the values.
    """
    with tempfile.TemporaryDirectory(dir=folder, prefix=".part_") as part:
        save = SaveImage(
            part,
            postfix,
            end,
            output_dtype=_type(image, end, dtype),
            resample=False,
            separate_folder=False,
            print_log=False,
            output_name_formatter=_name,
        )
        save(image)
        (file,) = Path(part).iterdir()
        return file.replace(folder / file.name)


def write_tiff(image: MetaTensor, folder: Path, postfix: str, end: str, dtype: Any) -> Path:
    """Write an image as TIFF with its pixel size; arguments and errors as of `write_file`."""
    path = folder / f"{stem(image.meta.get('filename_or_obj', '') or 'image')}_{postfix}{end}"
    voxels = only_channel(image).astype(_type(image, end, dtype))
    picture = itk.image_from_array(np.ascontiguousarray(voxels.T))
    picture.SetSpacing(spacing_of(image, voxels.ndim))
    with tempfile.TemporaryDirectory(dir=folder, prefix=".part_") as part:
        made = Path(part) / path.name
        itk.imwrite(picture, str(made))
        made.replace(path)
    return path


def write_zarr(image: MetaTensor, folder: Path, postfix: str, end: str, dtype: Any) -> Path:
    """Write an image of one scale as OME-Zarr; arguments as of `write_file`."""
    name = stem(image.meta.get("filename_or_obj", "") or "image")
    path, shape = folder / f"{name}_{postfix}{end}", tuple(image.shape[1:])
    voxels = only_channel(image)
    kind = _type(image, end, dtype)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".part_") as part:
        made = Path(part) / path.name
        writer = ZarrScales(
            made, [shape], [spacing_of(image, len(shape))], [[0.0] * len(shape)], np.asarray(image.affine), kind, name
        )
        writer.write(0, [slice(0, side) for side in shape], voxels)
        shutil.rmtree(path, ignore_errors=True)
        made.replace(path)
    return path


def result_folder(source: Path, output_dir: Path, root: str | Path | None = None) -> Path:
    """Where the result of a source goes: files keep their subfolder of the root, so that names may come twice."""
    if root is None or not source.is_file() or Path(root) not in source.parents:
        return output_dir
    return output_dir / source.parent.relative_to(root)


def only_channel(image: Any) -> np.ndarray:
    """The voxels of an image of one channel, `(*spatial)`."""
    return torch.as_tensor(image).as_subclass(Tensor).cpu().numpy()[0]


def _name(meta: dict, saver: Any) -> dict:
    """MONAI's name of an image, with a suffix for it to take off: the last number of a UID is none."""
    names = default_name_formatter(meta, saver)
    source = str(Path(names["subject"]))
    return {**names, "subject": source[: len(source) - len(suffix(source))] + ".image"}


def _type(image: Any, end: str, dtype: Any) -> np.dtype:
    """The voxel type of a file: of levels the image's depth, or more where its values need more, and never wrapped."""
    bits = depth_of(image)
    voxels = only_channel(image)
    if end != ".png" and not (bits and end in TIFF):
        return voxels.dtype if bits else np.dtype(get_equivalent_dtype(dtype, np.ndarray))
    low, high = float(voxels.min()), float(voxels.max())
    if low < 0 or high > 65535:
        raise ValueError(
            f"the image holds {low:g} to {high:g} and a {end} holds 0 to 65535; take output_ext '.nii.gz', or clip it."
        )
    return np.dtype(level_type(bits or 8) if high <= 255 else "uint16")
