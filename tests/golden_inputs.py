"""Inputs of the golden cases: images from fixed formulas, written by nibabel, ITK, pydicom, zarr and Pillow alone.

Nothing of the bundle is used, and nothing but additions, products, quotients and roots, which every machine rounds
alike: the inputs cannot drift.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import itk
import nibabel
import numpy as np
from PIL import Image

from tests.dicom_series import write_series
from tests.xray_files import rich, write_photo, write_xray

#: Voxels of the thorax CT: odd, so that no scale is a whole number of blocks.
SHAPE = (47, 41, 23)
#: Upright: right, front, up.
UPRIGHT = np.array([[1.5, 0, 0, -36], [0, 1.25, 0, -25.5], [0, 0, 2.5, 100.25], [0, 0, 0, 1]])
#: Left, up, back: every axis is turned, and the voxels are longer along the first.
TURNED = np.array([[0, 0, -1.25, 30], [-2.5, 0, 0, 20], [0, 1.5, 0, -15], [0, 0, 0, 1]])
#: A value, a centre and half axes; the image reaches from -1 to 1 along each axis.
Body = tuple[float, Sequence[float], Sequence[float]]
THORAX: list[Body] = [
    (40, (0, 0, 0), (0.92, 0.88, 9)),
    (-80, (0, 0.66, 0), (0.6, 0.12, 9)),
    (-860, (-0.42, 0.02, -0.05), (0.34, 0.56, 0.82)),
    (-870, (0.42, 0.02, -0.05), (0.34, 0.56, 0.82)),
    (50, (-0.06, 0.2, -0.3), (0.3, 0.32, 0.5)),
    (350, (0, -0.62, 0), (0.14, 0.16, 9)),
    (700, (0, -0.7, 0), (0.07, 0.08, 9)),
    (30, (-0.45, 0.1, 0), (0.04, 0.05, 0.6)),
    (30, (0.4, -0.15, 0.1), (0.2, 0.05, 0.12)),
    (-20, (0.5, 0.25, -0.3), (0.1, 0.1, 0.15)),
    (2600, (0.1, 0.72, 0.3), (0.08, 0.08, 0.15)),
]
CHEST: list[Body] = [
    (190, (0, 0.1), (0.95, 1.3)),
    (70, (-0.42, -0.05), (0.32, 0.62)),
    (60, (0.42, -0.05), (0.32, 0.62)),
    (210, (0.1, 0.2), (0.26, 0.34)),
    (225, (0, 0), (0.08, 3)),
    (130, (-0.45, -0.4), (0.4, 0.03)),
    (120, (-0.45, 0.05), (0.4, 0.03)),
    (125, (0.45, -0.2), (0.4, 0.03)),
    (150, (0.5, 0.3), (0.06, 0.07)),
]
HEAD: list[Body] = [
    (900, (0, 0, 0), (0.9, 0.92, 0.95)),
    (150, (0, 0, 0), (0.82, 0.84, 0.88)),
    (450, (0, 0, 0), (0.78, 0.8, 0.84)),
    (650, (0, 0.05, 0), (0.6, 0.62, 0.66)),
    (0, (-0.15, 0.1, 0.1), (0.12, 0.35, 0.3)),
    (0, (0.15, 0.1, 0.1), (0.12, 0.35, 0.3)),
    (250, (0.45, -0.3, 0.2), (0.15, 0.12, 0.2)),
]


def noise(shape: Sequence[int], seed: int, spread: float) -> np.ndarray:
    """Nearly Gaussian noise of a standard deviation: sums of four hashes (SplitMix64) of seed and position."""
    count = int(np.prod(shape))
    x = (np.arange(4 * count, dtype=np.uint64) + np.uint64(seed * 2**40)) * np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    drawn = ((x ^ (x >> np.uint64(31))) >> np.uint64(48)).astype(np.int64).reshape(4, *shape).sum(0) - 2 * 65535
    return drawn * (spread / 37837.2)


def bodies(shape: Sequence[int], parts: Iterable[Body], background: float) -> np.ndarray:
    """Ellipsoids with soft borders, each over those before, in float64."""
    axes = [(2 * np.arange(size) + 1) / size - 1 for size in shape]
    image = np.full(tuple(shape), float(background))
    for value, centre, half in parts:
        apart = sum(((grid - c) / h) ** 2 for grid, c, h in zip(np.ix_(*axes), centre, half, strict=True))
        image += ((1 - np.sqrt(apart)) * 8 + 0.5).clip(0, 1) * (value - image)
    return image


def thorax(padding: int | None = None) -> np.ndarray:
    """A noisy thorax CT with metal, as scanners store it: cut off at -1024 HU; padding outside of a circle."""
    image = bodies(SHAPE, THORAX, -1000) + noise(SHAPE, 1, 40)
    image = np.rint(image).clip(-1024, 3071)
    if padding is not None:
        x, y = ((2 * np.arange(size) + 1) / size - 1 for size in SHAPE[:2])
        image[x[:, None] ** 2 + y**2 > 1.15] = padding
    return image.astype(np.int16)


def thorax_in_air() -> np.ndarray:
    """The thorax CT with 16 voxels of air on all sides of the slices, so that there is something to crop."""
    wide = [(16, 16), (16, 16), (0, 0)]
    around = np.pad(np.zeros(SHAPE), wide, constant_values=-1000)
    grain = np.rint(noise(around.shape, 5, 10) * (around < 0))
    return (np.pad(thorax(), wide) + around + grain).clip(-1024, 3071).astype(np.int16)


def water() -> np.ndarray:
    """A slab of water with a hole, and enough noise of a sharp kernel in it to find that."""
    shape = (72, 66, 8)
    white = noise((74, 68, 8), 2, 60)
    near = white[:-2, 1:-1] + white[2:, 1:-1] + white[1:-1, :-2] + white[1:-1, 2:]
    image = bodies(shape, [(-900, (0.7, 0.7, 0), (0.2, 0.2, 9))], 40) + white[1:-1, 1:-1] - near / 6
    return np.rint(image).clip(-1024, 3071).astype(np.int16)


def head() -> np.ndarray:
    """A T1 image in units of a scanner's own, with dark fluid inside, float32."""
    shape = (40, 44, 36)
    image = bodies(shape, HEAD, 0)
    image += noise(shape, 3, 12) * (image > 0)
    return (image.clip(0) * 1.75).astype(np.float32)


def chest(bits: int) -> np.ndarray:
    """An X-ray in levels of a depth, `(columns, rows)`."""
    shape = (101, 83)
    grey = bodies(shape, CHEST, 20) + noise(shape, 4, 3)
    return np.rint(grey.clip(0, 255) * ((2**bits - 1) / 255)).astype(np.uint8 if bits == 8 else np.uint16)


def write_nifti(path: Path, voxels: np.ndarray, affine: np.ndarray, codes: tuple[int, int] = (1, 1)) -> None:
    """Write NIfTI with a description, units and codes."""
    image = nibabel.Nifti1Image(voxels, affine)
    image.header["descrip"] = b"golden"
    image.header.set_xyzt_units("mm", "sec")
    image.set_sform(affine, codes[0])
    image.set_qform(affine, codes[1])
    image.to_filename(path)


def write_itk(path: Path, voxels: np.ndarray, affine: np.ndarray) -> None:
    """Write what ITK writes, such as ``.mha`` and ``.nrrd``."""
    picture = itk.image_from_array(np.ascontiguousarray(voxels.T))
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    picture.SetSpacing(spacing.tolist())
    picture.SetOrigin(lps[:3, 3].tolist())
    picture.SetDirection(lps[:3, :3] / spacing)
    itk.imwrite(picture, str(path))


def write_ome_zarr(path: Path, voxels: np.ndarray, affine: np.ndarray) -> None:
    """Write OME-Zarr 0.5 of one scale, whose axes are z, y, x."""
    import zarr

    group = zarr.open_group(store=str(path), mode="w", zarr_format=3)
    array = group.create_array("0", shape=voxels.T.shape, chunks=(16, 16, 16), dtype=voxels.dtype)
    array[...] = voxels.T
    steps = [
        {"type": "scale", "scale": np.diag(affine)[2::-1].tolist()},
        {"type": "translation", "translation": affine[2::-1, 3].tolist()},
    ]
    axes = [{"name": name, "type": "space", "unit": "millimeter"} for name in "zyx"]
    scale: dict[str, Any] = {"axes": axes, "datasets": [{"path": "0", "coordinateTransformations": steps}]}
    group.attrs["ome"] = {"version": "0.5", "multiscales": [scale]}


def write_ct_series(path: Path, voxels: np.ndarray, affine: np.ndarray) -> None:
    """Write a CT series with a header of some length, whose UIDs are fixed."""
    depth = voxels.shape[2]

    def edit(ds: Any, z: int) -> None:
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = f"1.2.3.4.{z + 1}"
        ds.InstanceNumber = z * 7 % depth + 1
        ds.ImageType, ds.Manufacturer, ds.SoftwareVersions = ["ORIGINAL", "PRIMARY", "AXIAL"], "ACME", "A1"
        ds.SeriesNumber, ds.StudyID, ds.AccessionNumber = 3, "7", "A7"
        ds.StudyDate, ds.StudyTime, ds.ContentDate, ds.ContentTime = "20240102", "101500", "20240102", "101700"
        ds.KVP, ds.XRayTubeCurrent, ds.ConvolutionKernel, ds.PatientPosition = 120, 200, "B70f", "HFS"
        ds.WindowCenter, ds.WindowWidth = -600, 1200
        ds.add_new(0x00280106, "US", 0)
        ds.add_new(0x00090010, "LO", "ACME")
        ds.add_new(0x00091001, "LO", "private")

    write_series(path, voxels, affine, edit=edit)


def write_tiff(path: Path, image: np.ndarray) -> None:
    """Write 16-bit TIFF of 100 pixels a centimetre along columns and 125 along rows."""
    tags = {282: 100.0, 283: 125.0, 296: 3}
    Image.fromarray(np.ascontiguousarray(image.T)).save(path, tiffinfo=tags)


def write_cr(path: Path, image: np.ndarray) -> None:
    """Write a CR image of 12 bits, in which high values are dark, whose UIDs are fixed."""

    def edit(ds: Any) -> None:
        rich(ds)
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = "1.2.3.4.1"

    write_xray(path, image, bits=12, dark_is_high=True, edit=edit)


#: What writes each input, by its name in a folder.
INPUTS: dict[str, Callable[[Path], Any]] = {
    "thorax.nii": lambda path: write_nifti(path, thorax(), UPRIGHT),
    "packed.nii.gz": lambda path: write_nifti(path, thorax(), UPRIGHT),
    "thorax.mha": lambda path: write_itk(path, thorax(), UPRIGHT),
    "thorax.nrrd": lambda path: write_itk(path, thorax(), UPRIGHT),
    "thorax.ome.zarr": lambda path: write_ome_zarr(path, thorax(), UPRIGHT),
    "series": lambda path: write_ct_series(path, thorax(), UPRIGHT),
    "turned.nii.gz": lambda path: write_nifti(path, thorax(-2000), TURNED, (2, 1)),
    "air.nii": lambda path: write_nifti(path, thorax_in_air(), UPRIGHT),
    "water.nii": lambda path: write_nifti(path, water(), np.diag([0.75, 0.75, 2.0, 1])),
    "head.nii.gz": lambda path: write_nifti(path, head(), np.diag([4.0, 4.0, 4.0, 1])),
    "chest.png": lambda path: write_photo(path, chest(8)),
    "chest.tif": lambda path: write_tiff(path, chest(16)),
    "chest.dcm": lambda path: write_cr(path, chest(12)),
}
