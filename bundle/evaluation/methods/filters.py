"""What a user has without a network: a Gaussian, non-local means, and the noise spectrum matched."""

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
        sigma: in mm, which says the same on every scanner, as a number of voxels does not; null: to be tuned.
    """

    sigma: float | None = None
    bounds: ClassVar[tuple[float, float]] = (0.1, 2.5)

    @property
    def name(self) -> str:
        """With its sigma."""
        return "Gaussian" + (f", sigma {self.sigma:g} mm" if self.sigma else "")

    @property
    def free(self) -> bool:
        """Whether sigma is not known."""
        return self.sigma is None

    def tuned(self, pairs: Sequence[Pair]) -> Gaussian:
        """With the best sigma, where it was not given."""
        return replace(self, sigma=best_value(Gaussian, self.bounds, pairs)) if self.free else self

    def filtered(self, slab: Tensor, spacing: Sequence[float]) -> Tensor:
        """Smooth in x and y."""
        assert self.sigma is not None
        widths = (self.sigma / spacing[0], self.sigma / spacing[1], 0)
        return torch.from_numpy(gaussian_filter(slab.numpy(), widths, mode="nearest"))


@dataclass(frozen=True)
class NonLocalMeans(Filter):
    """Denoise by non-local means in 3D: patches of 3 voxels a side, looked for up to 5 voxels away, in the fast mode.

    Args:
        strength: the filter's ``h``, in HU; null: to be tuned.
    """

    strength: float | None = None
    bounds: ClassVar[tuple[float, float]] = (5.0, 150.0)
    patch: ClassVar[int] = 3
    distance: ClassVar[int] = 5
    depth: ClassVar[int] = 64  # many at once, because what is around them is computed twice
    halo: ClassVar[int] = distance + patch // 2

    @property
    def name(self) -> str:
        """With its strength."""
        return "non-local means 3D" + (f", h {self.strength:g} HU" if self.strength else "")

    @property
    def free(self) -> bool:
        """Whether the strength is not known."""
        return self.strength is None

    def tuned(self, pairs: Sequence[Pair]) -> NonLocalMeans:
        """With the best strength, where it was not given."""
        return replace(self, strength=best_value(NonLocalMeans, self.bounds, pairs)) if self.free else self

    def filtered(self, slab: Tensor, spacing: Sequence[float]) -> Tensor:  # noqa: ARG002 - it works in voxels
        """Denoise; few slices are denoised as what they are, with patches that repeat the outer ones."""
        assert self.strength is not None
        image = slab.numpy()
        return torch.from_numpy(denoise_nl_means(image, self.patch, self.distance, h=self.strength, fast_mode=True))


@dataclass(frozen=True)
class SpectrumMatch(Filter):
    """Find the scan's kernel from its noise and filter it into the soft one: blind, nothing to tune.

    Args:
        kernel: the scan's own; null: to be found in the image.
        blind: whether it was looked for in vain, and the image stays as it is.
    """

    kernel: scanner.Kernel | None = None
    blind: bool = False

    @property
    def name(self) -> str:
        """What it is."""
        return "noise spectrum matched, blind"

    def settled(self, image: Volume) -> SpectrumMatch:
        """With the kernel of an image."""
        if self.kernel:
            return self
        kernel = scanner.find_kernel(image, image.spacing)
        return replace(self, kernel=kernel, blind=kernel is None)

    def filtered(self, slab: Tensor, spacing: Sequence[float]) -> Tensor:
        """Match each slice to the soft kernel."""
        assert self.kernel or self.blind, "settle it on an image first"
        return scanner.matched(slab, spacing, self.kernel) if self.kernel else slab
