"""Scale intensities without a unit, such as MR or differently processed X-rays, by each image's percentiles.

``python -m bundle.transforms.percentiles IMAGE DESTINATION`` scales an image, or each image of a folder, once and
stores it: background 0, the brightest tissue 1000, or black and white for an X-ray. This has to happen before the
cascade, because a tile knows neither an image's percentiles nor whether a dark region in it is enclosed.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from bundle.images import NIFTI, PHOTO, WHITE, create_image, find_images, held, stem, suffix
from bundle.images.own_files import OWN, check_own
from bundle.images.reader import load_image
from bundle.runtime.commands import run_command
from bundle.runtime.scalars import is_finite
from bundle.runtime.settings import check_percentiles
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import FillHoles, MapTransform
from torch import Tensor

#: The value of the upper percentile, and the largest value; if the median sets the scale, fat may be far brighter.
TOP, MOST, BRIGHTEST = 1000.0, 1200.0, 2000.0
#: Fraction of the upper percentile that is brighter than noise in air.
NOISE = 0.03
#: Smallest value that is not background: dark regions inside the head are raised to it.
LEAST = 1.0
#: Most voxels that are sampled, at regular steps.
SEEN = 4_000_000


def percentile_window(
    image: Tensor, lower: float = 1.0, upper: float = 99.5, median: float | None = None
) -> tuple[float, float]:
    """Return the values that become 0 and 1000: a percentile of all voxels, and one of the voxels above it.

    The second one is taken from the foreground only, so that it does not depend on the amount of air around the head.
    In T1, however, the brightest tissue is fat in a head with skull and white matter in one without, and how bright fat
    is depends on the sequence. With ``median``, brain is about as bright in both.

    Args:
        image: of any shape; a MetaTensor's file is named in errors.
        lower: percent of all voxels that lie at or below the background.
        upper: percent of the voxels above the background, more than ``lower``.
        median: value that the median of the foreground becomes, such as 500; null: the upper percentile becomes 1000.

    Raises:
        ValueError: If a percentile or the median is out of range, or nothing lies above the background.
    """
    _check(lower, upper, median)
    flat = torch.as_tensor(image).as_subclass(Tensor).flatten()
    voxels = flat[:: -(-flat.numel() // SEEN)].double().numpy()
    low = float(np.percentile(voxels, lower))
    above = voxels[voxels > low]
    if not len(above):
        name = getattr(image, "meta", {}).get("filename_or_obj")
        named = f"image {str(name)!r}" if name else "the image"
        raise ValueError(f"{named} holds nothing above its background, {low:g}; give one that shows something.")
    high = float(np.percentile(above, upper))
    if median is None:
        return low, high
    tissue = above[above >= low + NOISE * (high - low)]
    return low, low + (float(np.median(tissue)) - low) * TOP / median


def scaled(image: Tensor, window: tuple[float, float], most: float = MOST) -> Tensor:
    """Scale a window to 0..1000 and clip to 0..1200; voxels below 1 that brighter ones enclose are raised to 1.

    So only the surroundings of the head are background, not fluid, which may be as dark in T1.

    Args:
        image: channel first.
        window: the values that become 0 and 1000.
        most: the largest value.
    """
    low, high = window
    levels = ((image - low) * (TOP / (high - low))).clamp(0, most)
    head = torch.as_tensor(FillHoles(connectivity=1)((levels >= LEAST).to(torch.uint8))).bool()
    return torch.where(head, levels.clamp(min=LEAST), levels)


class ScalePercentilesd(MapTransform):
    """Scale images by their own percentiles, and record the window in the metadata as ``percentiles``.

    Args:
        keys: whole images.
        lower: see `percentile_window`.
        upper: see `percentile_window`.
        median: see `percentile_window`; with it, values are clipped to 0..2000.
        allow_missing_keys: do not raise if a key is missing.

    Raises:
        ValueError: If a percentile or the median is out of range.
    """

    def __init__(
        self,
        keys: KeysCollection,
        lower: float = 1.0,
        upper: float = 99.5,
        median: float | None = None,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        _check(lower, upper, median)
        self.lower, self.upper, self.median = lower, upper, median

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Scale each image.

        Raises:
            ValueError: See `percentile_window`.
        """
        out = dict(data)
        for key in self.key_iterator(out):
            image = out[key]
            window = percentile_window(image, self.lower, self.upper, self.median)
            out[key] = scaled(image, window, MOST if self.median is None else BRIGHTEST)
            if isinstance(out[key], MetaTensor):
                out[key].meta["percentiles"] = window
        return out


def store(
    image: str | Path, destination: str | Path, lower: float = 1.0, upper: float = 99.5, median: float | None = None
) -> None:
    """Scale an image by its percentiles and write it completely or not at all; or each image of a folder into another.

    Args:
        image: any image that `bundle.images.find_images` finds, of two or three axes; or a folder.
        destination: a ``.nii`` or ``.nii.gz`` of 16-bit numbers, 0 to 1200; for a 2D image also an 8-bit ``.png``, in
            which these are black and white. For a folder, a folder: ``.png`` for 2D images, ``.nii.gz`` for volumes.
        lower: see `percentile_window`.
        upper: see `percentile_window`.
        median: see `ScalePercentilesd`.

    Raises:
        FileExistsError: If a file would be replaced that this bundle has not made.
        FileNotFoundError: If there is no image.
        ValueError: If the destination has another suffix or is a source, or two images of a folder would have one
            destination; see also `percentile_window`.
    """
    if not Path(image).exists():
        raise FileNotFoundError(f"image {str(image)!r} does not exist; give an image or a folder of images.")
    if Path(destination).exists() and Path(destination).samefile(image):
        raise ValueError(f"destination {str(destination)!r} is the source itself; give another one.")
    if Path(image).is_dir() and not Path(destination).suffix:
        sources: dict[Path, str] = {}
        for path in find_images(image, key="image"):
            end = ".png" if suffix(path) in PHOTO else ".nii.gz"
            target = Path(destination) / f"{stem(path)}{end}"
            if target in sources:
                raise ValueError(f"{sources[target]!r} and {path!r} would both become {str(target)!r}; rename one.")
            sources[target] = path
        if own := [target for target in sources if target.exists() and any(map(target.samefile, sources.values()))]:
            raise ValueError(f"destination {str(own[0])!r} is one of the sources; give another folder.")
        for target in sources:
            check_own(target, "scaled image", way_out="give another folder")
        for target, path in sources.items():
            store(path, target, lower, upper, median)
        return
    name, grey = str(destination), suffix(destination) == ".png"
    if not grey and not name.endswith(NIFTI):
        raise ValueError(f"destination {name!r} must end in .nii, .nii.gz or, of a 2D image, .png.")
    check_own(name, "scaled image")
    voxels = load_image(image)
    if grey and voxels.ndim != 2:
        raise ValueError(f"destination {name!r} must end in .nii or .nii.gz: {str(image)!r} is a volume.")
    made = ScalePercentilesd("image", lower, upper, median)({"image": voxels[None]})["image"]
    window, whole = made.meta["percentiles"], made[0].as_subclass(Tensor)
    if grey:
        whole = (whole * (WHITE / TOP)).clamp(max=WHITE)
    stored = whole.round().to(torch.uint8 if grey else torch.int16).numpy()
    with create_image(
        name, held(stored, voxels.affine, meta=OWN | ({"bits": 8} if grey else {})), stored.dtype
    ) as write:
        write(tuple(slice(0, size) for size in stored.shape), stored)
    print(f"written: {name}; {window[0]:g} became 0, {window[1]:g} became {WHITE if grey else TOP:g}")


def _check(lower: float, upper: float, median: float | None) -> None:
    """Raise ValueError if a percentile or the median is not a number, or out of range."""
    check_percentiles([lower, upper])
    if median is not None and (not is_finite(median) or not 0 < median <= TOP):
        raise ValueError(f"median {median!r} must be above 0 and at most {TOP:g}, such as 500, or None.")


if __name__ == "__main__":
    run_command(store)
