"""Convert images in memory to files, and results back to the same kind of image.

::

    array, nibabel, ITK, MetaTensor  --as_file-->  image.nii  --translated-->  result.nii  --back-->  the same kind
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import nibabel
import numpy as np
import torch
from nibabel.spatialimages import SpatialImage
from PIL import Image

#: A function that reads a result as the same kind of image as the input.
Back = Callable[[Path], Any]
#: Types of the grey values of pictures.
GREYS = (np.uint8, np.uint16)
#: Types that NIfTI files cannot store, and types that hold their values.
WIDER = {"bool": np.uint8, "float16": np.float32, "int64": np.int32, "uint64": np.uint32}


def as_file(image: Any, folder: Path, affine: Any = None) -> tuple[Path, Back]:
    """Write an image to a file; return its path and a function that reads a result as the same kind of image.

    Args:
        image: a NumPy array or torch tensor, `(x, y, z)`, or `(row, column)` of a picture; a MetaTensor, which may have
            a leading channel axis, and whose pending operations are applied first; a nibabel image; an ITK image.
        folder: folder to write to.
        affine: affine from voxels to mm in RAS, `(4, 4)`, of an array with three axes.

    Raises:
        TypeError: If the image is of another kind.
        ValueError: If an affine is missing or unexpected, or the image does not have two or three axes.
    """
    if isinstance(image, (np.ndarray, torch.Tensor)):
        return _array(image, folder, affine)
    is_itk = hasattr(image, "GetLargestPossibleRegion")
    if not is_itk and not isinstance(image, SpatialImage):
        raise TypeError(
            f"image is a {type(image).__name__}; give one path, of an image or of a folder of them, an array and "
            "affine, or an image of nibabel, ITK or MONAI."
        )
    if affine is not None:
        raise ValueError(f"affine is given, but a {type(image).__name__} has its own; leave it out.")
    return _itk(image, folder) if is_itk else _nibabel(image, folder)


def _array(image: Any, folder: Path, affine: Any) -> tuple[Path, Back]:
    tensor = isinstance(image, torch.Tensor)
    if getattr(image, "pending_operations", None):
        from monai.transforms.lazy.functional import apply_pending

        image = apply_pending(image.clone())[0]  # which would take them from the caller's
    voxels = image.detach().cpu().resolve_conj().resolve_neg() if tensor else image
    voxels = (voxels.float() if voxels.dtype == torch.bfloat16 else voxels).numpy() if tensor else voxels
    if np.ma.is_masked(voxels):
        raise ValueError("image has masked voxels, which have no value; fill them, with the value of air for instance.")
    own = getattr(image, "affine", None) if affine is None else affine
    axes = (4,) if affine is not None else (3, 4)
    channel = tensor and own is not None and voxels.ndim in axes and voxels.shape[0] == 1
    inner = voxels[0] if channel else voxels
    if inner.ndim not in (2, 3):
        raise ValueError(f"image has the shape {voxels.shape}; give (x, y, z), or (row, column) of a picture.")
    if inner.ndim == 2 and affine is not None:
        raise ValueError("affine is given, but a picture (row, column) has none; leave it out.")
    if inner.ndim == 2 and channel and inner.dtype not in GREYS:
        raise ValueError(
            f"image has the shape {voxels.shape}, a channel and a picture, and the type {inner.dtype}; give a "
            "picture as uint8 or uint16, and a volume with its channel, (1, x, y, z)."
        )
    if inner.ndim == 3 and own is None:
        raise ValueError("affine is missing; give the 4 x 4 matrix from voxels to mm (RAS).")
    path = _picture(inner, folder) if inner.ndim == 2 else _volume(inner, own, folder)

    def back(result: Path) -> Any:
        found = np.asarray(Image.open(result)) if inner.ndim == 2 else _voxels(result)
        found = found.reshape(voxels.shape)
        if not tensor:
            return found
        made = torch.from_numpy(np.ascontiguousarray(found.astype(found.dtype.newbyteorder("="))))
        if not hasattr(image, "meta"):
            return made
        return type(image)(made, meta=dict(image.meta), applied_operations=list(image.applied_operations))

    return path, back


def _picture(voxels: np.ndarray, folder: Path) -> Path:
    """Write grey values of 8 or 16 bits."""
    if voxels.dtype not in GREYS:
        raise ValueError(f"image has grey values of the type {voxels.dtype}; give uint8 or uint16.")
    path = folder / "image.png"
    Image.fromarray(voxels).save(path)
    return path


def _volume(voxels: np.ndarray, affine: Any, folder: Path, units: Any = None) -> Path:
    """Write a volume as float32 or an integer type that files support; the affine is in mm, or in units of NIfTI."""
    affine = np.asarray(affine)
    if affine.shape != (4, 4):
        raise ValueError(f"affine has the shape {affine.shape}; give the 4 x 4 matrix from voxels to mm (RAS).")
    if affine.dtype.kind not in "iuf":
        raise ValueError(
            f"affine has the type {affine.dtype}; give the 4 x 4 matrix from voxels to mm (RAS) as numbers."
        )
    affine = affine.astype(float)
    if not np.isfinite(affine).all() or not abs(np.linalg.det(affine[:3, :3])) > 0:
        raise ValueError("affine is singular or not finite; give the 4 x 4 matrix from voxels to mm (RAS).")
    if affine[3].tolist() != [0, 0, 0, 1]:
        raise ValueError(f"affine ends in the row {affine[3].tolist()}; give the 4 x 4 matrix that ends in 0, 0, 0, 1.")
    if voxels.dtype.kind not in "biuf" or voxels.dtype.itemsize > 8:
        raise ValueError(f"image has voxels of the type {voxels.dtype}; give HU as int16 or float32.")
    wider = WIDER.get(voxels.dtype.name)
    if wider is not None:
        narrow = voxels.astype(wider)
        if not np.array_equal(narrow, voxels, equal_nan=voxels.dtype.kind == "f"):
            raise ValueError(f"image has values that no {np.dtype(wider)} holds; give HU as int16 or float32.")
        voxels = narrow
    image = nibabel.Nifti1Image(voxels, affine)
    image.header.set_xyzt_units("mm")
    image.header["xyzt_units"] = image.header["xyzt_units"] if units is None else units
    path = folder / "image.nii"
    nibabel.save(image, path)
    return path


def _voxels(path: Path) -> np.ndarray:
    """Read all voxels into memory, so that the file can be removed on every system."""
    return np.asarray(cast(SpatialImage, nibabel.load(path, mmap=False)).dataobj)


def _nibabel(image: Any, folder: Path) -> tuple[Path, Back]:
    voxels, affine = np.asanyarray(image.dataobj), image.affine
    units = image.header.get("xyzt_units") if hasattr(image.header, "get") else None  # NIfTI alone has them
    path = _volume(voxels, affine, folder, units)

    def back(result: Path) -> Any:
        found = _voxels(result)
        header = image.header.copy()
        header.set_data_dtype(found.dtype)
        return type(image)(found.reshape(voxels.shape), affine, header)

    return path, back


def _itk(image: Any, folder: Path) -> tuple[Path, Back]:
    import itk

    if (dims := image.GetImageDimension()) not in (2, 3):
        raise ValueError(f"image has {dims} axes; give one of 2 or 3, such as one time point of it.")
    path = folder / "image.nrrd"
    itk.imwrite(image, str(path))
    return path, lambda result: itk.imread(str(result))
