"""Simulate a low-dose source and its higher-dose target: the same kernel, and noise that depends on the object.

    target = T (image + n1)        source = T (image + n1 + n2)        variance of n ~ 1 / dose

The source has all of the target's noise and more, like scans whose dose is reduced retrospectively.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from bundle import scanner
from bundle.training.data.noise import FIELDS, mixed
from bundle.training.data.simulated_pairs import MOST_SLICES
from monai.config import KeysCollection
from monai.transforms import MapTransform, Randomizable
from torch import Tensor

#: Lowest HU that some programs write.
NO_LOWER = -1000.0


@dataclass(frozen=True)
class DoseScan:
    """Two simulated scans of one patient at different doses.

    Args:
        kernel: reconstruction kernel of both.
        dose: dose of the source, after slices are averaged (see `bundle.scanner.acquire`).
        ratio: dose of the target divided by that of the source; with `math.inf` the target is the image itself.
        slices: number of slices that are averaged, odd.
        anatomy: kernel that the image is assumed to have; a softer one makes its edges sharper.
        turn: angle in radians that mixes the two draws of noise, so that each scan has its own noise.
        digital: round and clip both to the 12 bits of a scanner; the source's clipping is then undone as in inference.
        clipped: clip both at -1000 HU, as some programs do.
    """

    kernel: scanner.Kernel
    dose: float
    ratio: float = math.inf
    slices: int = 1
    anatomy: scanner.Kernel = scanner.SOFT
    turn: float = 0.0
    digital: bool = True
    clipped: bool = False

    def pair(self, image: Tensor, spacing: Sequence[float], noise: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Return source and target of an image, each `kernel_pair_reach` voxels smaller on each side.

        Args:
            image: `(x, y, z)` in HU.
            spacing: voxel spacing in mm.
            noise: two draws of noise of the image's shape (`bundle.training.data.noise`).
        """
        extra = (MOST_SLICES - self.slices) // 2
        image, *draws = (each[..., extra : each.shape[2] - extra] for each in (image, *noise))
        a, b = mixed(draws[0], draws[1], self.turn)
        high, low = self.dose * self.ratio, self.dose / (1 - 1 / self.ratio)
        common: dict[str, Any] = {"spacing": spacing, "kernels": [self.kernel], "quantize": False}
        common |= {"slice_thickness": self.slices, "image_kernel": self.anatomy}
        (target,) = scanner.acquire(image, dose=high / self.slices, noise=a, **common)
        (more,) = scanner.acquire(torch.zeros_like(image), dose=low / self.slices, noise=b, **common)
        source = target + more
        if self.digital:
            source, target = (each.round().clamp(*scanner.HU_RANGE) for each in (source, target))
        if self.clipped:
            source, target = (each.clamp(min=NO_LOWER) for each in (source, target))
        source = scanner.unclipped(source)
        inner = slice(scanner.RADIUS, -scanner.RADIUS)
        return source[inner, inner], target[inner, inner]


class RandDosePaird(Randomizable, MapTransform):
    """Simulate a low-dose and a higher-dose scan from a CT and its noise.

    Args:
        keys: the CT in HU, `(1, x, y, z)`; replaced by the source, `kernel_pair_reach` voxels smaller on each side.
        label_key: key of the target; a real target is kept.
        dose: range of the source's dose, drawn log-uniformly.
        ratio: range of the target's dose over the source's, drawn log-uniformly.
        clean_prob: probability that the target is the image itself.
        thickness: range of the slice thickness in mm, drawn log-uniformly; up to ``MOST_SLICES`` are averaged.
        half: range of the kernel's half-gain frequency in cycles/mm, drawn log-uniformly (see `bundle.scanner.Kernel`).
        anatomy: range of the half-gain frequency of the kernel that the CT is assumed to have, drawn uniformly.
        quantize_prob: probability that both are rounded and clipped to the 12 bits of a scanner.
        clip_prob: probability that both are clipped at -1000 HU.
    """

    def __init__(
        self,
        keys: KeysCollection,
        label_key: str = "label",
        dose: tuple[float, float] = (2.0, 150.0),
        ratio: tuple[float, float] = (2.0, 10.0),
        clean_prob: float = 0.2,
        thickness: tuple[float, float] = (0.6, 8.0),
        half: tuple[float, float] = (0.28, 0.85),
        anatomy: tuple[float, float] = (0.31, 0.4),
        quantize_prob: float = 0.9,
        clip_prob: float = 0.1,
    ) -> None:
        MapTransform.__init__(self, keys)
        self.label_key, self.dose, self.ratio, self.thickness, self.half = label_key, dose, ratio, thickness, half
        self.anatomy = anatomy
        self.clean_prob, self.quantize_prob, self.clip_prob = clean_prob, quantize_prob, clip_prob

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Replace the CT by source and target."""
        out = dict(data)
        spacing = tuple(out["spacing"])
        for key in self.key_iterator(out):
            inner = (slice(None), *(slice(m, -m) for m in (2 * scanner.RADIUS, 2 * scanner.RADIUS, MOST_SLICES // 2)))
            if self.label_key in out:
                out[key], out[self.label_key] = out[key][inner], out[self.label_key][inner]
            else:
                scan = out["generated"].acquisition if "generated" in out else self.acquisition(spacing)
                source, target = scan.pair(out[key][0], spacing, [out[field][0] for field in FIELDS])
                out[key], out[self.label_key] = source[None], target[None]
        for field in FIELDS:
            out.pop(field, None)
        return out

    def acquisition(self, spacing: Sequence[float], _: torch.Generator | None = None) -> DoseScan:
        """Draw the parameters of a pair of scans."""
        wanted = float(np.exp(self.R.uniform(*np.log(self.thickness)))) / spacing[2]
        kernel = scanner.Kernel(
            half=float(np.exp(self.R.uniform(*np.log(self.half)))),
            order=float(1.8 * 3 ** self.R.rand()),
            edge=float(0.6 * self.R.rand() ** 2),
            position=float(self.R.uniform(0.1, 0.5)),
        )
        return DoseScan(
            kernel,
            dose=float(np.exp(self.R.uniform(*np.log(self.dose)))),
            ratio=math.inf if self.R.rand() < self.clean_prob else float(np.exp(self.R.uniform(*np.log(self.ratio)))),
            slices=2 * min(int(wanted / 2), MOST_SLICES // 2) + 1,
            anatomy=scanner.Kernel(half=float(self.R.uniform(*self.anatomy)), order=scanner.SOFT.order),
            turn=float(self.R.uniform(2 * math.pi)),
            digital=bool(self.R.rand() < self.quantize_prob),
            clipped=bool(self.R.rand() < self.clip_prob),
        )
