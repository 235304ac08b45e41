"""Write a small valid image of each format that the bundle opens, for `benchmarks.fuzz` to damage."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import itk
import nibabel
import numpy as np
from PIL import Image
from pydicom.uid import UID

from tests.dicom_series import write_series
from tests.dicom_syntaxes import RAMP, TRANSFER_SYNTAXES, encode
from tests.golden_inputs import THORAX, bodies, noise, write_nifti, write_ome_zarr, write_tiff
from tests.xray_files import levels, write_photo, write_xray

#: Shape of a volume; all sides differ.
SHAPE = (13, 11, 9)
#: Axes to the right, front and head, so that formats without directions can store it, too.
AFFINE = np.array([[3.0, 0, 0, -20], [0, 3.25, 0, -15], [0, 0, 2.5, 40], [0, 0, 0, 1]])


def thorax() -> np.ndarray:
    """Return a noisy thorax of a few voxels."""
    image = bodies(SHAPE, THORAX, -1000) + noise(SHAPE, 1, 40)
    return np.rint(image).clip(-1024, 3071).astype(np.int16)


def _mgz(path: Path) -> None:
    nibabel.MGHImage(thorax(), AFFINE).to_filename(path)


def _itk(path: Path, compression: bool = False) -> None:
    picture = itk.image_from_array(np.ascontiguousarray(thorax().T))
    picture.SetSpacing(np.diag(AFFINE)[:3].tolist())
    itk.imwrite(picture, str(path), compression=compression)


def _packed(path: Path) -> None:
    _itk(path, compression=True)


def _zarr_2(path: Path) -> None:
    """Write a plain array in version 2 of the format, which has a different header."""
    import zarr

    array = zarr.create_array(str(path), shape=SHAPE[::-1], chunks=(5, 6, 7), dtype="i2", zarr_format=2)
    array[...] = thorax().T


def _series(path: Path, syntax: str | None = None) -> None:
    if syntax is None:
        write_series(path, thorax(), AFFINE)
        return
    for file in write_series(path, np.repeat(RAMP, 3, -1), AFFINE):
        encode(file, syntax)


def _of(syntax: str) -> Callable[[Path], None]:
    return lambda path: _series(path, syntax)


#: Functions that write the seeds, by name; folders have no suffix.
SEEDS: dict[str, Callable[[Path], Any]] = {
    "scan.nii": lambda path: write_nifti(path, thorax(), AFFINE),
    "packed.nii.gz": lambda path: write_nifti(path, thorax(), AFFINE),
    "scan.mgz": _mgz,
    "scan.mgh": _mgz,
    "scan.mha": _itk,
    "packed.mha": _packed,
    "scan.mhd": _itk,
    "scan.nrrd": _itk,
    "packed.nrrd": _packed,
    "scan.ome.zarr": lambda path: write_ome_zarr(path, thorax(), AFFINE),
    "plain.zarr": _zarr_2,
    "photo.png": lambda path: write_photo(path, levels(8)),
    "grey16.png": lambda path: write_photo(path, levels(16)),
    "scan.tif": lambda path: write_tiff(path, levels(16)),
    "photo.jpg": lambda path: Image.fromarray(np.ascontiguousarray(levels(8).T)).save(path, quality=90),
    "xray.dcm": lambda path: write_xray(path, levels(12)),
    "series": _series,
    **{f"series_{re.split('[,(]', UID(syntax).name)[0].strip()}": _of(syntax) for syntax in TRANSFER_SYNTAXES},
}


def write_seeds(folder: Path) -> None:
    """Write each seed into a separate folder that contains nothing else."""
    for name, write in SEEDS.items():
        place = folder / name
        place.mkdir(parents=True)
        write(place / name.replace(" ", "_"))
