"""Baseline: the best isotropic linear filter, the ratio of cross spectrum to power spectrum by radial frequency.

gain(f) = mean of Re(conj(S) T) / mean of |S|^2      S, T: spectra of source and target slices; the Wiener filter
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from bundle.evaluation.cases import Pair
from bundle.evaluation.methods.method import Filter
from bundle.images import Volume, slabs
from bundle.scanner import FILTER_RANGE, frequencies
from torch import Tensor
from torch.nn import functional as F

WIDTH = 0.02  # cycles/mm, width of a bin
BINS = 100
PAD = 32  # voxels of replicated border for filtering by FFT


@dataclass(frozen=True)
class RadialFilter(Filter):
    """Multiply each slice's spectrum by a gain for its radial frequency.

    Args:
        gains: one per bin of ``WIDTH`` cycles/mm, from 0 on; null: to be fitted.
    """

    gains: tuple[float, ...] | None = None
    title: ClassVar[str] = "radial linear filter"
    parameter: ClassVar[str] = "gains"

    def fit(self, pairs: Sequence[Pair]) -> tuple[float, ...]:
        """Return the fitted gains."""
        return fitted_gains(pairs)

    def filtered(self, slab: Tensor, spacing: Sequence[float]) -> Tensor:
        """Filter each slice, with replicated borders."""
        assert self.gains is not None
        slices = F.pad(slab.movedim(-1, 0)[:, None], (PAD,) * 4, mode="replicate")[:, 0]
        size = tuple(slices.shape[1:])
        radius = frequencies(spacing[:2], size=size)[:, : size[1] // 2 + 1]
        centres = (np.arange(len(self.gains)) + 0.5) * WIDTH
        gain = torch.from_numpy(np.interp(radius.numpy(), [0.0, *centres], [1.0, *self.gains])).float()
        result = torch.fft.irfft2(torch.fft.rfft2(slices) * gain, s=size)
        return result[:, PAD:-PAD, PAD:-PAD].movedim(0, -1).contiguous()


def fitted_gains(pairs: Sequence[Pair]) -> tuple[float, ...]:
    """Return the gains that bring the sources closest to their targets in HU; the last gain is kept beyond the data."""
    cross, power = np.zeros(BINS), np.zeros(BINS)
    for pair in pairs:
        source, target = Volume(pair.source), Volume(pair.target)
        size = source.shape[:2]
        fade = torch.hann_window(size[0], False)[:, None] * torch.hann_window(size[1], False)
        bins = np.minimum((frequencies(source.spacing[:2], size=size) / WIDTH).long().numpy(), BINS - 1).ravel()
        for start, stop in slabs(source.shape[2]):
            pieces = [image.slab(start, stop).clamp(*FILTER_RANGE).movedim(-1, 0) for image in (source, target)]
            mean = pieces[1].mean((1, 2), keepdim=True)
            a, b = (torch.fft.fft2(((piece - mean) * fade).double()) for piece in pieces)
            cross += np.bincount(bins, (a.conj() * b).real.sum(0).numpy().ravel(), BINS)
            power += np.bincount(bins, a.abs().square().sum(0).numpy().ravel(), BINS)
    filled = np.flatnonzero(power)
    gains = np.interp(np.arange(BINS), filled, cross[filled] / power[filled])
    return tuple(float(gain) for gain in gains)
