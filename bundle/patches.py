"""Training patches: a window of a CT, a simulated sharp and soft pair of it, and both pooled to the scale to train.

MONAI dictionary transforms, used one after the other in `configs/train.json`.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform, Randomizable
from torch import Tensor
from torch.nn import functional as F

from bundle import scanner
from bundle.geometry import pyramid
from bundle.networks import crop, pool, upsample
from bundle.storage import read_window, spacing_of


class RandScalePatchd(Randomizable, MapTransform):
    """Cut a window at full resolution, large enough for one patch of one scale.

    Scale 0 is trained on whole images, the others on patches (Uzunova et al. 2019, section 2.1).

    Args:
        keys: images of one grid, `(1, *spatial)`, in HU.
        scale: the scale to train, 0 for the whole image.
        num_scales: number of scales of the cascade.
        patch_size: voxels a side, at that scale, of what the loss is taken on.
        margin: voxels a side, at that scale, that the network needs around it (``Cascade.reach``).
        spare: voxels a side, at full resolution, that a later transform takes off (``scanner.reach``).
        foreground: share of patches whose centre must lie above ``-950`` HU and so inside the body.
        pixel: range of pixel sizes in mm, drawn log-uniformly for each patch: where the image's are larger, the window
            is enlarged in the slice, since a kernel changes fine pixels more than coarse ones. Null leaves them.
        zoom: by how much a window is enlarged at most.
    """

    def __init__(
        self,
        keys: KeysCollection,
        scale: int,
        num_scales: int,
        patch_size: int,
        margin: Sequence[int],
        spare: Sequence[int] | int = 0,
        foreground: float = 0.9,
        pixel: tuple[float, float] | None = None,
        zoom: float = 1.8,
    ) -> None:
        MapTransform.__init__(self, keys)
        self.pixel, self.zoom = pixel, zoom
        self.scale, self.steps, self.patch_size = scale, num_scales - 1, patch_size
        self.margin = tuple(margin)
        self.spare = tuple(spare) if isinstance(spare, Sequence) else (spare,) * len(self.margin)
        self.foreground = foreground

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Cut the window; ``spacing`` and ``factors`` of the pyramid are put beside it."""
        out = dict(data)
        image = out[self.first_key(out)]
        shape = image.shape[1:]
        native = spacing_of(image, len(shape))
        zoom = [1.0] * len(shape)
        if self.pixel and self.scale:
            drawn = float(np.exp(self.R.uniform(*np.log(self.pixel))))
            zoom[:2] = [min(max(native[0] / drawn, 1.0), self.zoom)] * 2
        spacing = [size / factor for size, factor in zip(native, zoom, strict=True)]
        factors = pyramid(spacing, self.steps)
        # From the scale to train to full resolution; one more scale down lies the previous one.
        step = np.prod(factors[: self.steps - self.scale], axis=0, dtype=int) if self.scale < self.steps else 1
        step = np.broadcast_to(step, len(shape))
        if self.scale == 0:
            bounds = [(-extra, size + extra) for size, extra in zip(shape, self.spare, strict=True)]
            sides = [stop - start for start, stop in bounds]
        else:
            # A multiple of two, and one coarse voxel more a side for the upsampling.
            sides = [
                (self.patch_size + 2 * m + 5) // 2 * 2 * s + 2 * extra
                for m, s, extra in zip(self.margin, step, self.spare, strict=True)
            ]
            for _ in range(20):
                centre = [int(self.R.randint(size)) for size in shape]
                if self.R.rand() > self.foreground or image[(0, *centre)] > -950:
                    break
            lengths = [round(side / factor) for side, factor in zip(sides, zoom, strict=True)]
            starts = [c - length // 2 for c, length in zip(centre, lengths, strict=True)]
            bounds = [(start, start + length) for start, length in zip(starts, lengths, strict=True)]
        for key in self.key_iterator(out):
            window = read_window(torch.as_tensor(out[key]).as_subclass(Tensor).float()[None], bounds)[0]
            out[key] = enlarge(window, sides[:2])
        out["spacing"] = [
            size * (stop - start) / side for size, (start, stop), side in zip(native, bounds, sides, strict=True)
        ]
        out["factors"] = factors
        return out


def enlarge(image: Tensor, size: Sequence[int]) -> Tensor:
    """Interpolate the slices of an image, `(1, x, y)` or `(1, x, y, z)`, to a size; cubic, to keep them as sharp."""
    if tuple(image.shape[1:3]) == tuple(size):
        return image
    slices = image[0].reshape(*image.shape[1:3], -1).movedim(-1, 0)[None]
    larger = F.interpolate(slices, tuple(size), mode="bicubic")[0].movedim(0, -1)
    return larger.reshape(1, *size, *image.shape[3:])


class RandKernelPaird(Randomizable, MapTransform):
    """Make a sharp source and its soft target from a soft-kernel CT, by the simulated scanner.

    Kernel, dose and noise are drawn anew for every image: a network trained on the pairs is blind to the scanner.

    Args:
        keys: the CT in HU, `(1, *spatial)`, replaced by the source.
        label_key: where the target goes.
        dose: range of the dose, drawn log-uniformly (see `bundle.scanner.acquire`).
        same: probability that source and target are of the same kernel, so that a soft image is left alone.
    """

    def __init__(
        self,
        keys: KeysCollection,
        label_key: str = "label",
        dose: tuple[float, float] = (15.0, 1000.0),
        same: float = 0.05,
    ) -> None:
        MapTransform.__init__(self, keys)
        self.label_key, self.dose, self.same = label_key, dose, same

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Put source and target in place of the CT, ``scanner.reach`` voxels smaller a side."""
        out = dict(data)
        for key in self.key_iterator(out):
            generator = torch.Generator().manual_seed(int(self.R.randint(2**31)))
            kernel = scanner.SOFT if self.R.rand() < self.same else scanner.Kernel.random(generator)
            dose = float(np.exp(self.R.uniform(*np.log(self.dose))))
            soft, sharp = scanner.acquire(
                out[key][0],
                out["spacing"],
                (scanner.SOFT, kernel),
                dose=dose,
                seed=int(self.R.randint(2**31)),
            )
            out[key], out[self.label_key] = sharp[None], soft[None]
        return out


class ScaleConditionsd(MapTransform):
    """Pool a windowed pair down to one scale, and put the previous scale of the target beside it.

    Args:
        keys: source, `(1, *spatial)`, and target, the same, as `RandScalePatchd` cut them; each replaced by its image
            of the scale.
        coarse_key: where the upsampled previous scale of the target goes; nothing at scale 0.
        scale: the scale to train.
        num_scales: number of scales of the cascade.
        patch_size: as in `RandScalePatchd`.
        margin: as in `RandScalePatchd`; the source and the previous scale keep it, the target does not.
    """

    def __init__(
        self,
        keys: KeysCollection,
        scale: int,
        num_scales: int,
        patch_size: int,
        margin: Sequence[int],
        coarse_key: str = "coarse",
    ) -> None:
        super().__init__(keys)
        self.coarse_key, self.scale, self.steps = coarse_key, scale, num_scales - 1
        self.patch_size, self.margin = patch_size, list(margin)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Replace source and target, add the previous scale."""
        out = dict(data)
        factors = out.pop("factors")
        out.pop("spacing")
        source_key, target_key = self.keys
        images = {key: out[key].as_subclass(Tensor)[None] for key in self.keys}
        for factor in factors[: self.steps - self.scale]:
            images = {key: pool(image, list(factor)) for key, image in images.items()}
        if self.scale == 0:
            margin = [(-m, size + m) for m, size in zip(self.margin, images[source_key].shape[2:], strict=True)]
            out[source_key], out[target_key] = read_window(images[source_key], margin)[0], images[target_key][0]
            return out
        factor = list(factors[self.steps - self.scale])
        coarse = upsample(pool(images[target_key], factor), factor)
        # The outermost voxels of the upsampled image saw no neighbour: they are the window's border, not the image's.
        grown = [self.patch_size + 2 * m for m in self.margin]
        out[source_key], out[self.coarse_key] = (_middle(image, grown)[0] for image in (images[source_key], coarse))
        out[target_key] = crop(_middle(images[target_key], grown), self.margin)[0]
        return out


def _middle(image: Tensor, size: Sequence[int]) -> Tensor:
    """The middle of an image."""
    for axis, side in enumerate(size):
        image = image.narrow(axis + 2, (image.shape[axis + 2] - side) // 2, side)
    return image
