"""Estimate a CT's kernel from the CT itself, jointly from its noise in flat soft tissue and the edge of its skin.

No phantom, header entry or second scan is needed. Noise and edge each show what the other does not show of the transfer
function `T`::

    noise(f)^2 = c^2 f T(f)^2        only shape: c depends on the dose. Below .28 cycles/mm it contains anatomy.
    edge(f)    = T(f) exp(-k f^2)    right in height, but k is unknown: skin is soft, and oblique to a thick slice.

`bundle.scanner.Kernel`, c and k are fitted to both. Without skin, the noise is fitted from .12 cycles/mm on, and lower
frequencies are extrapolated; without flat tissue, only the edge is fitted.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from bundle.runtime import one_thread
from bundle.scanner.edge_spread import KNOTS, EdgeSpread, edge_spread
from bundle.scanner.flat import SIDE, FlatNoise, Slices, flat_noise
from bundle.scanner.kernel import TURNS, Kernel, frequencies
from bundle.scanner.transfer import Transfer, sampled
from scipy.optimize import OptimizeResult, least_squares
from torch import Tensor

FEWEST = 12  # fewest patches for which noise is used
NARROW = 3  # fewest knots for which rings are used
ANATOMY = 0.12, 0.28  # cycles/mm: noise is used above the first or, if there is an edge, above the second
HIGHEST = 0.61  # relative to the sampling frequency: above are only the corners of the frequency square
EDGE = 0.04, 0.52  # cycles/mm: where the edge is used, if its gain is above FAINT
FAINT = 0.03
ERROR = 0.03  # relative systematic error of gains and amplitudes, in addition to the random error
LEAKAGE = 0.02  # fraction of the largest amplitude of the noise that leaks to all other frequencies
SOFTEST = 8.0  # mm^2: largest k
USUAL = 0.5  # mm^2: prior standard deviation of k; chosen, like the two above, on simulated scans and with knowledge of
#              the real pairs of `benchmarks.real_pairs`
RESAMPLES = 16
DOUBTFUL = 80.0  # cost of the fit above which skin and noise disagree: most real scans have 5 to 60, skin blurred by
#                  0.65 mm 130, clothes of 2 mm on the skin 360
DISAGREEING = "skin and noise disagree"  # source of a kernel that was fitted at such a cost
STEP = 1e-3  # finite difference of the parameters, for derivatives

#: Takes half, order, edge, position and cutoff of the kernel (the first two as logarithms), log c^2 and k.
Misfit = Callable[[Sequence[float]], np.ndarray]

_KNOTS = np.asarray(KNOTS)
_SCALE = (0.3, 0.3, 0.3, 0.1, 0.3, 1.0, 1.0)

_NOT_BELOW = (math.log(0.2), math.log(1.5), 0.0, 0.25, 0.6, -5.0, 0.0)
_NOT_ABOVE = (math.log(2.0), math.log(10.0), 2.5, 0.8, 2.2, 16.0, SOFTEST)
_STARTS = tuple((math.log(half), math.log(3), 0.2, 0.5, 1.4, 7.0, 1.0) for half in (0.35, 0.6))


@dataclass(frozen=True)
class FoundTransfer(Transfer):
    """A transfer function found in scans, and what the scans showed.

    Args:
        profiles: profiles across the skin.
        noise: noise in flat tissue.
    """

    profiles: EdgeSpread = field(default_factory=EdgeSpread, compare=False, repr=False)
    noise: FlatNoise | None = field(default=None, compare=False, repr=False)


def find_kernel(image: Slices, spacing: Sequence[float]) -> Kernel | None:
    """Return the kernel of a CT, estimated from its noise and its skin; None if there is too little of both.

    Args:
        image: `(x, y, z)` in HU, slices in the first two axes; read slice by slice, in memory that does not grow with
            the CT.
        spacing: voxel spacing in mm of the three axes.
    """
    return fitted_kernel(flat_noise(image, spacing), edge_spread(image, spacing).transfer())


def find_kernel_surely(image: Slices, spacing: Sequence[float]) -> tuple[Kernel, Transfer] | None:
    """Return the kernel of `find_kernel`, and its transfer function with standard deviations, without resampling.

    The deviations are those of the fit: how far edge, noise and prior let the gains vary. They are unknown if there is
    only noise, or if skin and noise disagree; then the source says so.

    Args:
        image: as for `find_kernel`.
        spacing: voxel spacing in mm of the three axes.
    """
    profiles = edge_spread(image, spacing)
    seen = profiles.transfer()
    fit = _fit(flat_noise(image, spacing), seen)
    if fit is None:
        return None
    gains = np.asarray(sampled(_kernel(fit.x), KNOTS))
    doubtful = seen is not None and fit.cost > DOUBTFUL
    told = () if seen is None or doubtful else (0.0, *_deviations(fit, gains)[1:].tolist())
    upright = seen is not None and profiles.upright
    source = DISAGREEING if doubtful else ""
    return _kernel(fit.x), Transfer(KNOTS, (1.0, *gains[1:].tolist()), told, source=source, upright=upright)


def find_transfer(image: Slices, spacing: Sequence[float]) -> FoundTransfer | None:
    """Return the transfer function of a CT with standard deviations; None if it shows too little skin and flat tissue.

    Args:
        image: as for `find_kernel`.
        spacing: voxel spacing in mm of the three axes.
    """
    return found_transfer(edge_spread(image, spacing), flat_noise(image, spacing))


def found_transfer(edge: EdgeSpread, noise: FlatNoise, seed: int = 0) -> FoundTransfer | None:
    """Return the transfer function that fits edge and noise; None if there are too few profiles and too few patches.

    Its standard deviations are unknown if there is only noise.

    Args:
        edge: profiles across the skin, of one CT or of several CTs with the same kernel.
        noise: noise of one CT.
        seed: seed of the resampling, by slices and directions, that gives the deviations.
    """
    seen = edge.transfer()
    kernel = fitted_kernel(noise, seen)
    if kernel is None:
        return None
    gains = np.asarray(sampled(kernel, KNOTS))
    heard = f"noise of {noise.count} patches"
    if seen is None:
        return FoundTransfer(KNOTS, (1.0, *gains[1:].tolist()), source=heard, noise=noise)
    generator, drawn = np.random.default_rng(seed), []
    for _ in range(RESAMPLES):
        again = fitted_kernel(noise.drawn(generator), edge.drawn(generator).transfer() or seen)
        drawn.append(sampled(again or kernel, KNOTS))
    deviations = np.sqrt(np.mean((np.asarray(drawn) - gains) ** 2, 0))
    source = f"{seen.source} and {heard}" if noise.count >= FEWEST else seen.source
    return FoundTransfer(
        KNOTS,
        (1.0, *gains[1:].tolist()),
        (0.0, *deviations[1:].tolist()),
        source=source,
        upright=edge.upright,
        profiles=edge,
        noise=noise,
    )


def fitted_kernel(noise: FlatNoise, edge: Transfer | None = None) -> Kernel | None:
    """Return the kernel that fits best; None if there are fewer than 12 patches and no edge.

    Args:
        noise: noise of a CT.
        edge: the transfer function measured at the skin, or None.
    """
    fit = _fit(noise, edge)
    return None if fit is None else _kernel(fit.x)


def _fit(noise: FlatNoise, edge: Transfer | None) -> OptimizeResult | None:
    if noise.count < FEWEST and edge is None:
        return None
    if edge is None:
        parts = [_misfit_of_noise(noise)]
    else:
        parts, mean = [_misfit_of_edge(edge)], rings(noise.spacing)
        if noise.count >= FEWEST and len(mean) >= NARROW:
            parts.append(_misfit_of_rings(noise, mean))

    def misfit(numbers: Sequence[float]) -> np.ndarray:
        return np.concatenate([*(part(numbers) for part in parts), _usual(numbers)])

    starts = _STARTS[1:] if edge is None else _STARTS
    with one_thread():
        fits = [least_squares(misfit, start, bounds=(_NOT_BELOW, _NOT_ABOVE), x_scale=_SCALE) for start in starts]
    return min(fits, key=lambda fit: float(fit.cost))


def _deviations(fit: OptimizeResult, gains: np.ndarray) -> np.ndarray:
    """Return the standard deviation of the gains at the knots; the misfits are in units of their own deviation."""
    steps = STEP * np.eye(len(fit.x))
    slopes = np.stack([np.asarray(sampled(_kernel(fit.x + step), KNOTS)) - gains for step in steps], 1) / STEP
    return np.sqrt(np.einsum("ki,ij,kj->k", slopes, np.linalg.pinv(fit.jac.T @ fit.jac), slopes).clip(0))


def rings(spacing: Sequence[float]) -> Tensor:
    """Return the weights that average a spectrum over all directions, at the knots used for noise: `(n, SIDE * SIDE)`.

    The rings are as wide as the frequency resolution of a patch, and end before the corners of the frequency square.
    """
    frequency = frequencies(spacing, size=SIDE).numpy().ravel()
    width = max(0.06, 1 / (SIDE * min(spacing)))
    knots = _KNOTS[(ANATOMY[1] <= _KNOTS) & (HIGHEST / max(spacing) >= _KNOTS)]
    weights = np.maximum(1 - np.abs(frequency - knots[:, None]) / width, 0)
    return torch.from_numpy(weights / weights.sum(1, keepdims=True))


def _misfit_of_noise(noise: FlatNoise) -> Misfit:
    """Return the misfit of the noise without an edge, on the whole grid of a patch."""
    frequency, power = frequencies(noise.spacing, size=SIDE), noise.mean()
    use = (frequency > ANATOMY[0]) & (frequency < HIGHEST / max(noise.spacing))
    target, weight = power[use].log(), 1 / frequency[use].sqrt()
    modelled = _noise_power(noise.spacing, use.ravel())

    def misfit(numbers: Sequence[float]) -> np.ndarray:
        return np.asarray((modelled(numbers).log() - target) * weight)

    return misfit


def _misfit_of_rings(noise: FlatNoise, mean: Tensor) -> Misfit:
    """Return the misfit of the noise when there is an edge, in rings above the frequencies of anatomy."""
    told, modelled = (mean @ noise.mean().ravel()).log(), _noise_power(noise.spacing)
    leaked = LEAKAGE * (told.max() / 2 - told / 2).exp()
    known = 1 / (2 * torch.hypot(torch.full_like(leaked, ERROR), leaked))

    def misfit(numbers: Sequence[float]) -> np.ndarray:
        return np.asarray(((mean @ modelled(numbers)).log() - told) * known)

    return misfit


def _misfit_of_edge(edge: Transfer) -> Misfit:
    """Return the misfit of the edge, including the blur of the skin."""
    gains = np.asarray(edge.gains)
    seen = (EDGE[0] <= _KNOTS) & (EDGE[1] >= _KNOTS) & (gains > FAINT)
    sure = 1 / np.hypot(np.asarray(edge.deviations or np.zeros(len(gains)))[seen] / gains[seen], ERROR)
    shown, knots = np.log(gains[seen]), torch.from_numpy(_KNOTS[seen])

    def misfit(numbers: Sequence[float]) -> np.ndarray:
        logs = _kernel(numbers).transfer(knots).clamp(min=1e-4).log().numpy()
        return np.asarray(sure * (logs - numbers[6] * _KNOTS[seen] ** 2 - shown))

    return misfit


def _noise_power(spacing: Sequence[float], use: Tensor | None = None) -> Callable[[Sequence[float]], Tensor]:
    """Return the model of the noise power: on the grid of a patch, with what is aliased onto it and the rounding."""
    folded = torch.stack([frequencies(spacing, turn, SIDE).ravel() for turn in TURNS])
    seen = folded if use is None else folded[:, use]
    before, at = seen.unique(return_inverse=True)  # of square pixels, most frequencies are there eight times
    rounding = math.prod(spacing) / 12

    def power(numbers: Sequence[float]) -> Tensor:
        return (before * _kernel(numbers).transfer(before) ** 2)[at].sum(0) * math.exp(numbers[5]) + rounding

    return power


def _usual(numbers: Sequence[float]) -> tuple[float, ...]:
    """Return the misfit of the prior, which keeps parameters that the data do not determine near typical values."""
    half = (0.3 * (numbers[1] - math.log(3)), 0.9 * numbers[2], 3 * (numbers[3] - 0.5), 3 * (numbers[4] - 1.4))
    return (*half, numbers[6] / USUAL)


def _kernel(numbers: Sequence[float]) -> Kernel:
    half, order, edge, position, cutoff = (float(number) for number in numbers[:5])
    return Kernel(math.exp(half), math.exp(order), edge, position, cutoff)
