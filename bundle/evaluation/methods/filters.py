"""Baselines without a network: Gaussian filters, non-local means, and noise spectrum matching."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from bundle import scanner
from bundle.evaluation.cases import Pair
from bundle.evaluation.methods.method import Filter
from bundle.evaluation.methods.tuning import best_value
from bundle.images import Volume
from scipy.ndimage import gaussian_filter
from skimage.restoration import denoise_nl_means
from torch import Tensor


@dataclass(frozen=True)
class Gaussian(Filter):
    """Smooth each slice by a Gaussian.

    Args:
        sigma: standard deviation in mm, which, unlike voxels, means the same on every scanner; null: to be tuned.
    """

    sigma: float | None = None
    title: ClassVar[str] = "Gaussian"
    parameter: ClassVar[str] = "sigma"
    label: ClassVar[str] = ", sigma {:g} mm"

    def fit(self, pairs: Sequence[Pair]) -> float:
        """Return the sigma with the highest SSIM."""
        return best_value(Gaussian, (0.1, 2.5), pairs)

    def filtered(self, slab: Tensor, spacing: Sequence[float]) -> Tensor:
        """Smooth in x and y."""
        assert self.sigma is not None
        widths = (self.sigma / spacing[0], self.sigma / spacing[1], 0)
        return torch.from_numpy(gaussian_filter(slab.numpy(), widths, mode="nearest"))


@dataclass(frozen=True)
class FixedGaussian(Filter):
    """Smooth each slice by a Gaussian of fixed width: the simplest baseline, without tuning.

    Args:
        sigma: standard deviation in pixels.
    """

    sigma: float
    title: ClassVar[str] = "Gaussian"

    @property
    def name(self) -> str:
        """Title with the width."""
        return f"{self.title} of {self.sigma:g} px, fixed"

    def filtered(self, slab: Tensor, spacing: Sequence[float]) -> Tensor:  # noqa: ARG002 - it works in pixels
        """Smooth in x and y."""
        return torch.from_numpy(gaussian_filter(slab.numpy(), (self.sigma, self.sigma, 0), mode="nearest"))


@dataclass(frozen=True)
class NonLocalMeans(Filter):
    """Denoise by non-local means in 3D, in fast mode, with patches of 3 voxels per side and a search distance of 5.

    Args:
        strength: the filter's ``h``, in HU; null: to be tuned.
    """

    strength: float | None = None
    title: ClassVar[str] = "non-local means 3D"
    parameter: ClassVar[str] = "strength"
    label: ClassVar[str] = ", h {:g} HU"
    patch: ClassVar[int] = 3
    distance: ClassVar[int] = 5
    depth: ClassVar[int] = 64  # thick slabs, because the halo is computed twice
    halo: ClassVar[int] = distance + patch // 2

    def fit(self, pairs: Sequence[Pair]) -> float:
        """Return the strength with the highest SSIM."""
        return best_value(NonLocalMeans, (5.0, 150.0), pairs)

    def filtered(self, slab: Tensor, spacing: Sequence[float]) -> Tensor:  # noqa: ARG002 - it works in voxels
        """Denoise; with few slices, border slices are repeated to fit the patches."""
        assert self.strength is not None
        image = slab.numpy()
        return torch.from_numpy(denoise_nl_means(image, self.patch, self.distance, h=self.strength, fast_mode=True))


@dataclass(frozen=True)
class SpectrumMatch(Filter):
    """Estimate the scan's kernel from its noise and filter it to the soft kernel, without tuning.

    Args:
        kernel: kernel of the scan; null: to be estimated from the image.
        blind: whether no kernel was found, so that the image is left unchanged.
    """

    kernel: scanner.Kernel | None = None
    blind: bool = False
    title: ClassVar[str] = "noise spectrum matched, blind"

    def settled(self, image: Volume) -> SpectrumMatch:
        """Return the filter with the kernel estimated from an image."""
        if self.kernel:
            return self
        kernel = scanner.find_kernel(image, image.spacing)
        return replace(self, kernel=kernel, blind=kernel is None)

    def filtered(self, slab: Tensor, spacing: Sequence[float]) -> Tensor:
        """Match each slice to the soft kernel."""
        assert self.kernel or self.blind, "settle it on an image first"
        return scanner.matched(slab, spacing, self.kernel) if self.kernel else slab
