"""Make pairs of a sharp source and its soft target: simulated anew for each patch, or real."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from bundle import scanner
from bundle.geometry import spacing_of
from bundle.training.data.noise import FIELDS, mixed
from bundle.training.data.packed_image import PackedImage
from monai.config import KeysCollection
from monai.transforms import MapTransform, Randomizable
from torch import Tensor

#: Largest number of slices that are averaged into a thicker one.
MOST_SLICES = 5


@dataclass(frozen=True)
class SimulatedScan:
    """One simulated scan of a patient.

    Args:
        kernel: kernel of the source; that of the target is `scanner.SOFT`.
        dose: see `bundle.scanner.acquire`.
        slices: number of slices that are averaged, odd.
        digital: round the source and clip it to the 12 bits of a scanner.
        found: kernel that was estimated for the source, and is used to match it; null if none was found.
        turn: angle in radians that mixes two draws of noise, so that each scan has its own noise.
    """

    kernel: scanner.Kernel
    dose: float
    slices: int = 1
    digital: bool = True
    found: scanner.Kernel | None = None
    turn: float = 0.0

    def pair(
        self,
        image: Tensor,
        spacing: Sequence[float],
        seed: int | torch.Generator,
        origin: Sequence[int] | None = None,
        noise: Sequence[Tensor] = (),
    ) -> tuple[Tensor, Tensor]:
        """Return source and target of an image, each `kernel_pair_reach` voxels smaller on each side.

        Args:
            image: `(*spatial)` in HU.
            spacing: voxel spacing in mm.
            seed: seed of stationary noise.
            origin: origin of stationary noise, see `bundle.scanner.acquire`.
            noise: two draws of noise made in projections (`bundle.training.data.noise`), used instead.
        """
        if image.ndim == 3:
            extra = (MOST_SLICES - self.slices) // 2
            image, *noise = (each[..., extra : each.shape[2] - extra] for each in (image, *noise))
            origin = None if origin is None else (*origin[:2], origin[2] + extra)
        soft, sharp = scanner.acquire(
            image,
            spacing,
            (scanner.SOFT, self.kernel),
            dose=self.dose,
            seed=seed,
            origin=origin,
            slice_thickness=self.slices,
            quantize=self.digital,
            noise=mixed(noise[0], noise[1], self.turn)[0] if noise else None,
        )
        return as_shown(sharp, spacing, self.found), _inner(soft)


class RandKernelPaird(Randomizable, MapTransform):
    """Simulate a sharp source and its soft target from a soft-kernel CT.

    Kernel, dose, slice thickness and noise are drawn for each image, so that the network does not depend on the
    scanner. The source is matched to the soft kernel as in inference (`bundle.scanner.matched_window`), with typical
    errors of kernel estimation, and sometimes not at all. If a target is present, the pair is real and only the source
    is matched. Noise that comes with the CT (`bundle.training.data.noise`) replaces drawn noise.

    Args:
        keys: the CT in HU, `(1, *spatial)`; replaced by the source, `kernel_pair_reach` voxels smaller on each side.
        label_key: key of the target.
        dose: range of the dose, drawn log-uniformly (see `bundle.scanner.acquire`).
        thickness: range of the slice thickness in mm, drawn log-uniformly; up to ``MOST_SLICES`` are averaged.
        same_kernel_prob: probability that source and target share a kernel, which teaches to leave soft images alone.
        quantize_prob: probability that the source is rounded and clipped to the 12 bits of a scanner.
        found_prob: probability that the source's kernel was found, so that the source is matched.
        found_error: standard deviation of the found kernel's parameters, relative to the true ones (see `misjudged`).
        wrong_prob: probability that the found kernel is any other kernel.
    """

    def __init__(
        self,
        keys: KeysCollection,
        label_key: str = "label",
        dose: tuple[float, float] = (15.0, 1000.0),
        thickness: tuple[float, float] = (0.6, 8.0),
        same_kernel_prob: float = 0.05,
        quantize_prob: float = 0.5,
        found_prob: float = 0.9,
        found_error: float = 0.04,
        wrong_prob: float = 0.03,
    ) -> None:
        MapTransform.__init__(self, keys)
        self.label_key, self.dose, self.thickness = label_key, dose, thickness
        self.same_kernel_prob, self.quantize_prob = same_kernel_prob, quantize_prob
        self.found_prob, self.found_error, self.wrong_prob = found_prob, found_error, wrong_prob

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Replace the CT by source and target; replace both images of a real pair."""
        out = dict(data)
        spacing = tuple(out["spacing"])
        noise = [out.pop(field)[0] for field in FIELDS if field in out]
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
                source, target = draw.acquisition.pair(out[key][0], spacing, draw.seed, out["origin"], noise)
            else:
                source, target = self.acquisition(spacing, generator).pair(out[key][0], spacing, generator, None, noise)
            out[key], out[self.label_key] = source[None], target[None]
        out.pop("kernel", None)
        return out

    def acquisition(self, spacing: Sequence[float], generator: torch.Generator) -> SimulatedScan:
        """Draw the parameters of a scan."""
        kernel = scanner.SOFT if self.R.rand() < self.same_kernel_prob else scanner.Kernel.random(generator)
        slices = 1
        if len(spacing) == 3:
            wanted = float(np.exp(self.R.uniform(*np.log(self.thickness)))) / spacing[2]
            slices = 2 * min(int(wanted / 2), MOST_SLICES // 2) + 1
        return SimulatedScan(
            kernel,
            dose=float(np.exp(self.R.uniform(*np.log(self.dose)))),
            slices=slices,
            digital=bool(self.R.rand() < self.quantize_prob),
            found=self.misjudge(kernel, generator) if self.R.rand() < self.found_prob else None,
            turn=float(self.R.uniform(2 * np.pi)),
        )

    def misjudge(self, kernel: scanner.Kernel, generator: torch.Generator) -> scanner.Kernel:
        """Return a kernel as it might be estimated from noise: slightly wrong, sometimes completely wrong."""
        drawn = misjudged(kernel, self.found_error, self.R)
        return scanner.Kernel.random(generator) if self.R.rand() < self.wrong_prob else drawn


class FindKerneld(MapTransform):
    """Estimate the kernel of real source images from their noise, and add it as ``kernel``.

    Args:
        keys: the source, a `PackedImage`; its kernel is estimated once per file, and only if there is a target.
        label_key: key of the target.
    """

    def __init__(self, keys: KeysCollection, label_key: str = "label") -> None:
        super().__init__(keys)
        self.label_key = label_key
        self.known: dict[str, scanner.Kernel | None] = {}

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Add the kernel if there is a target; null without enough flat tissue."""
        out = dict(data)
        for key in self.key_iterator(out):
            image: PackedImage = out[key]
            if self.label_key in out and len(image.shape) == 4:
                if image.path not in self.known:
                    self.known[image.path] = scanner.find_kernel(image[0, ...], spacing_of(image, 3))
                out["kernel"] = self.known[image.path]
        return out


def kernel_pair_reach(spatial_dims: int, kernel_pairs: bool = True) -> tuple[int, ...]:
    """Return the voxels that `RandKernelPaird` crops on each side, per axis; zeros without kernel pairs."""
    sides = (2 * scanner.RADIUS, 2 * scanner.RADIUS, MOST_SLICES // 2) if kernel_pairs else (0, 0, 0)
    return sides[:spatial_dims]


def as_shown(sharp: Tensor, spacing: Sequence[float], found: scanner.Kernel | None) -> Tensor:
    """Return the source as the cascade sees it in inference, cropped by `RADIUS` voxels on each side of the slice."""
    if found is None:
        return _inner(sharp)
    volume = sharp[..., None] if sharp.ndim == 2 else sharp
    shown = scanner.matched_window(volume, spacing, found)
    return shown[..., 0] if sharp.ndim == 2 else shown


def misjudged(kernel: scanner.Kernel, error: float, random: np.random.RandomState) -> scanner.Kernel:
    """Return a slightly wrong kernel: half and position are off by ``error``, order and edge by more.

    Noise determines the order and the edge less precisely.
    """
    half, order, edge, position = random.normal(size=4) * error
    return scanner.Kernel(
        half=kernel.half * float(np.exp(half)),
        order=kernel.order * float(np.exp(3 * order)),
        edge=max(0.0, kernel.edge + 2 * float(edge)),
        position=kernel.position * float(np.exp(position)),
        cutoff=kernel.cutoff,
    )


def _inner(image: Tensor) -> Tensor:
    """Crop `RADIUS` voxels on each side of the slice."""
    return image[scanner.RADIUS : -scanner.RADIUS, scanner.RADIUS : -scanner.RADIUS]
