"""Augment head images to look like other scanners': thick slices, other pixel sizes, and stripped skulls."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from bundle.geometry import spacing_of
from bundle.images import stem
from bundle.training.data.packing import read, write_packed
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import Compose, GaussianSmooth, KeepLargestConnectedComponent, MapTransform, Randomizable, Spacing
from scipy.ndimage import binary_fill_holes, distance_transform_edt, gaussian_filter
from skimage.filters import threshold_otsu
from torch import Tensor

#: Full width at half maximum of a Gaussian in standard deviations.
WIDTH = 2 * float(np.sqrt(2 * np.log(2)))
#: Ratio of longest to shortest voxel side above which an image counts as sliced; its slice axis is then kept.
SLICED = 1.5
#: In mm: depth of the erosion that separates the brain from the scalp, and depth of the closing that fills the grooves
#: between gyri.
BRIDGE, GROOVE = 9.0, 6.0
#: Largest grey value, mean of T1 and T2, of background with noise.
BACKGROUND = 40.0


class RandThickSlicesd(Randomizable, MapTransform):
    """Randomly resample images of one grid as if scanned with thicker slices and another pixel size.

    Each voxel of the new grid is the mean over a Gaussian slice profile, whose full width at half maximum is the new
    voxel size (minus the original one, in quadrature). The slice axis is drawn, unless the images already have thick
    slices, whose axis is kept.

    Args:
        keys: images of one grid, `(1, x, y, z)`, with an affine.
        prob: fraction of the images.
        thickness: range of the slice thickness in mm, drawn uniformly; slices never become thinner.
        pixel: range of the factor on the pixel size.
        allow_missing_keys: do not raise if a key is missing.
    """

    def __init__(
        self,
        keys: KeysCollection,
        prob: float,
        thickness: tuple[float, float] = (2.0, 5.0),
        pixel: tuple[float, float] = (0.85, 1.2),
        allow_missing_keys: bool = False,
    ) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        self.prob, self.thickness, self.pixel = prob, thickness, pixel

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Resample all images in the same way."""
        out = dict(data)
        keys = list(self.key_iterator(out))
        if self.R.rand() >= self.prob:
            return out
        native = spacing_of(out[keys[0]], 3)
        sides = self.draw(native)
        widths = [max(side**2 - size**2, 0) ** 0.5 / size for side, size in zip(sides, native, strict=True)]
        for key in keys:
            smooth = GaussianSmooth([width / WIDTH for width in widths])(out[key])
            out[key] = Spacing(sides, mode="bilinear", padding_mode="border")(smooth)
        return out

    def draw(self, native: Sequence[float]) -> list[float]:
        """Draw the new voxel size in mm per axis."""
        axis = int(np.argmax(native)) if max(native) > SLICED * min(native) else int(self.R.randint(3))
        pixel = float(np.exp(self.R.uniform(*np.log(np.asarray(self.pixel)))))
        sides = [size * pixel for size in native]
        sides[axis] = max(float(self.R.uniform(*self.thickness)), native[axis])
        return sides


class RandSkullStripd(Randomizable, MapTransform):
    """Randomly set everything but the brain to 0 in the images of a head.

    Args:
        keys: T1 and T2, `(1, x, y, z)` on one grid, background 0 and brightest tissue about 1000.
        prob: fraction of the heads.
    """

    def __init__(self, keys: KeysCollection, prob: float) -> None:
        MapTransform.__init__(self, keys)
        self.prob = prob

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Strip all images with the same mask."""
        out = dict(data)
        if self.R.rand() < self.prob:
            t1, t2 = (out[key] for key in self.keys)
            mask = brain_mask(t1, t2, spacing_of(t1, 3))
            out |= {key: out[key] * mask for key in self.keys}
        return out


def brain_mask(t1: Tensor, t2: Tensor, spacing: Sequence[float]) -> Tensor:
    """Segment the brain and its fluid in a head, with or without skull.

    Tissue is bright in the mean of T1 and T2: brain in both, fluid in T2; bone in neither. Fat, which is much brighter
    in T1 than the middle of the head, is excluded. The tissue is eroded by 9 mm; its largest component is the brain and
    is grown back. Grooves are filled. The lower end lies somewhere in the neck, unless the image ends above.

    Args:
        t1: `(1, x, y, z)`, background 0 and brightest tissue about 1000.
        t2: the same head on the same grid.
        spacing: voxel spacing per axis in mm.

    Returns:
        Boolean mask, `(1, x, y, z)`; all true if the erosion leaves nothing of a small head.
    """
    first, second = (gaussian_filter(_voxels(image), [1.0 / size for size in spacing]) for image in (t1, t2))
    both = (first + second) / 2
    head = both > BACKGROUND
    middle = first[tuple(slice(size // 3, -(-2 * size // 3)) for size in first.shape)]
    tissue = head & (both > 0.75 * threshold_otsu(both[head])) & (first < 1.5 * np.median(middle))
    core = _within(tissue, BRIDGE, spacing)
    if not core.any():
        return torch.ones(t1.shape, dtype=torch.bool)
    core = KeepLargestConnectedComponent()(torch.from_numpy(core[None]))[0].numpy().astype(bool)
    brain = tissue & ~_within(~core, BRIDGE, spacing)
    pad = [int(np.ceil(GROOVE / size)) + 1 for size in spacing]
    grown = np.pad(~_within(~brain, GROOVE, spacing), [(side, side) for side in pad], mode="edge")
    closed = _within(grown, GROOVE, spacing)[tuple(slice(side, -side) for side in pad)]
    return torch.from_numpy(binary_fill_holes(closed))[None]


def with_drawn(
    data: Sequence[Mapping[str, str]], transform: Compose, folder: str | Path, number: int, seed: int = 0
) -> list[dict[str, str]]:
    """Return the training images and randomly transformed copies of each; existing files are kept.

    Args:
        data: paths of images under any keys, such as ``image`` and ``label``.
        transform: a random dictionary transform of whole images, `(1, *spatial)`.
        folder: folder to write to; the images of each key go into a subfolder, named like ``image`` with the suffix
            ``_drawn_`` and a number.
        number: number of copies of each image.
        seed: base seed of the copies.
    """
    made = [dict(item) for item in data]
    for place, item in enumerate(data):
        for turn in range(number):
            files = {key: Path(folder) / key / f"{stem(item['image'])}_drawn_{turn}.nii" for key in item}
            made.append({key: str(file) for key, file in files.items()})
            if all(file.exists() for file in files.values()):
                continue
            transform.set_random_state(seed=1000 * (seed + 1) + number * place + turn)
            for key, image in transform({key: read(path) for key, path in item.items()}).items():
                files[key].parent.mkdir(parents=True, exist_ok=True)
                write_packed(MetaTensor(torch.round(image.as_subclass(Tensor)), affine=image.affine), files[key])
    return made


def _within(mask: np.ndarray, depth: float, spacing: Sequence[float]) -> np.ndarray:
    """Erode a mask: keep the voxels that lie more than a depth in mm inside it."""
    return np.asarray(distance_transform_edt(mask, sampling=spacing) > depth)


def _voxels(image: Tensor) -> np.ndarray:
    """Return the voxels, `(x, y, z)`, clipped to 0..1000."""
    return torch.as_tensor(image).as_subclass(Tensor)[0].float().clamp(0, 1000).numpy()
