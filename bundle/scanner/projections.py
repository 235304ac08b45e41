"""Quantum noise of a CT slice, made in projections, before any kernel: it depends on what the rays have passed.

Signal and noise add, and a kernel is a filter of each, so noise alone is reconstructed, once, and filtered later:

    slice -> line integrals p -> photons N ~ flux exp(-p) -> noise of variance 1/N + e/N^2 -> ramp -> backprojection

Rays are parallel, as a scanner rebins them. Noise is then weaker in lung than in the mediastinum, and streaked along
rays that pass both shoulders. Noise power of filtered backprojection: Riederer, Pelc and Chesler, Phys Med Biol 23
(1978) 446; bow tie, tube current and electronics: Zabic et al., Med Phys 40 (2013) 031102.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from bundle.scanner.kernel import NOISE_POWER, frequencies
from torch import Tensor
from torch.nn import functional as F

MU_WATER = 0.0193  # 1/mm, at 70 keV
VIEWS = 576  # over half a turn
OVERSAMPLING = 2  # bins of the detector in a pixel
COARSE = 2  # line integrals are smooth: they are computed on pixels and views so many times coarser
SOFT_TISSUE = (-100.0, 150.0)  # HU, where the level is set


@dataclass(frozen=True)
class Beam:
    """What decides how much the noise depends on the rays.

    Args:
        photons: that reach a bin of the detector without a body, at dose 100.
        electronics: variance of the detector's own noise, in photons squared.
        bow_tie: radius in mm of the cylinder of water that the bow tie filter evens out; `math.inf` for no filter.
        modulation: 0: the same tube current for every view; 1: so much more that all views are as noisy.
    """

    photons: float = 1e5
    electronics: float = 30.0
    bow_tie: float = 280.0
    modulation: float = 0.5

    @staticmethod
    def random(generator: torch.Generator) -> Beam:
        """Draw: photons 2e4..4e5, electronics 5..50 (both log-uniform), bow tie 180..400 mm, modulation 0..1."""
        a, b, c, d = torch.rand(4, generator=generator, dtype=torch.float64).tolist()
        return Beam(2e4 * 20**a, 5 * 10**b, 180 + 220 * c, d)


def projection_noise(
    image: Tensor, spacing: Sequence[float], generator: torch.Generator, beam: Beam | None = None, fields: int = 1
) -> Tensor:
    """Return noise of a slice before any kernel, at dose 100 on average over its soft tissue.

    Args:
        image: `(x, y)` in HU.
        spacing: pixel size in mm, per axis.
        generator: draws the noise.
        beam: see `Beam`.
        fields: number of independent draws.

    Returns:
        `(fields, x, y)` in HU, float32, with the power of `noise_power` before kernel and folding where the tissue is
        soft; on a slice without soft tissue, over all.
    """
    beam = beam or Beam()
    bin_size = min(float(size) for size in spacing) / OVERSAMPLING
    deviation = _deviations(image, spacing, beam, bin_size)
    drawn = torch.randn((fields, *deviation.shape), generator=generator) * deviation
    noise = _backprojected(_ramp(drawn), image.shape, spacing, bin_size)
    tissue = (image > SOFT_TISSUE[0]) & (image < SOFT_TISSUE[1])
    judged = noise[:, tissue] if tissue.sum() > 1000 else noise.flatten(1)
    return noise * (_expected(spacing, bin_size) / judged.square().mean()).sqrt()


def _deviations(image: Tensor, spacing: Sequence[float], beam: Beam, bin_size: float) -> Tensor:
    """Return the deviation of each ray's line integral, `(views, bins)`."""
    p = _line_integrals(image, spacing)
    rays = p.shape[1]
    across = (torch.arange(rays) - (rays - 1) / 2) * min(spacing) * COARSE
    if math.isfinite(beam.bow_tie):
        missing = 2 * (beam.bow_tie - (beam.bow_tie**2 - across.square()).clamp(min=0).sqrt())
        flux = torch.exp(-MU_WATER * missing).clamp(min=0.02)
    else:
        flux = torch.ones(rays)
    current = torch.exp(beam.modulation * (p.amax(1) - p.amax(1).mean()))
    photons = (beam.photons * current[:, None] * flux * torch.exp(-p)).clamp(min=1.0)
    deviation = (1 / photons + beam.electronics / photons.square()).sqrt()
    bins = round(rays * min(spacing) * COARSE / bin_size)
    return F.interpolate(deviation[None, None], (VIEWS, bins), mode="bilinear", align_corners=False)[0, 0]


def _line_integrals(image: Tensor, spacing: Sequence[float]) -> Tensor:
    """Return the attenuation along rays, `(VIEWS / COARSE, rays)`, on a grid that is `COARSE` times the pixel size."""
    mu = MU_WATER * (1 + image.float() / 1000).clamp(min=0)
    extent = [size * mm for size, mm in zip(image.shape, spacing, strict=True)]
    pitch = min(spacing) * COARSE
    rays = math.ceil(math.hypot(*extent) / pitch) + 2
    at = (torch.arange(rays) - (rays - 1) / 2) * pitch
    out = []
    for angle in torch.arange(VIEWS // COARSE) * math.pi / (VIEWS // COARSE):
        x = at[:, None] * angle.cos() - at[None, :] * angle.sin()
        y = at[:, None] * angle.sin() + at[None, :] * angle.cos()
        grid = torch.stack([y * 2 / extent[1], x * 2 / extent[0]], -1)[None]
        out.append(F.grid_sample(mu[None, None], grid, align_corners=False)[0, 0].sum(1) * pitch)
    return torch.stack(out)


def _ramp(rays: Tensor) -> Tensor:
    """Filter along the detector by the ramp, up to the pixels' Nyquist frequency; what interpolation takes is added."""
    size = 2 ** math.ceil(math.log2(2 * rays.shape[-1]))
    frequency = torch.fft.rfftfreq(size)  # cycles per bin
    gain = frequency * (frequency <= 0.5 / OVERSAMPLING) / torch.sinc(frequency) ** 2
    return torch.fft.irfft(torch.fft.rfft(rays, size) * gain, size)[..., : rays.shape[-1]]


def _backprojected(rays: Tensor, shape: Sequence[int], spacing: Sequence[float], bin_size: float) -> Tensor:
    """Sum filtered rays over the views, linear between bins: `(fields, *shape)`."""
    fields, views, bins = rays.shape
    x, y = ((torch.arange(n) - (n - 1) / 2) * mm / bin_size for n, mm in zip(shape, spacing, strict=True))
    out = torch.zeros(fields, math.prod(shape))
    for view, angle in enumerate(torch.arange(views) * math.pi / views):
        at = ((x * angle.cos())[:, None] + (y * angle.sin())[None, :] + (bins - 1) / 2).flatten()
        below = at.int()
        share = at - below
        for field in range(fields):
            values = rays[field, view]
            step = F.pad(values.diff(), (0, 1))
            out[field] += values.index_select(0, below).addcmul_(step.index_select(0, below), share)
    return out.unflatten(1, tuple(shape))


def _expected(spacing: Sequence[float], bin_size: float) -> float:
    """Return the variance of noise before the kernel, up to the frequency where the ramp ends, in HU^2."""
    size = (256, 256)
    frequency = frequencies(spacing, size=size)
    area = math.prod(1 / (n * mm) for n, mm in zip(size, spacing, strict=True))
    return float(NOISE_POWER * frequency[frequency <= 0.5 / (bin_size * OVERSAMPLING)].sum() * area)
