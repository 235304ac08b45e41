"""Simulate the quantum noise of a CT slice in projections, before any kernel, so that it depends on the anatomy.

Signal and noise add, and a kernel filters both, so only the noise is reconstructed, once, and filtered later:

    slice -> line integrals p -> photons N ~ flux exp(-p) -> noise of variance 1/N + e/N^2 -> ramp -> backprojection

Rays are parallel, as after a scanner's rebinning. The noise is weaker in the lung than in the mediastinum, and forms
streaks along rays that pass both shoulders. Noise power of filtered backprojection: Riederer, Pelc and Chesler, Phys
Med Biol 23 (1978) 446; bow tie, tube current and electronics: Zabic et al., Med Phys 40 (2013) 031102.
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
OVERSAMPLING = 2  # detector bins per pixel
COARSE = 2  # factor by which pixels and views are coarser for line integrals, which are smooth
SOFT_TISSUE = (-100.0, 150.0)  # HU: where the noise level is set


@dataclass(frozen=True)
class Beam:
    """Properties of the X-ray beam and the detector that determine how the noise varies between rays.

    Args:
        photons: photons per detector bin without a patient, at dose 100.
        electronics: variance of the electronic noise, in photons squared.
        bow_tie: radius in mm of the water cylinder for which the bow tie filter compensates; `math.inf` for no filter.
        modulation: tube current modulation, from 0 (the same current for all views) to 1 (equal noise in all views).
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
    """Return the noise of a slice before any kernel, with the level of dose 100 on average over its soft tissue.

    Args:
        image: `(x, y)` in HU.
        spacing: pixel spacing in mm, per axis.
        generator: generator that draws the noise.
        beam: properties of the beam; null for the defaults of `Beam`.
        fields: number of independent draws.

    Returns:
        `(fields, x, y)` in HU, float32. In soft tissue, or everywhere if there is too little, the noise has the power
        of `noise_power` before kernel and aliasing.
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
    """Return the standard deviation of the line integral of each ray, `(views, bins)`."""
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
    """Return line integrals of attenuation, `(VIEWS / COARSE, rays)`, on a grid of `COARSE` times the pixel spacing."""
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
    """Apply the ramp filter along the detector, up to the pixels' Nyquist frequency, and compensate interpolation."""
    size = 2 ** math.ceil(math.log2(2 * rays.shape[-1]))
    frequency = torch.fft.rfftfreq(size)  # cycles per bin
    gain = frequency * (frequency <= 0.5 / OVERSAMPLING) / torch.sinc(frequency) ** 2
    return torch.fft.irfft(torch.fft.rfft(rays, size) * gain, size)[..., : rays.shape[-1]]


def _backprojected(rays: Tensor, shape: Sequence[int], spacing: Sequence[float], bin_size: float) -> Tensor:
    """Backproject filtered rays, with linear interpolation between bins: `(fields, *shape)`."""
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
    """Return the variance of the noise before the kernel, up to the frequency where the ramp ends, in HU^2."""
    size = (256, 256)
    frequency = frequencies(spacing, size=size)
    area = math.prod(1 / (n * mm) for n, mm in zip(size, spacing, strict=True))
    return float(NOISE_POWER * frequency[frequency <= 0.5 / (bin_size * OVERSAMPLING)].sum() * area)
