"""The percentile window: intensities of no unit, of MR scanners or of X-rays shown differently, on one scale.

``python -m bundle.transforms.percentiles IMAGE DESTINATION`` scales an image, or each of a folder, once and stores it:
background 0, the brightest tissue 1000, or black and white of an X-ray. It belongs before the cascade and outside of
it, since no tile knows an image's percentiles, or whether a dark place in it is enclosed.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import fire
import numpy as np
import torch
from bundle.images import NIFTI, PHOTO, WHITE, create_image, find_images, held, load_image, stem, suffix
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import FillHoles, MapTransform
from torch import Tensor

#: What the percentiles become, and what nothing exceeds.
TOP, MOST = 1000.0, 1200.0
#: The least that is not background: dark places inside the head are raised to it.
LEAST = 1.0
#: Most voxels that are looked at, evenly spread.
SEEN = 4_000_000


def percentile_window(image: Tensor, lower: float = 1.0, upper: float = 99.5) -> tuple[float, float]:
    """The values that become 0 and 1000: a percentile of all voxels, and one of those above it.

    The second is taken of the foreground alone, so that it does not depend on how much air is around the head.

    Args:
        image: of any shape.
        lower: percent of all voxels that lie at or below the background.
        upper: percent of the voxels above the background.

    Raises:
        ValueError: on percentiles that are none, or an image of one value.
    """
    if not 0 <= lower < 100 or not 0 < upper <= 100:
        raise ValueError(f"percentiles {lower} and {upper} must lie between 0 and 100, such as 1 and 99.5.")
    flat = torch.as_tensor(image).as_subclass(Tensor).flatten()
    voxels = flat[:: -(-flat.numel() // SEEN)].double().numpy()
    low = float(np.percentile(voxels, lower))
    above = voxels[voxels > low]
    if not len(above):
        raise ValueError(f"the image holds nothing above its background, {low:g}; give one that shows something.")
    return low, float(np.percentile(above, upper))


def scaled(image: Tensor, window: tuple[float, float]) -> Tensor:
    """Scale a window to 0..1000, cut below 0 and above 1200; what is below 1 and enclosed by what is not becomes 1.

    So background is what surrounds the head. Fluid may be as dark in T1, and is not background.

    Args:
        image: channel first.
        window: the values that become 0 and 1000.
    """
    low, high = window
    levels = ((image - low) * (TOP / (high - low))).clamp(0, MOST)
    head = torch.as_tensor(FillHoles(connectivity=1)((levels >= LEAST).to(torch.uint8))).bool()
    return torch.where(head, levels.clamp(min=LEAST), levels)


class ScalePercentilesd(MapTransform):
    """Scale images by their own percentiles, and note them in the metadata as ``percentiles``.

    Args:
        keys: whole images.
        lower: see `percentile_window`.
        upper: see `percentile_window`.
        allow_missing_keys: do not raise if a key is missing.
    """

    def __init__(
        self, keys: KeysCollection, lower: float = 1.0, upper: float = 99.5, allow_missing_keys: bool = False
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.lower, self.upper = lower, upper

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Scale each image.

        Raises:
            ValueError: see `percentile_window`.
        """
        out = dict(data)
        for key in self.key_iterator(out):
            image = out[key]
            window = percentile_window(image, self.lower, self.upper)
            out[key] = scaled(image, window)
            if isinstance(out[key], MetaTensor):
                out[key].meta["percentiles"] = window
        return out


def store(image: str | Path, destination: str | Path, lower: float = 1.0, upper: float = 99.5) -> None:
    """Scale an image by its percentiles and write it, whole or not at all; or each image of a folder into another.

    Args:
        image: any that `bundle.images.find_images` finds, of two or three axes; or a folder.
        destination: a ``.nii`` or ``.nii.gz`` of 16-bit numbers, 0 to 1000; of a 2D image also a ``.png`` of 8 bits, in
            which these are black and white. For a folder a folder: ``.png`` for 2D images, ``.nii.gz`` for volumes.
        lower: see `percentile_window`.
        upper: see `percentile_window`.

    Raises:
        FileNotFoundError: If there is no image.
        ValueError: If the destination is of no such kind, or see `percentile_window`.
    """
    if Path(image).is_dir() and not Path(destination).suffix:
        for path in find_images(image):
            end = ".png" if suffix(path) in PHOTO else ".nii.gz"
            store(path, Path(destination) / f"{stem(path)}{end}", lower, upper)
        return
    name, grey = str(destination), suffix(destination) == ".png"
    if not grey and not name.endswith(NIFTI):
        raise ValueError(f"destination {name!r} must end in .nii, .nii.gz or, of a 2D image, .png.")
    voxels = load_image(image)
    if grey and voxels.ndim != 2:
        raise ValueError(f"destination {name!r} must end in .nii or .nii.gz: {str(image)!r} is a volume.")
    window = percentile_window(voxels, lower, upper)
    whole = scaled(voxels[None], window)[0].as_subclass(Tensor)
    if grey:
        whole = (whole * (WHITE / TOP)).clamp(max=WHITE)
    stored = whole.round().to(torch.uint8 if grey else torch.int16).numpy()
    with create_image(name, held(stored, voxels.affine, meta={"bits": 8} if grey else {}), stored.dtype) as write:
        write(tuple(slice(0, size) for size in stored.shape), stored)
    print(f"written: {name}; {window[0]:g} became 0, {window[1]:g} became {WHITE if grey else TOP:g}")


if __name__ == "__main__":
    fire.Fire(store)
