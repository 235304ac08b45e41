"""MONAI readers of the formats that MONAI does not read, or reads otherwise."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import itk
import nibabel
import numpy as np
import pydicom
from bundle.images.dicom_series import series_files
from bundle.images.formats import ITK, NIFTI, PHOTO, SUFFIXES, suffix
from bundle.images.ome_zarr import is_zarr, open_zarr
from bundle.images.raster import PhotoReader
from monai.data import ImageReader, ITKReader, NibabelReader
from monai.utils import ensure_tuple
from pydicom.misc import is_dicom


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
            image = itk.imread(files if len(files) > 1 else files[0], pixel_type=itk.F, **kwargs)
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
        """Read the folder ``data``, see `bundle.images.ome_zarr.open_zarr`."""
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
            ValueError: where the format is unknown or the series is not one.
        """
        (path,) = ensure_tuple(data)
        if not Path(path).exists():
            raise FileNotFoundError(f"image {str(path)!r} does not exist.")
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
        if end in (".mha", ".mhd"):
            kwargs = {"imageio": itk.MetaImageIO.New(), **kwargs}  # which ITK itself finds for lower-case names only
        return reader, reader.read(path, **kwargs)

    def get_data(self, img: Any) -> tuple[np.ndarray, dict]:
        """Array and metadata as MONAI's own readers give them."""
        reader, data = img
        return reader.get_data(data)
