"""The best linear filter that is the same in all directions: cross spectrum over power spectrum, by radial frequency.

gain(f) = mean of Re(conj(S) T) / mean of |S|^2      S, T: spectra of source and target slices; the Wiener filter
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from bundle.evaluation.cases import Pair
from bundle.evaluation.methods.method import LIMITS, Filter
from bundle.images import Volume, slabs
from torch import Tensor
from torch.nn import functional as F

WIDTH = 0.02  # cycles/mm, of a bin
BINS = 100
PAD = 32  # voxels the border is repeated before the filter is applied by FFT


@dataclass(frozen=True)
class RadialFilter(Filter):
    """Multiply each slice's spectrum by a gain for its radial frequency.

    Args:
        gains: one for each bin of ``WIDTH`` cycles/mm, from 0 on; null: to be fitted.
    """

    gains: tuple[float, ...] | None = None

    @property
    def name(self) -> str:
        """What it is."""
        return "radial linear filter"

    @property
    def free(self) -> bool:
        """Whether the gains are not known."""
        return self.gains is None

    def tuned(self, pairs: Sequence[Pair]) -> RadialFilter:
        """Fitted to pairs, where the gains were not given."""
        return replace(self, gains=fitted_gains(pairs)) if self.free else self

    def filtered(self, slab: Tensor, spacing: Sequence[float]) -> Tensor:
        """Filter each slice, its border repeated."""
        assert self.gains is not None
        slices = F.pad(slab.movedim(-1, 0)[:, None], (PAD,) * 4, mode="replicate")[:, 0]
        size = tuple(slices.shape[1:])
        radius = frequencies(size, spacing)[:, : size[1] // 2 + 1]
        centres = (np.arange(len(self.gains)) + 0.5) * WIDTH
        gain = torch.from_numpy(np.interp(radius.numpy(), [0.0, *centres], [1.0, *self.gains])).float()
        made = torch.fft.irfft2(torch.fft.rfft2(slices) * gain, s=size)
        return made[:, PAD:-PAD, PAD:-PAD].movedim(0, -1).contiguous()


def fitted_gains(pairs: Sequence[Pair]) -> tuple[float, ...]:
    """The gains that bring the sources closest to their targets, in HU; beyond what was seen the last one holds."""
    cross, power = np.zeros(BINS), np.zeros(BINS)
    for pair in pairs:
        source, target = Volume(pair.source), Volume(pair.target)
        size = source.shape[:2]
        fade = torch.hann_window(size[0], False)[:, None] * torch.hann_window(size[1], False)
        bins = np.minimum((frequencies(size, source.spacing) / WIDTH).long().numpy(), BINS - 1).ravel()
        for start, stop in slabs(source.shape[2]):
            pieces = [image.slab(start, stop).clamp(*LIMITS).movedim(-1, 0) for image in (source, target)]
            mean = pieces[1].mean((1, 2), keepdim=True)
            a, b = (torch.fft.fft2(((piece - mean) * fade).double()) for piece in pieces)
            cross += np.bincount(bins, (a.conj() * b).real.sum(0).numpy().ravel(), BINS)
            power += np.bincount(bins, a.abs().square().sum(0).numpy().ravel(), BINS)
    seen = np.flatnonzero(power)
    gains = np.interp(np.arange(BINS), seen, cross[seen] / power[seen])
    return tuple(float(gain) for gain in gains)


def frequencies(size: Sequence[int], spacing: Sequence[float]) -> Tensor:
    """The radial frequency in cycles/mm on the grid of an FFT, `(x, y)`."""
    x, y = (torch.fft.fftfreq(side, mm, dtype=torch.float64) for side, mm in zip(size, spacing, strict=False))
    return torch.hypot(x[:, None], y)
