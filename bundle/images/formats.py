"""Images where they lie: found by path, read whatever the format, sliced beyond their border.

Files are read by nibabel, ITK and zarr through MONAI's readers; `bundle.images.dicom_series` tells which files of a
folder make one series, `bundle.images.xray` which are an image each, and `bundle.images.raster` reads those, PNG, JPEG
and TIFF.
"""

from __future__ import annotations

from pathlib import Path

from bundle.images.ome_zarr import ZARR, is_zarr
from bundle.images.xray import is_xray, xray_files
from pydicom.misc import is_dicom

#: Suffixes of single files, longest first, and what reads them.
NIFTI = (".nii.gz", ".nii")
ITK = (".nrrd", ".mha", ".mhd")
PHOTO = (".jpeg", ".jpg", ".png", ".tiff", ".tif", ".dcm")
SUFFIXES = NIFTI + ITK + PHOTO + ZARR


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
        return [str(path)]
    found = [image for entry in sorted(path.iterdir()) for image in _images_at(entry)]
    if not found:
        raise FileNotFoundError(
            f"dataset_dir {str(path)!r} holds no image ({', '.join(SUFFIXES)}) and no DICOM series."
        )
    return found


def _images_at(entry: Path) -> list[str]:
    """The images that an entry of a folder is or holds."""
    if entry.is_file():
        taken = is_xray(entry) if is_dicom(entry) else suffix(entry)
        return [str(entry)] if taken else []
    return [str(entry)] if is_zarr(entry) or is_series(entry) else xray_files(entry)
