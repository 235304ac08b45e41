"""A sharp source and its soft target: of a simulated acquisition drawn anew for every patch, or a real pair."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from bundle import scanner
from bundle.geometry import spacing_of
from bundle.training.data.packed_image import PackedImage
from monai.config import KeysCollection
from monai.transforms import MapTransform, Randomizable
from torch import Tensor

#: Most slices that are averaged into a thicker one.
MOST_SLICES = 5
AIR = -1000.0  # HU


@dataclass(frozen=True)
class Acquisition:
    """One scan of one patient, as the network will meet it.

    Args:
        kernel: of the source; the target's is `scanner.SOFT`.
        dose: see `bundle.scanner.acquire`.
        slices: how many are averaged, odd.
        digital: whether the source is rounded and clipped to the 12 bits of a scanner.
        found: the kernel that is taken for the source's, to which it is matched; null where none was found.
        clean: whether the target is the image itself, without the noise of this acquisition.
        clipped: whether the image has nothing below air, -1000 HU, as some programs write it.
    """

    kernel: scanner.Kernel
    dose: float
    slices: int = 1
    digital: bool = True
    found: scanner.Kernel | None = None
    clean: bool = False
    clipped: bool = False

    def pair(
        self, image: Tensor, spacing: Sequence[float], seed: int | torch.Generator, origin: Sequence[int] | None = None
    ) -> tuple[Tensor, Tensor]:
        """Source and target of an image `(*spatial)` in HU, `kernel_pair_reach` voxels smaller a side."""
        if self.clipped:
            image = image.clamp(min=AIR)
        if image.ndim == 3:
            spare = (MOST_SLICES - self.slices) // 2
            image = image[..., spare : image.shape[2] - spare]
            origin = None if origin is None else (*origin[:2], origin[2] + spare)
        soft, sharp = scanner.acquire(
            image,
            spacing,
            (scanner.SOFT, self.kernel),
            dose=self.dose,
            seed=seed,
            origin=origin,
            slice_thickness=self.slices,
            quantize=self.digital,
        )
        target = image.unfold(-1, self.slices, 1).mean(-1) if image.ndim == 3 else image
        return as_shown(sharp, spacing, self.found), _inner(_inner(target) if self.clean else soft)


class RandKernelPaird(Randomizable, MapTransform):
    """Make a sharp source and its soft target from a soft-kernel CT, by the simulated scanner.

    Kernel, dose, slice thickness and noise are drawn anew for every image: a network trained on the pairs is blind to
    the scanner. The source is matched to the soft kernel as inference does it (`bundle.scanner.matched_window`), with
    the errors that finding a kernel makes, and now and then not at all. Where the target is there already, the pair is
    a real one, and only the matching is left to do.

    Args:
        keys: the CT in HU, `(1, *spatial)`, replaced by the source, `kernel_pair_reach` voxels smaller a side.
        label_key: where the target goes.
        dose: range of the dose, drawn log-uniformly (see `bundle.scanner.acquire`).
        thickness: range of the slice thickness in mm, drawn log-uniformly, made by averaging up to ``MOST_SLICES``.
        same: probability that source and target are of the same kernel, so that a soft image is left alone.
        clean: whether the target is the CT itself, of a higher dose than the source, not an acquisition as noisy.
        clipped: probability that the CT is made one without values below air, -1000 HU.
        digital: probability that the source is rounded and clipped to the 12 bits of a scanner.
        found: probability that the source's kernel was found, and so matched.
        error: standard deviation of what was found, relative to the kernel's parameters (see `misjudged`).
        wrong: probability that what was found is any other kernel.
    """

    def __init__(
        self,
        keys: KeysCollection,
        label_key: str = "label",
        dose: tuple[float, float] = (15.0, 1000.0),
        thickness: tuple[float, float] = (0.6, 8.0),
        same: float = 0.05,
        digital: float = 0.5,
        found: float = 0.9,
        error: float = 0.04,
        wrong: float = 0.03,
        clean: bool = False,
        clipped: float = 0.0,
    ) -> None:
        MapTransform.__init__(self, keys)
        self.label_key, self.dose, self.thickness = label_key, dose, thickness
        self.same, self.digital, self.found, self.error, self.wrong = same, digital, found, error, wrong
        self.clean, self.clipped = clean, clipped

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Put source and target in place of the CT, or of source and target where both are there."""
        out = dict(data)
        spacing = tuple(out["spacing"])
        for key in self.key_iterator(out):
            generator = torch.Generator().manual_seed(int(self.R.randint(2**31)))
            if self.label_key in out:
                found = self.misjudge(out["kernel"], generator) if out.get("kernel") else None
                slices = slice(MOST_SLICES // 2, -(MOST_SLICES // 2))
                source, target = (
                    _inner(out[k][0][..., slices] if out[k].ndim == 4 else out[k][0]) for k in (key, self.label_key)
                )
                source, target = as_shown(source, spacing, found), _inner(target)
            elif "generated" in out:
                draw = out["generated"]
                source, target = draw.acquisition.pair(out[key][0], spacing, draw.seed, out["origin"])
            else:
                source, target = self.acquisition(spacing, generator).pair(out[key][0], spacing, generator)
            out[key], out[self.label_key] = source[None], target[None]
        out.pop("kernel", None)
        return out

    def acquisition(self, spacing: Sequence[float], generator: torch.Generator) -> Acquisition:
        """Draw a scan."""
        kernel = scanner.SOFT if self.R.rand() < self.same else scanner.Kernel.random(generator)
        slices = 1
        if len(spacing) == 3:
            wanted = float(np.exp(self.R.uniform(*np.log(self.thickness)))) / spacing[2]
            slices = 2 * min(int(wanted / 2), MOST_SLICES // 2) + 1
        return Acquisition(
            kernel,
            dose=float(np.exp(self.R.uniform(*np.log(self.dose)))),
            slices=slices,
            digital=bool(self.R.rand() < self.digital),
            found=self.misjudge(kernel, generator) if self.R.rand() < self.found else None,
            clean=self.clean,
            clipped=bool(self.R.rand() < self.clipped),
        )

    def misjudge(self, kernel: scanner.Kernel, generator: torch.Generator) -> scanner.Kernel:
        """The kernel as it might be found from its noise: a little off, now and then altogether."""
        drawn = misjudged(kernel, self.error, self.R)
        return scanner.Kernel.random(generator) if self.R.rand() < self.wrong else drawn


class FindKerneld(MapTransform):
    """Put the kernel of real source images, found from their noise, beside them as ``kernel``.

    Args:
        keys: the source, a `PackedImage`; looked at only where a target is there, each file once.
        label_key: the target.
    """

    def __init__(self, keys: KeysCollection, label_key: str = "label") -> None:
        super().__init__(keys)
        self.label_key = label_key
        self.known: dict[str, scanner.Kernel | None] = {}

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Add the kernel, or nothing where there is no target or too little flat tissue."""
        out = dict(data)
        for key in self.key_iterator(out):
            image: PackedImage = out[key]
            if self.label_key in out and len(image.shape) == 4:
                if image.path not in self.known:
                    self.known[image.path] = scanner.find_kernel(image[0, ...], spacing_of(image, 3))
                out["kernel"] = self.known[image.path]
        return out


def kernel_pair_reach(spatial_dims: int) -> tuple[int, ...]:
    """The voxels that `RandKernelPaird` takes away at each side, per axis."""
    return (2 * scanner.RADIUS, 2 * scanner.RADIUS, MOST_SLICES // 2)[:spatial_dims]


def as_shown(sharp: Tensor, spacing: Sequence[float], found: scanner.Kernel | None) -> Tensor:
    """The source as inference shows it to the cascade, `RADIUS` voxels smaller a side in the slice."""
    if found is None:
        return _inner(sharp)
    volume = sharp[..., None] if sharp.ndim == 2 else sharp
    shown = scanner.matched_window(volume, spacing, found)
    return shown[..., 0] if sharp.ndim == 2 else shown


def misjudged(kernel: scanner.Kernel, error: float, random: np.random.RandomState) -> scanner.Kernel:
    """A kernel a little off: half and position by ``error``, order and edge, which noise tells less well, by more."""
    half, order, edge, position = random.normal(size=4) * error
    return scanner.Kernel(
        half=kernel.half * float(np.exp(half)),
        order=kernel.order * float(np.exp(3 * order)),
        edge=max(0.0, kernel.edge + 2 * float(edge)),
        position=kernel.position * float(np.exp(position)),
        cutoff=kernel.cutoff,
    )


def _inner(image: Tensor) -> Tensor:
    """The image less `RADIUS` voxels a side in the slice."""
    return image[scanner.RADIUS : -scanner.RADIUS, scanner.RADIUS : -scanner.RADIUS]
