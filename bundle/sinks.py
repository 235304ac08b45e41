"""Sinks: files that an image in memory is written to, each under its name only when whole."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import itk
import numpy as np
import torch
from bundle.depth import depth_of, level_type
from bundle.ome_zarr import ZARR, whole_zarr
from bundle.readback import check_itk, check_nifti, check_pixels, least_bytes
from bundle.runtime.files import atomic
from bundle.storage import NIFTI, spacing_of, stem, suffix
from monai.data import ITKWriter, MetaTensor, NibabelWriter, PILWriter
from monai.data.utils import to_affine_nd
from monai.utils import ensure_tuple, get_equivalent_dtype
from nibabel.openers import ImageOpener
from PIL import Image
from torch import Tensor

#: Files of levels, without a sign.
TIFF = (".tif", ".tiff")
#: Which of MONAI's writers makes a file of a format.
WRITERS: dict[str, Any] = {
    **dict.fromkeys(NIFTI[::-1], NibabelWriter),
    **dict.fromkeys((".mha", ".nrrd"), ITKWriter),
    ".png": PILWriter,
}

#: What a result is written as instead: formats that lose values, and the header of a pair of files.
LOSSLESS = {".jpg": ".png", ".jpeg": ".png", ".mhd": ".mha"}


def write_file(image: MetaTensor, folder: Path, postfix: str, end: str, dtype: Any) -> Path:
    """Write an image as one file, by the one of MONAI's writers that the format has, and return its path.

    Args:
        image: `(1, *spatial)`; its metadata tell the name.
        folder: where it goes.
        postfix: what the name gets.
        end: suffix of the format, one of `WRITERS`.
        dtype: voxel type, where neither the image's depth nor the format decides.

    Raises:
        ValueError: If the format cannot hold the values, or is not written.
        NotWrittenError: If the file cannot be written whole, see `bundle.runtime.files`.
    """
    check_ext(end)
    path, kind, shape = result_path(image, folder, postfix, end), _type(image, end, dtype), tuple(image.shape[1:])
    writer = WRITERS[end](output_dtype=kind, scale=None)
    # as MONAI's SaveImage has it, which would try another writer if this one fails
    channels = None if len(ensure_tuple(image.meta.get("spatial_shape", ()))) >= image.ndim else 0
    writer.set_data_array(image, channel_dim=channels)
    writer.set_metadata(image.meta, resample=False)

    def verify(part: Path) -> None:
        if end == ".png":
            with Image.open(part, formats=["PNG"]) as picture:
                check_pixels(part, np.asarray(picture).astype(kind).T, only_channel(image).astype(kind))
        else:
            (check_nifti if end in NIFTI else check_itk)(part, shape, kind)

    with atomic(path, least_bytes(shape, kind, end), verify) as part, _errors_of_itk():
        if end in NIFTI:
            _write_nifti(writer, part)
        else:
            writer.write(str(part))
    return path


def _write_nifti(writer: NibabelWriter, path: Path) -> None:
    """As the writer's own ``write``, which leaves the file open if that fails."""
    image = writer.create_backend_obj(writer.data_obj, affine=writer.affine, dtype=writer.output_dtype)
    affine = to_affine_nd(3, np.asarray(writer.affine))
    image.set_sform(affine, code=1)
    image.set_qform(affine, code=1)
    with ImageOpener(str(path), "wb") as opened:
        image.to_stream(opened)


def write_tiff(image: MetaTensor, folder: Path, postfix: str, end: str, dtype: Any) -> Path:
    """Write an image as TIFF with its pixel size; arguments and errors as of `write_file`."""
    path = result_path(image, folder, postfix, end)
    voxels = only_channel(image).astype(_type(image, end, dtype))
    picture = itk.image_from_array(np.ascontiguousarray(voxels.T))
    picture.SetSpacing(spacing_of(image, voxels.ndim))

    def verify(part: Path) -> None:
        found = itk.imread(str(part), imageio=itk.TIFFImageIO.New())
        check_pixels(part, itk.array_from_image(found).T, voxels)

    with atomic(path, least_bytes(voxels.shape, voxels.dtype, end), verify) as part, _errors_of_itk():
        itk.imwrite(picture, str(part))
    return path


def write_zarr(image: MetaTensor, folder: Path, postfix: str, end: str, dtype: Any) -> Path:
    """Write an image of one scale as OME-Zarr; arguments and errors as of `write_file`."""
    path, shape = result_path(image, folder, postfix, end), tuple(image.shape[1:])
    sizes, origins = [spacing_of(image, len(shape))], [[0.0] * len(shape)]
    kind = _type(image, end, dtype)
    needed = least_bytes(shape, kind, end)
    with whole_zarr(path, [shape], sizes, origins, np.asarray(image.affine), kind, stem(path), needed) as writer:
        writer.write(0, [slice(0, side) for side in shape], only_channel(image))
    return path


def check_ext(end: str) -> None:
    """Refuse a format that is not written.

    Raises:
        ValueError: If it is none of those.
    """
    written = (*WRITERS, *TIFF, *ZARR)
    if end not in (*written, ".dcm"):
        raise ValueError(f"output_ext {end!r} is not written; take one of {', '.join(written)}.")


def result_path(image: MetaTensor, folder: Path, postfix: str, end: str) -> Path:
    """Where the result of an image goes: its name, the postfix, and the suffix."""
    name = stem(image.meta.get("filename_or_obj", "") or "image")
    return folder / f"{'_'.join(filter(None, (name, postfix)))}{end}"


@contextmanager
def _errors_of_itk() -> Iterator[None]:
    """Let an error of ITK, which has no number, be one of writing."""
    try:
        yield
    except RuntimeError as error:
        raise OSError(errno.EIO, f"ITK could not write it: {str(error).splitlines()[-1]}") from error


def result_ext(image: Any, output_ext: str) -> str:
    """The suffix of an image's result, where that is no series."""
    path = str(image.meta.get("filename_or_obj", ""))
    end = output_ext or suffix(path) or (".dcm" if "bits" in image.meta else ".nii.gz")
    return LOSSLESS.get(end, end)


def result_folder(source: Path, output_dir: Path, root: str | Path | None = None) -> Path:
    """Where the result of a source goes: files keep their subfolder of the root, so that names may come twice."""
    if root is None or not source.is_file() or Path(root) not in source.parents:
        return output_dir
    return output_dir / source.parent.relative_to(root)


def only_channel(image: Any) -> np.ndarray:
    """The voxels of an image of one channel, `(*spatial)`."""
    return torch.as_tensor(image).as_subclass(Tensor).cpu().numpy()[0]


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
