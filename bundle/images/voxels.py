"""The voxels of an image file, read in parts: what a format allows to leave on disk stays there.

========================  =========================================================================
``.nii``                  what is asked for
``.nii.gz``               the file from its start, or from a place that was passed before
``.mha``, ``.mhd``        what is asked for, where they are not compressed
DICOM series              the slices that are asked for
OME-Zarr, zarr            the chunks that are asked for
``.nrrd``, photos         everything, once
========================  =========================================================================
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import itk
import nibabel
import numpy as np
from bundle.images.bit_depth import depth_of
from bundle.images.dicom_series import series_files
from bundle.images.formats import NIFTI, suffix
from bundle.images.ome_zarr import is_zarr, open_zarr
from bundle.images.readers import ScanReader
from monai.data import ITKReader, MetaTensor
from monai.transforms import LoadImage


class Voxels(Protocol):
    """What is sliced like an array."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Voxels per axis."""

    def __getitem__(self, index: Any) -> Any:
        """The voxels of a tuple of slices, in the image's units."""


def open_voxels(path: str | Path, series_uid: str = "") -> tuple[Voxels, np.ndarray]:
    """Open an image: its voxels, in the axes of the file, and its affine to RAS.

    Args:
        path: any image that `bundle.images.formats.find_images` finds.
        series_uid: of a DICOM folder with several series, the one to take.

    Raises:
        FileNotFoundError: where there is none.
        ValueError: where the format is unknown, or a series is not one.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"image {str(path)!r} does not exist.")
    end = suffix(path)
    if is_zarr(path):
        return open_zarr(path)
    if path.is_dir():
        series = SeriesVoxels(path, series_uid)
        return series, series.affine
    if end in NIFTI:
        image = nibabel.load(path)
        assert isinstance(image, nibabel.Nifti1Image)
        return image.dataobj, np.asarray(image.affine)
    if path.suffix in (".mha", ".mhd"):  # in lower case: others ITK does not know by their name
        meta = MetaVoxels(path)
        if meta.in_parts:
            return meta, meta.affine
    loaded = LoadImage(reader=ScanReader(), image_only=True)(str(path))
    return Loaded(loaded), loaded.affine.numpy()


class Loaded:
    """An image that is read whole, for want of a way to read a part of it."""

    def __init__(self, image: MetaTensor) -> None:
        #: Of the file, where it holds levels (`bundle.images.bit_depth`).
        self.bits = depth_of(image)
        self._voxels = image.numpy()
        self.shape = tuple(self._voxels.shape)

    def __getitem__(self, index: Any) -> np.ndarray:
        return self._voxels[index]


class MetaVoxels:
    """A MetaImage, read by regions."""

    def __init__(self, path: Path) -> None:
        self._reader = itk.ImageFileReader.New(FileName=str(path))
        self._reader.UpdateOutputInformation()
        image = self._reader.GetOutput()
        self.shape = tuple(int(side) for side in image.GetLargestPossibleRegion().GetSize())
        #: Whether the file allows it.
        self.in_parts = bool(self._reader.GetImageIO().CanStreamRead()) and image.GetNumberOfComponentsPerPixel() == 1
        self.affine = np.asarray(ITKReader()._get_affine(image))

    def __getitem__(self, index: Any) -> np.ndarray:
        bounds = [window.indices(side)[:2] for window, side in zip(index, self.shape, strict=True)]
        region = itk.ImageRegion[len(bounds)]()
        region.SetIndex([start for start, _ in bounds])
        region.SetSize([stop - start for start, stop in bounds])
        part = itk.RegionOfInterestImageFilter.New(self._reader.GetOutput(), RegionOfInterest=region)
        part.Update()
        return np.array(itk.array_view_from_image(part.GetOutput(), keep_axes=False).T)


class SeriesVoxels:
    """A DICOM series, read slice by slice; rescaled by ITK, see `bundle.images.readers.SeriesReader`."""

    def __init__(self, folder: Path, series_uid: str = "") -> None:
        #: In the order of their position.
        self.files = series_files(folder, series_uid)
        with _named(self.files[0], self.files[-1]):  # which ITK looks at
            reader = itk.ImageSeriesReader.New(FileNames=self.files)
            reader.UpdateOutputInformation()
        image = reader.GetOutput()
        self.shape = tuple(int(side) for side in image.GetLargestPossibleRegion().GetSize())
        self.affine = np.asarray(ITKReader()._get_affine(image))

    def __getitem__(self, index: Any) -> np.ndarray:
        x, y, z = index
        files = self.files[z]
        if not files:
            return np.empty((0, 0, 0), np.float32)
        slices = []
        for file in files:
            with _named(file):
                slices.append(itk.array_from_image(itk.imread(file, pixel_type=itk.F)))
        return np.stack([voxels.reshape(self.shape[1::-1]).T[x, y] for voxels in slices], -1)


@contextmanager
def _named(*files: str) -> Iterator[None]:
    """Say which of some DICOM files it is that ITK cannot read.

    Raises:
        ValueError: where it cannot.
    """
    try:
        yield
    except RuntimeError as error:
        raise ValueError(
            f"DICOM file {' or '.join(map(repr, files))} cannot be read: it is cut short or damaged, or ITK does not "
            "know its transfer syntax; fetch it anew, or write it without compression, for instance by gdcmconv --raw."
        ) from error
