"""Denoise packed CTs and simulate new noise for them in projections; both are stored for reading by windows.

``python -m monai.bundle run pairs --config_file configs/train.json`` does this in advance for all images; otherwise a
training does it when it first opens an image.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import torch
from bundle.geometry import spacing_of
from bundle.runtime.files import atomic
from bundle.runtime.locks import locked
from bundle.scanner import Beam, projection_noise
from bundle.training.data.packed_image import PackedImage
from monai.config import KeysCollection
from monai.transforms import MapTransform
from scipy.ndimage import gaussian_filter
from skimage.restoration import denoise_nl_means
from torch import Tensor

#: Keys of the two independent draws of noise.
FIELDS = ("noise_0", "noise_1")
PARTS = ("clean", *FIELDS)
STEP = 0.125  # HU per stored unit; 16 bits then cover 4096 HU on either side of 0
KEPT = 0.25  # fraction of the removed signal that is added back, because it contains fine anatomy, too
STRENGTH = 0.8  # filter strength in standard deviations of the noise
BRIGHT = 400.0  # HU; brighter voxels are bone and metal and keep their values
TISSUE = (-100.0, 120.0)  # HU range in which the noise is measured


class OpenNoised(MapTransform):
    """Replace a packed CT by its denoised version, and open two draws of noise as ``noise_0`` and ``noise_1``.

    Missing files are made. A CT that has a target, a real pair, is left as it is.

    Args:
        keys: the CT, a `PackedImage` of a volume.
        seed: seed of the noise.
        label_key: key of the target.
    """

    def __init__(self, keys: KeysCollection, seed: int = 0, label_key: str = "label") -> None:
        super().__init__(keys)
        self.seed, self.label_key = seed, label_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Replace the CT and add the noise."""
        out = dict(data)
        for key in self.key_iterator(out):
            if self.label_key not in out:
                out[key], *fields = map(PackedImage, pack_noise(out[key], self.seed))
                out |= dict(zip(FIELDS, fields, strict=True))
        return out


def pack_noise(image: PackedImage, seed: int = 0) -> list[Path]:
    """Write the denoised CT and two draws of noise next to the image; existing files are kept.

    Slices made by an interrupted run are kept, too.

    Args:
        image: a volume, its slices in the first two axes.
        seed: seed of the beam and of the noise.

    Returns:
        Paths of 16-bit NIfTI files on the image's grid: the CT in HU, and two draws of noise in HU before the kernel,
        at dose 100 (`bundle.scanner.projection_noise`).

    Raises:
        ValueError: If the image is not a volume.
    """
    shape, path = tuple(image.shape[1:]), Path(image.path)
    if len(shape) != 3:
        raise ValueError(f"image {image.path!r} has {len(shape)} axes; noise is made for slices of a volume, of three.")
    files = [path.with_name(f"{path.stem}_{name}.nii") for name in PARTS]
    if all(file.exists() for file in files):
        return files
    begun = path.with_name(f"{path.stem}_noise.part.npy")
    with locked(begun, wait=True, task=f"the noise of {image.path!r}"):
        if not all(file.exists() for file in files):  # another process may have made them meanwhile
            _make_noise(image, seed, begun, files)
    return files


def _make_noise(image: PackedImage, seed: int, begun: Path, files: Sequence[Path]) -> None:
    """Make the files of `pack_noise`; slices that are finished are kept in the file ``begun``."""
    shape = tuple(image.shape[1:])
    stored = _opened(begun, (len(PARTS), *shape))
    beam = Beam.random(torch.Generator().manual_seed(seed))
    spacing = spacing_of(image, 3)
    for z in range(shape[2]):
        if not stored[-1, ..., z].any():
            voxels = image[0, :, :, z]
            generator = torch.Generator().manual_seed(1000 * seed + z + 1)
            noise = projection_noise(voxels, spacing[:2], generator, beam, len(FIELDS))
            stored[0, ..., z] = np.round(denoised(voxels.numpy()))
            stored[1:, ..., z] = np.clip(np.round(noise.numpy() / STEP), -32767, 32767)
    for index, file in enumerate(files):
        _write(file, stored[index], np.asarray(image.affine), STEP if index else 1)
    del stored  # Windows cannot delete a file that is still mapped
    begun.unlink()


def mixed(one: Tensor, other: Tensor, turn: float) -> tuple[Tensor, Tensor]:
    """Rotate two independent draws of noise by an angle in radians into two new ones, independent and as strong."""
    a, b = math.cos(turn), math.sin(turn)
    return a * one + b * other, a * other - b * one


def denoised(image: np.ndarray) -> np.ndarray:
    """Remove most of the noise of a slice, `(x, y)` in HU, by non-local means; bone keeps its values."""
    rough = image - gaussian_filter(image, 2.0)
    smooth = gaussian_filter(image, 3.0)
    tissue = (smooth > TISSUE[0]) & (smooth < TISSUE[1])
    noise = 1.4826 * float(np.median(np.abs(rough[tissue] if tissue.any() else rough)))
    if noise == 0:
        return image
    dark = image.clip(-1024.0, BRIGHT)
    flat = denoise_nl_means(dark, patch_size=5, patch_distance=6, h=STRENGTH * noise, sigma=noise)
    return np.where(image > BRIGHT, image, flat + KEPT * (dark - flat))


def pack_all(data: Sequence[Mapping[str, str]], opening: MapTransform, seed: int = 0) -> None:
    """Run `pack_noise` on all training images.

    Args:
        data: training images.
        opening: opens an image as a `PackedImage` under ``image``.
        seed: seed of the noise.
    """
    for item in data:
        for file in pack_noise(opening({"image": item["image"]})["image"], seed):
            print(f"written: {file}")


def _write(file: Path, voxels: np.ndarray, affine: np.ndarray, step: float) -> None:
    with atomic(file) as temporary:
        image = nibabel.Nifti1Image(voxels, affine)
        image.header.set_slope_inter(step, 0)
        image.to_filename(temporary)


def _opened(path: Path, shape: tuple[int, ...]) -> np.memmap:
    """Open the file of an interrupted run, or a new file of zeros."""
    if path.exists():
        return np.lib.format.open_memmap(path, mode="r+")
    path.parent.mkdir(parents=True, exist_ok=True)
    return np.lib.format.open_memmap(path, mode="w+", dtype=np.int16, shape=shape, fortran_order=True)
