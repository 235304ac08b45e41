"""Images where they lie: found by path, read whatever the format, sliced beyond their border.

Files are read by nibabel, ITK and zarr through MONAI's readers; `bundle.series` tells which files of a folder make one
series, `bundle.xrays` which are an image each, and `bundle.photos` reads those, PNG, JPEG and TIFF.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import itk
import nibabel
import numpy as np
import pydicom
import torch
from bundle.geometry import region
from bundle.headers import check_references
from bundle.ome_zarr import ZARR, is_zarr, open_zarr
from bundle.photos import PhotoReader
from bundle.runtime.files import PART
from bundle.series import series_files
from bundle.xrays import is_xray, xray_files
from monai.data import ImageReader, ITKReader, MetaTensor, NibabelReader
from monai.transforms import LoadImage
from monai.utils import ensure_tuple
from pydicom.misc import is_dicom
from torch import Tensor
from torch.nn import functional as F

#: Suffixes of single files, longest first, and what reads them.
NIFTI = (".nii.gz", ".nii")
ITK = (".nrrd", ".mha", ".mhd")
PHOTO = (".jpeg", ".jpg", ".png", ".tiff", ".tif", ".dcm")
SUFFIXES = NIFTI + ITK + PHOTO + ZARR


class Sliced(Protocol):
    """What windows are read of: a tensor, or an image on disk."""

    @property
    def shape(self) -> torch.Size:
        """Voxels per axis, the leading ones of batch and channels included."""

    def __getitem__(self, index: Any) -> Tensor:
        """The voxels of an index such as `bundle.geometry.region`."""


def read_window(image: Sliced, bounds: Sequence[tuple[int, int]]) -> Tensor:
    """Read a window that may reach over the border, which is repeated there.

    Args:
        image: `(batch, channels, *spatial)`.
        bounds: start and stop per axis; at least one voxel has to lie inside.

    Returns:
        `(batch, channels, *(stop - start))`.
    """
    inside = _inside(bounds, image.shape[2:])
    return _repeat(image[region(inside)], bounds, inside)


class PackedImage:
    """A one-channel image of a plain ``.nii`` file, read window by window: nothing of it stays in memory.

    Args:
        path: an uncompressed NIfTI file, see `bundle.packing.pack`.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = str(path)
        header = nibabel.Nifti1Image.from_filename(self.path)
        #: `(1, *spatial)`.
        self.shape = torch.Size((1, *header.shape))
        self.affine = torch.as_tensor(header.affine)

    def __getitem__(self, index: Any) -> Tensor:
        """The voxels of an index over `(1, *spatial)`, of which the first axis has to be 0 or an ellipsis."""
        index = index[1:] if isinstance(index, tuple) and index[0] == 0 else index
        return torch.from_numpy(np.array(nibabel.Nifti1Image.from_filename(self.path).dataobj[index], np.float32))

    def window(self, bounds: Sequence[tuple[int, int]]) -> Tensor:
        """A window that may reach over the border, which is repeated there: `(1, *(stop - start))`, float32."""
        inside = _inside(bounds, self.shape[1:])
        return _repeat(self[region(inside)][None, None], bounds, inside)[0]


def _inside(bounds: Sequence[tuple[int, int]], shape: Sequence[int]) -> tuple[slice, ...]:
    """The part of a window that lies in the image."""
    return tuple(slice(max(a, 0), min(b, size)) for (a, b), size in zip(bounds, shape, strict=True))


def _repeat(window: Tensor, bounds: Sequence[tuple[int, int]], inside: Sequence[slice]) -> Tensor:
    """Grow what lies inside to the bounds, by repeating the border."""
    pad = [(w.start - a, b - w.stop) for (a, b), w in zip(bounds, inside, strict=True)]
    if not any(map(any, pad)):
        return window
    return F.pad(window, [side for axis in reversed(pad) for side in axis], mode="replicate")


def suffix(path: str | Path) -> str:
    """The image suffix of a file's name, in lower case, or nothing: ``.nii.gz`` is one suffix."""
    name = Path(path).name.lower()
    return next((end for end in SUFFIXES if name.endswith(end)), "")


def stem(path: str | Path) -> str:
    """A file's name without its image suffix."""
    name = Path(path).name
    return name[: len(name) - len(suffix(name))]


def is_series(path: str | Path) -> bool:
    """Whether the path is a folder that holds DICOM files itself, and not X-rays alone, each of which is an image."""
    path = Path(path)
    return path.is_dir() and any(is_dicom(file) for file in path.iterdir() if file.is_file()) and not xray_files(path)


def find_images(path: str | Path) -> list[str]:
    """The images at a path: a file, a DICOM series folder, or a folder of both, one level deep.

    DICOM X-rays, whatever their suffix, are an image each.

    Raises:
        FileNotFoundError: where there is nothing, or no image in it.
        ValueError: If an image's header names a file outside of its folder (`bundle.headers`).
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(
            f"dataset_dir {str(path)!r} does not exist; give an image, a DICOM folder or a folder of them."
        )
    if path.is_file() or is_zarr(path) or is_series(path):
        if path.is_file() and not suffix(path) and not is_dicom(path):
            raise FileNotFoundError(
                f"dataset_dir {str(path)!r} is no image: its name ends in none of {', '.join(SUFFIXES)}."
            )
        check_references(path)
        return [str(path)]
    found = [image for entry in sorted(path.iterdir()) for image in _images_at(entry)]
    if not found:
        raise FileNotFoundError(
            f"dataset_dir {str(path)!r} holds no image ({', '.join(SUFFIXES)}) and no DICOM series."
        )
    for image in found:
        check_references(image)
    return found


def _images_at(entry: Path) -> list[str]:
    """The images that an entry of a folder is or holds; none of what an interrupted run has left."""
    if entry.name.startswith(PART):
        return []
    if entry.is_file():
        taken = is_xray(entry) if is_dicom(entry) else suffix(entry)
        return [str(entry)] if taken else []
    if not entry.is_dir():  # a link to nothing
        return []
    return [str(entry)] if is_zarr(entry) or is_series(entry) else xray_files(entry)


def imageio_of(end: str) -> Any:
    """ITK's reader of a format of `ITK`: by the suffix, where ITK itself goes by the bytes of whatever it knows."""
    return (itk.NrrdImageIO if end == ".nrrd" else itk.MetaImageIO).New()


def load_image(path: str | Path, series_uid: str = "") -> MetaTensor:
    """Read any image whole, `(*spatial)`, by `ScanReader` alone: MONAI's `LoadImage` else tries all of its readers.

    Args:
        path: any image that `find_images` finds.
        series_uid: of a DICOM folder with several series, the one to take.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it cannot be read, see `ScanReader`.
    """
    reader = ScanReader(series_uid)
    image = LoadImage(reader=reader, image_only=True)(str(path), reader=reader)
    assert isinstance(image, MetaTensor)
    return image


class SeriesReader(ITKReader):
    """Read one image series of a DICOM folder: files chosen by pydicom, voxels and rescaling by ITK.

    Voxels are float32, whatever the slices store: the type that ITK takes from the first one may not hold the others'
    values. The series' UID goes into the metadata as ``series_uid``.
    """

    def read(self, data: Any, **kwargs: Any) -> Any:
        """Read the folder ``data``, see `series_files`; ``series_name`` is the UID of the series to take.

        Raises:
            ValueError: where ITK cannot decode the files' transfer syntax, besides what `series_files` raises.
        """
        (folder,) = ensure_tuple(data)
        files = series_files(folder, self.series_name)
        header = pydicom.dcmread(files[0], stop_before_pixels=True, specific_tags=["SeriesInstanceUID"])
        try:
            image = itk.imread(
                files if len(files) > 1 else files[0], pixel_type=itk.F, imageio=itk.GDCMImageIO.New(), **kwargs
            )
        except RuntimeError as error:
            syntax = header.file_meta.TransferSyntaxUID
            raise ValueError(
                f"DICOM folder {str(folder)!r}: ITK cannot decode its files, of the transfer syntax {syntax.name} "
                f"({syntax}); write them anew without compression, for instance by gdcmconv --raw."
            ) from error
        image["series_uid"] = str(header.SeriesInstanceUID)
        return image


class ZarrReader(NibabelReader):
    """Read a zarr image whole."""

    def read(self, data: Any, **kwargs: Any) -> Any:
        """Read the folder ``data``, see `bundle.ome_zarr.open_zarr`."""
        (folder,) = ensure_tuple(data)
        voxels, affine = open_zarr(folder)
        self.filenames = [folder]
        return nibabel.Nifti1Image(voxels[(slice(None),) * len(voxels.shape)], affine)


class ScanReader(ImageReader):
    """Read any image that `find_images` finds: the reader follows from the path, and its errors come through.

    Args:
        series_uid: of a DICOM folder with several series, the Series Instance UID of the one to take.
    """

    def __init__(self, series_uid: str = "") -> None:
        self.series_uid = series_uid

    def verify_suffix(self, filename: Any) -> bool:
        """Whether the name is that of a known format or of a folder, or the file is DICOM."""
        return all(
            Path(name).is_dir() or suffix(name) or (Path(name).is_file() and is_dicom(name))
            for name in ensure_tuple(filename)
        )

    def read(self, data: Any, **kwargs: Any) -> Any:
        """Read one image; returns its reader beside it, for `get_data`.

        Raises:
            FileNotFoundError: where there is no such file.
            ValueError: where the format is unknown or the series is not one, or its header names a file outside of its
                folder.
        """
        (path,) = ensure_tuple(data)
        if not Path(path).exists():
            raise FileNotFoundError(f"image {str(path)!r} does not exist.")
        check_references(path)
        end = suffix(path)
        reader: ImageReader
        if is_zarr(path):
            reader = ZarrReader()
        elif Path(path).is_dir():
            reader = SeriesReader(series_name=self.series_uid)
        elif end in NIFTI:
            reader = NibabelReader()
        elif end in ITK:
            reader = ITKReader()
        elif end in PHOTO or is_dicom(path):
            reader = PhotoReader()
        else:
            raise ValueError(
                f"image {str(path)!r} is of no known format; take one of {', '.join(SUFFIXES)} or a DICOM folder."
            )
        if end in ITK:
            kwargs = {"imageio": imageio_of(end), **kwargs}
        return reader, reader.read(path, **kwargs)

    def get_data(self, img: Any) -> tuple[np.ndarray, dict]:
        """Array and metadata as MONAI's own readers give them."""
        reader, data = img
        return reader.get_data(data)


def spacing_of(image: Sliced, spatial_dims: int) -> list[float]:
    """Voxel size per axis by an image's ``affine``, which may be batched; 1 where it has none."""
    affine = getattr(image, "affine", None)
    if affine is None:
        return [1.0] * spatial_dims
    matrix = torch.as_tensor(affine, dtype=torch.float64)
    matrix = matrix.reshape(-1, *matrix.shape[-2:])[0]
    return matrix[:spatial_dims, :spatial_dims].norm(dim=0).tolist()


def coarser_affine(affine: Tensor, factor: Sequence[int]) -> Tensor:
    """The affine of an image pooled by a factor: a coarse voxel lies in the middle of its block."""
    finer, dims = torch.as_tensor(affine, dtype=torch.float64), len(factor)
    sides = torch.tensor(factor, dtype=torch.float64)
    coarser = finer.clone()
    coarser[:, :dims] *= sides
    coarser[:, -1] += finer[:, :dims] @ ((sides - 1) / 2)
    return coarser
