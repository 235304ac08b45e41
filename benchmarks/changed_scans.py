"""Change a scan in ways that do not change its kernel, or by a known gain."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from bundle.scanner import Kernel, flat_noise, frequencies
from bundle.scanner.acquisition import HU_RANGE
from bundle.scanner.filters import filter_taps, filtered, with_border
from bundle.scanner.finding import rings
from bundle.scanner.flat import SIDE
from bundle.scanner.kernel import noise_power
from bundle.scanner.padding import padding, prepared, put_back

COARSER = 1.3

#: A scan, `(x, y, z)` in HU, and its voxel spacing in mm.
Scan = tuple[Tensor, tuple[float, ...]]
Change = Callable[[Tensor, tuple[float, ...], Kernel], Scan]
Gain = Callable[[Tensor, tuple[float, ...]], Tensor]


def stored(image: Tensor, like: Tensor) -> Tensor:
    """Return a changed scan as a scanner stores it, with the padding of the original."""
    return put_back(image.round().clamp(*HU_RANGE), like, padding(like))


def passed(gain: Gain) -> Change:
    """Return the change that filters a scan by a radial gain in the slice."""

    def change(image: Tensor, spacing: tuple[float, ...], _: Kernel) -> Scan:
        taps = filter_taps(gain(frequencies(spacing[:2]), spacing), mean=1.0)
        return stored(filtered(with_border(prepared(image, padding(image))), taps), image), spacing

    return change


def one(at: Tensor, _: tuple[float, ...]) -> Tensor:
    """Return the gain of what leaves the kernel as it is."""
    return torch.ones_like(at)


def gaussian(sigma: float) -> Gain:
    """Return the gain of a Gaussian with ``sigma`` in pixels."""
    return lambda at, spacing: torch.exp(-2 * (math.pi * sigma * spacing[0] * at) ** 2)


def sharper(at: Tensor, _: tuple[float, ...]) -> Tensor:
    """Return a gain that rises to 1.3."""
    return 1 + 0.3 * (1 - torch.exp(-((at / 0.3) ** 2)))


def bilinear(at: Tensor, spacing: tuple[float, ...]) -> Tensor:
    """Return the gain of linear interpolation between pixels."""
    return torch.sinc(at * spacing[0]) ** 2


def coarser(image: Tensor, spacing: tuple[float, ...], _: Kernel) -> Scan:
    """Sample a scan anew, linearly, in larger pixels; padding is -1024 HU there."""
    outside = padding(image)
    steps = [torch.arange(0, side - 1, COARSER) * 2 / (side - 1) - 1 for side in image.shape[:2]]
    grid = torch.stack(torch.meshgrid(*steps, indexing="ij")[::-1], -1)[None]

    def sampled(given: Tensor) -> Tensor:
        return F.grid_sample(given.movedim(-1, 0)[None].float(), grid, align_corners=True)[0].movedim(0, -1)

    made = sampled(prepared(image, outside)).round().clamp(*HU_RANGE)
    made = made if outside is None else torch.where(sampled(outside) > 0, float(HU_RANGE[0]), made)
    return made, (spacing[0] * COARSER, spacing[1] * COARSER, spacing[2])


def noisier(image: Tensor, spacing: tuple[float, ...], kernel: Kernel) -> Scan:
    """Add noise of the scan's own kernel, to twice the standard deviation; none without flat tissue."""
    noise, mean = flat_noise(image, spacing), rings(spacing[:2])
    if not noise.count or not len(mean):
        return image, spacing
    modelled = sum(noise_power(kernel, spacing[:2], SIDE), torch.zeros(SIDE, SIDE, dtype=torch.float64))
    more = 3 * (mean @ noise.mean().ravel()).sum() / (mean @ modelled.ravel()).sum()
    generator, total = torch.Generator().manual_seed(0), prepared(image, padding(image))
    for power in noise_power(kernel, spacing[:2]):
        white = torch.randn(image.shape, generator=generator)
        total = total + filtered(with_border(white), filter_taps((more * power / math.prod(spacing[:2])).sqrt()))
    return stored(total, image), spacing


def circle(value: float, part: float) -> Change:
    """Return the change that fills a scan with a value outside a circle, a part of the longer side wide."""

    def change(image: Tensor, spacing: tuple[float, ...], _: Kernel) -> Scan:
        x, y = (torch.arange(side) - (side - 1) / 2 for side in image.shape[:2])
        away = torch.hypot(x[:, None], y[None, :]) > part * max(image.shape[:2]) / 2
        return torch.where(away[..., None], value, image), spacing

    return change


def cut(*of: tuple[float, float]) -> Change:
    """Return the change that keeps a part of each axis."""
    return lambda image, spacing, _: (
        image[tuple(slice(int(a * n), int(b * n)) for (a, b), n in zip(of, image.shape, strict=False))],
        spacing,
    )


def pairs(image: Tensor, spacing: tuple[float, ...], _: Kernel) -> Scan:
    """Average every two slices."""
    depth = image.shape[2] // 2 * 2
    return (image[..., :depth:2] + image[..., 1:depth:2]) / 2, (*spacing[:2], 2 * spacing[2])


CHANGES: dict[str, tuple[Change, Gain]] = {
    "turned by 90 degrees": (lambda image, mm, _: (image.transpose(0, 1).flip(0), (mm[1], mm[0], mm[2])), one),
    "left half": (cut((0, 0.5)), one),
    "front half": (cut((0, 1), (0, 0.5)), one),
    "centre without skin": (cut((0.25, 0.75), (0.25, 0.75)), one),
    "every other slice": (lambda image, mm, _: (image[..., ::2], (*mm[:2], 2 * mm[2])), one),
    "middle slice": (lambda image, mm, _: (image[..., image.shape[2] // 2 :][..., :1], mm), one),
    "every two slices averaged": (pairs, one),
    "5 HU more": (lambda image, mm, _: (image + 5, mm), one),
    "clipped at -1000 HU": (lambda image, mm, _: (image.clamp(min=-1000), mm), one),
    **{
        f"{value} HU outside a {kind} circle": (circle(value, part), one)
        for kind, part in (("wide", 0.95), ("narrow", 0.75))
        for value in (-1024, -1000, 0)
    },
    "noise twice as strong": (noisier, one),
    **{f"Gaussian of {sigma} pixels": (passed(gaussian(sigma)), gaussian(sigma)) for sigma in (0.5, 0.8, 1.2)},
    "sharpened by up to 30 %": (passed(sharper), sharper),
    "pixels 1.3 times as large": (coarser, bilinear),
}
