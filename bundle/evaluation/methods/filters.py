"""The baselines without a network: Gaussians, non-local means, and the matched noise spectrum."""

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
        sigma: in mm, which is the same on every scanner, unlike a number of voxels; null: to be tuned.
    """

    sigma: float | None = None
    title: ClassVar[str] = "Gaussian"
    parameter: ClassVar[str] = "sigma"
    label: ClassVar[str] = ", sigma {:g} mm"

    def fit(self, pairs: Sequence[Pair]) -> float:
        """Return the sigma of the highest SSIM."""
        return best_value(Gaussian, (0.1, 2.5), pairs)

    def filtered(self, slab: Tensor, spacing: Sequence[float]) -> Tensor:
        """Smooth in x and y."""
        assert self.sigma is not None
        widths = (self.sigma / spacing[0], self.sigma / spacing[1], 0)
        return torch.from_numpy(gaussian_filter(slab.numpy(), widths, mode="nearest"))


@dataclass(frozen=True)
class FixedGaussian(Filter):
    """Smooth each slice by a Gaussian of a fixed width: the cheapest rival, which nothing is tuned for.

    Args:
        sigma: in pixels.
    """

    sigma: float
    title: ClassVar[str] = "Gaussian"

    @property
    def name(self) -> str:
        """The title with the width."""
        return f"{self.title} of {self.sigma:g} px, fixed"

    def filtered(self, slab: Tensor, spacing: Sequence[float]) -> Tensor:  # noqa: ARG002 - it works in pixels
        """Smooth in x and y."""
        return torch.from_numpy(gaussian_filter(slab.numpy(), (self.sigma, self.sigma, 0), mode="nearest"))


@dataclass(frozen=True)
class NonLocalMeans(Filter):
    """Denoise by non-local means in 3D: patches of 3 voxels a side, searched up to 5 voxels away, in the fast mode.

    Args:
        strength: the filter's ``h``, in HU; null: to be tuned.
    """

    strength: float | None = None
    title: ClassVar[str] = "non-local means 3D"
    parameter: ClassVar[str] = "strength"
    label: ClassVar[str] = ", h {:g} HU"
    patch: ClassVar[int] = 3
    distance: ClassVar[int] = 5
    depth: ClassVar[int] = 64  # many at once, because the halo is computed twice
    halo: ClassVar[int] = distance + patch // 2

    def fit(self, pairs: Sequence[Pair]) -> float:
        """Return the strength of the highest SSIM."""
        return best_value(NonLocalMeans, (5.0, 150.0), pairs)

    def filtered(self, slab: Tensor, spacing: Sequence[float]) -> Tensor:  # noqa: ARG002 - it works in voxels
        """Denoise; the border of few slices is repeated for the patches."""
        assert self.strength is not None
        image = slab.numpy()
        return torch.from_numpy(denoise_nl_means(image, self.patch, self.distance, h=self.strength, fast_mode=True))


@dataclass(frozen=True)
class SpectrumMatch(Filter):
    """Find the scan's kernel from its noise and filter it into the soft one: blind, without tuning.

    Args:
        kernel: of the scan; null: to be found in the image.
        blind: whether it was not found, so that the image is left unchanged.
    """

    kernel: scanner.Kernel | None = None
    blind: bool = False
    title: ClassVar[str] = "noise spectrum matched, blind"

    def settled(self, image: Volume) -> SpectrumMatch:
        """Return the filter with the kernel of an image."""
        if self.kernel:
            return self
        kernel = scanner.find_kernel(image, image.spacing)
        return replace(self, kernel=kernel, blind=kernel is None)

    def filtered(self, slab: Tensor, spacing: Sequence[float]) -> Tensor:
        """Match each slice to the soft kernel."""
        assert self.kernel or self.blind, "settle it on an image first"
        return scanner.matched(slab, spacing, self.kernel) if self.kernel else slab
