"""Estimate a CT's kernel from the CT itself, jointly from its noise in flat soft tissue and the edge of its skin.

No phantom, header entry or second scan is needed. Noise and edge each show what the other does not show of the transfer
function `T`::

    noise(f)^2 = c^2 f T(f)^2     only shape: c depends on the dose. Below .28 cycles/mm it contains anatomy.
    edge(f)    = T(f) skin(f)     right in height but for the blur of the skin, which its phase does not show

`bundle.scanner.Kernel`, c and the skin in each direction (`bundle.scanner.skin`) are fitted to both. Surfaces other
than skin have no layers: there, the mean edge is T(f) exp(-k f^2), with one unknown blur k. Without surfaces, the noise
is fitted from .12 cycles/mm on or, if anatomy is seen in it, from .16, and lower frequencies are extrapolated; without
flat tissue, only the edge is fitted.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from bundle.runtime import one_thread
from bundle.scanner.edge_spread import KNOTS, SURFACES, EdgeSpread, edge_spread
from bundle.scanner.flat import SIDE, FlatNoise, Slices, flat_noise
from bundle.scanner.kernel import TURNS, Kernel, frequencies
from bundle.scanner.skin import Skins
from bundle.scanner.transfer import Transfer, sampled
from scipy.optimize import OptimizeResult, least_squares
from torch import Tensor

FEWEST = 12  # fewest patches for which noise is used
NARROW = 3  # fewest knots for which rings are used
ANATOMY = 0.12, 0.28  # cycles/mm: noise is used above the first or, if there is an edge, above the second
HIGHEST = 0.61  # relative to the sampling frequency: above are only the corners of the frequency square
EDGE = 0.04, 0.52  # cycles/mm: where the edge is used, if its gain is above FAINT
FAINT = 0.03
ERROR = 0.03  # relative systematic error of gains, in addition to the random error
NOISE = 0.08  # relative systematic error of the amplitudes of the noise
PROFILES = 5  # fewest profiles in a direction of the skin
PLAIN = 0.85  # of the cost with a dermis: with less, there is none; phantoms have up to 0.72, patients 0.94 to 2.5
SILENT = 1.3  # cycles/mm: from there on, edges show only noise
LEAKAGE = 0.02  # fraction of the largest amplitude of the noise that leaks to all other frequencies
SOFTEST = 8.0  # mm^2: largest k
USUAL = 0.5  # mm^2: prior standard deviation of k; chosen, like the two above, on simulated scans and with knowledge of
#              the real pairs of `benchmarks.real_pairs`
ANATOMICAL = 20.0  # cost of noise without an edge above which anatomy is seen in it: simulated noise has 1 to 16, that
#                    of real scans 8 to 209
ALONE = 0.16  # cycles/mm: above, noise is used then
WIDTH = math.log(0.5), 0.45  # log of cycles/mm: usual half of a kernel then, and its standard deviation
BLURRED = 12.0  # cost of the blur of the surface above which it disagrees with the noise: real scans have 0 to 9, skin
#                 blurred by 0.7 mm 11 to 13, by 0.85 mm 17 to 19
NOISY = 12.0  # the same of the noise: real scans have 0 to 8
DISAGREEING = "skin and noise disagree"  # source of a kernel that was fitted at such a cost
STEP = 1e-3  # finite difference of the parameters, for derivatives
NEARLY = 0.05  # a logarithm that is as near to its limit is at it

#: Takes half, order, edge, position and cutoff of the kernel (the first two as logarithms), log c^2 and k.
Misfit = Callable[[Sequence[float]], np.ndarray]

_KNOTS = np.asarray(KNOTS)
_SCALE = (0.3, 0.3, 0.3, 0.1, 0.3, 1.0, 1.0)

_NOT_BELOW = (math.log(0.2), math.log(1.5), 0.0, 0.25, 0.6, -5.0, 0.0)
_SOFTER = (math.log(0.06), *_NOT_BELOW[1:])  # for scans that were smoothed, if a kernel at the limit above fits best
_NOT_ABOVE = (math.log(2.0), math.log(10.0), 2.5, 0.8, 2.2, 16.0, SOFTEST)
_STARTS = tuple((math.log(half), math.log(3), 0.2, 0.5, 1.4, 7.0, 1.0) for half in (0.35, 0.6))


@dataclass(frozen=True)
class FoundTransfer(Transfer):
    """A transfer function found in scans, and what the scans showed.

    Args:
        kernel: the kernel whose transfer function it is.
        profiles: profiles across the skin.
        noise: noise in flat tissue.
    """

    kernel: Kernel | None = field(default=None, compare=False, repr=False)
    profiles: EdgeSpread = field(default_factory=EdgeSpread, compare=False, repr=False)
    noise: FlatNoise | None = field(default=None, compare=False, repr=False)


def find_kernel(image: Slices, spacing: Sequence[float]) -> Kernel | None:
    """Return the kernel of a CT, estimated from its noise and its skin; None if there is too little of both.

    Args:
        image: `(x, y, z)` in HU, slices in the first two axes; read slice by slice, in memory that does not grow with
            the CT.
        spacing: voxel spacing in mm of the three axes.
    """
    return fitted_kernel(flat_noise(image, spacing), edge_spread(image, spacing))


def find_transfer(image: Slices, spacing: Sequence[float]) -> FoundTransfer | None:
    """Return the transfer function of a CT with standard deviations; None if it shows too little skin and flat tissue.

    Args:
        image: as for `find_kernel`.
        spacing: voxel spacing in mm of the three axes.
    """
    return found_transfer(edge_spread(image, spacing), flat_noise(image, spacing))


def found_transfer(edge: EdgeSpread, noise: FlatNoise) -> FoundTransfer | None:
    """Return the transfer function that fits edge and noise; None if there are too few profiles and too few patches.

    Its standard deviations are those of the fit: how far edge, noise and prior let the gains vary. They are unknown if
    there is only noise, or if skin and noise disagree; then the source says so.

    Args:
        edge: profiles across the skin, of one CT or of several CTs with the same kernel.
        noise: noise of one CT.
    """
    fit = _fit(noise, edge)
    if fit is None:
        return None
    kernel, heard = _kernel(fit.x), f"noise of {noise.count} patches"
    gains = np.asarray(sampled(kernel, KNOTS))
    seen = f"edge of {edge.surface}, {edge.profiles} profiles"
    doubtful = edge.told and fit.doubtful
    told = (0.0, *_deviations(fit, gains)[1:].tolist()) if edge.told and not doubtful else ()
    sources = [text for text, known in ((seen, edge.told), (heard, noise.count >= FEWEST)) if known]
    return FoundTransfer(
        KNOTS,
        (1.0, *gains[1:].tolist()),
        told,
        source=DISAGREEING if doubtful else " and ".join(sources),
        upright=edge.told and edge.upright,
        kernel=kernel,
        profiles=edge,
        noise=noise,
    )


def fitted_kernel(noise: FlatNoise, edge: EdgeSpread) -> Kernel | None:
    """Return the kernel that fits best; None if there are fewer than 12 patches and too few profiles.

    Args:
        noise: noise of a CT.
        edge: profiles across its skin.
    """
    fit = _fit(noise, edge)
    return None if fit is None else _kernel(fit.x)


def _fit(noise: FlatNoise, edge: EdgeSpread) -> OptimizeResult | None:
    """Fit a kernel, the level of the noise and the surface; None if there is too little of both.

    Its ``doubtful`` says whether noise and surface disagree.
    """
    if noise.count < FEWEST and not edge.told:
        return None
    skins, others = _skins(edge), []
    if edge.told and skins is None:
        others.append(_misfit_of_edge(edge))
    heard, unsure = _misfit_of_noise(noise, edge.told), False

    def misfit(numbers: Sequence[float]) -> np.ndarray:
        layers = [] if skins is None else [skins.misfit(_gains(numbers, skins.frequencies))]
        return np.concatenate([*layers, *(part(numbers) for part in (*others, heard)), _usual(numbers, unsure)])

    def slopes(numbers: Sequence[float]) -> np.ndarray:
        here = misfit(numbers)  # the steps are absolute, as many numbers are 0 or nearly so
        return np.stack([misfit(numbers + step) - here for step in STEP * np.eye(len(numbers))], 1) / STEP

    def fitted(start: Sequence[float], bare: bool = True) -> OptimizeResult:
        below = _NOT_BELOW if start[0] > _NOT_BELOW[0] + NEARLY else _SOFTER
        if skins is not None:
            skins.choose(_gains(start, skins.frequencies), bare)
        fit = least_squares(misfit, start, slopes, bounds=(below, _NOT_ABOVE), x_scale=_SCALE)
        if below is _NOT_BELOW and fit.x[0] < below[0] + NEARLY:
            return fitted(fit.x, bare)
        blur = (fit.x[6] / USUAL) ** 2 / 2 if skins is None else skins.blur(_gains(fit.x, skins.frequencies))
        fit.doubtful = bool(blur > BLURRED or np.sum(heard(fit.x) ** 2) / 2 > NOISY)
        return fit

    with one_thread():
        best = min(map(fitted, _STARTS if edge.told else _STARTS[1:]), key=_cost)
        if best.cost > ANATOMICAL and not edge.told:
            heard, unsure = _misfit_of_spectrum(noise, ALONE), True
            best = min(map(fitted, _STARTS), key=_cost)
        if skins is None:
            return best
        layered = [fitted(start, bare=False) for start in (*_STARTS, best.x)]
        layered.append(fitted(min(layered, key=_cost).x, bare=False))
        layer = min(layered, key=_cost)
        return best if best.cost < PLAIN * layer.cost else layer


def _cost(fit: OptimizeResult) -> float:
    return float(fit.cost)


def _skins(edge: EdgeSpread) -> Skins | None:
    """Return what is known of the skin; None if the edges are those of something else, or too few in each direction."""
    if not edge.told or edge.surface == SURFACES:
        return None
    spectra, profiles = edge.by_direction()
    seen = spectra[profiles >= PROFILES]
    if not len(seen):
        return None
    used = (EDGE[0] <= _KNOTS) & (EDGE[1] >= _KNOTS)
    return Skins(seen[:, used], np.sqrt(np.mean(np.abs(seen[:, _KNOTS >= SILENT]) ** 2, 1)), _KNOTS[used])


def _gains(numbers: Sequence[float], at: np.ndarray) -> np.ndarray:
    return _kernel(numbers).transfer(torch.from_numpy(at)).clamp(min=1e-4).numpy()


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


def _misfit_of_noise(noise: FlatNoise, edge: bool) -> Misfit:
    """Return the misfit of the noise: if there is an edge, in rings above the frequencies of anatomy, if any."""
    if not edge:
        return _misfit_of_spectrum(noise, ANATOMY[0])
    mean = rings(noise.spacing)
    if noise.count < FEWEST or len(mean) < NARROW:
        return lambda _: np.zeros(0)
    told, modelled = (mean @ noise.mean().ravel()).log(), _noise_power(noise.spacing)
    leaked = LEAKAGE * (told.max() / 2 - told / 2).exp()
    known = 1 / (2 * torch.hypot(torch.full_like(leaked, NOISE), leaked))

    def misfit(numbers: Sequence[float]) -> np.ndarray:
        return np.asarray(((mean @ modelled(numbers)).log() - told) * known)

    return misfit


def _misfit_of_spectrum(noise: FlatNoise, lowest: float) -> Misfit:
    """Return the misfit of the noise on the whole grid of a patch, above a frequency in cycles/mm."""
    frequency, power = frequencies(noise.spacing, size=SIDE), noise.mean()
    use = (frequency > lowest) & (frequency < HIGHEST / max(noise.spacing))
    target, weight = power[use].log(), 1 / frequency[use].sqrt()
    modelled = _noise_power(noise.spacing, use.ravel())

    def misfit(numbers: Sequence[float]) -> np.ndarray:
        return np.asarray((modelled(numbers).log() - target) * weight)

    return misfit


def _misfit_of_edge(edge: EdgeSpread) -> Misfit:
    """Return the misfit of the mean edge, including the blur of the surface."""
    mean = edge.transfer()
    gains, deviations = (np.zeros(len(_KNOTS)),) * 2 if mean is None else map(np.asarray, (mean.gains, mean.deviations))
    seen = (EDGE[0] <= _KNOTS) & (EDGE[1] >= _KNOTS) & (gains > FAINT)
    sure, shown, knots = 1 / np.hypot(deviations[seen] / gains[seen], ERROR), np.log(gains[seen]), _KNOTS[seen]

    def misfit(numbers: Sequence[float]) -> np.ndarray:
        return np.asarray(sure * (np.log(_gains(numbers, knots)) - numbers[6] * knots**2 - shown))

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


def _usual(numbers: Sequence[float], unsure: bool) -> tuple[float, ...]:
    """Return the misfit of the prior, which keeps parameters that the data do not determine near typical values."""
    width = unsure * (numbers[0] - WIDTH[0]) / WIDTH[1]
    half = (0.3 * (numbers[1] - math.log(3)), 0.9 * numbers[2], 3 * (numbers[3] - 0.5), 3 * (numbers[4] - 1.4))
    return (width, *half, numbers[6] / USUAL)


def _kernel(numbers: Sequence[float]) -> Kernel:
    half, order, edge, position, cutoff = (float(number) for number in numbers[:5])
    return Kernel(math.exp(half), math.exp(order), edge, position, cutoff)
