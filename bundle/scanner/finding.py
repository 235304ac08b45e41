"""Find a CT's kernel in the CT itself: from its noise in flat soft tissue and from the edge of its skin, jointly.

No phantom, header entry or second scan is needed. Each shows the transfer function `T` where the other does not::

    noise(f)^2 = c^2 f T(f)^2        above .28 cycles/mm; below, anatomy is in it. The dose decides on c: no height.
    edge(f)    = T(f) exp(-k f^2)    right in height; but skin is soft, and oblique to a thick slice: k is not known.

`bundle.scanner.Kernel`, c and k are fitted to both. Without skin the noise is fitted from .12 cycles/mm on, and what
lies below is guessed; without flat tissue the edge is taken as it is.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch
from bundle.scanner.edge_spread import KNOTS, EdgeSpread, edge_spread
from bundle.scanner.flat import SIDE, FlatNoise, Slices, flat_noise
from bundle.scanner.kernel import NOISE_POWER, Kernel, frequencies, noise_power
from bundle.scanner.transfer import Transfer, sampled
from scipy.optimize import least_squares

FEWEST = 60  # patches that are needed to find a kernel from noise alone
FEW = 12  # that are needed beside an edge
ANATOMY = 0.12, 0.28  # cycles/mm: noise counts above the first, and above the second where there is an edge
HIGHEST = 0.61  # of the pixels' frequency: above are only the corners of the frequency square
EDGE = 0.04, 0.52  # cycles/mm: where the edge counts, if its gain is above FAINT
FAINT = 0.03
ERROR = 0.03  # of gains and of amplitudes, besides that of chance
SOFTEST = 8.0  # mm^2: largest k
USUAL = 2.0  # mm^2: of k
RESAMPLES = 16
MIRRORED = 0.45  # of the pixels' frequency: above, noise from beyond it is folded back

_KNOTS = np.asarray(KNOTS)
_SCALE = (0.3, 0.3, 0.3, 0.1, 0.3, 1.0, 1.0)

_NOT_BELOW = (math.log(0.2), math.log(1.5), 0.0, 0.25, 0.6, -5.0, 0.0)
_NOT_ABOVE = (math.log(2.0), math.log(10.0), 2.5, 0.8, 2.2, 16.0, SOFTEST)
_STARTS = tuple((math.log(half), math.log(3), 0.2, 0.5, 1.4, 7.0, 1.0) for half in (0.35, 0.6))


def find_kernel(image: Slices, spacing: Sequence[float]) -> Kernel | None:
    """Return the kernel of a CT, found from its noise and its skin; None if there is too little flat tissue.

    Args:
        image: `(x, y, z)` in HU, slices in the first two axes; read slice by slice, in memory that does not grow with
            the CT.
        spacing: voxel size in mm of the three axes.
    """
    noise = flat_noise(image, spacing)
    return fitted_kernel(noise, edge_spread(image, spacing).transfer() if noise.count >= FEW else None)


def find_transfer(image: Slices, spacing: Sequence[float]) -> Transfer | None:
    """Return the transfer function of a CT with its deviations; None if too little skin and flat tissue is seen.

    Args:
        image: as of `find_kernel`.
        spacing: voxel size in mm of the three axes.
    """
    return found_transfer(edge_spread(image, spacing), flat_noise(image, spacing))


def found_transfer(edge: EdgeSpread, noise: FlatNoise, seed: int = 0) -> Transfer | None:
    """Return the transfer function that edge and noise show; None if both are too few.

    Its deviations are not known if there is noise alone.

    Args:
        edge: profiles across the skin, of one CT or of several of one kernel.
        noise: of one CT.
        seed: of the resampling, by slices and directions, that gives the deviations.
    """
    seen = edge.transfer()
    kernel = fitted_kernel(noise, seen)
    if kernel is None:
        return replace(seen, edge=seen.gains) if seen and edge.upright else seen
    gains = np.asarray(sampled(kernel, KNOTS))
    gains, heard = gains / gains[0], f"noise of {noise.count} patches"
    if seen is None:
        return Transfer(KNOTS, (1.0, *gains[1:].tolist()), source=heard)
    generator, drawn = np.random.default_rng(seed), []
    for _ in range(RESAMPLES):
        again = fitted_kernel(noise.drawn(generator), edge.drawn(generator).transfer() or seen)
        drawn.append(sampled(again or kernel, KNOTS))
    deviations = np.sqrt(np.mean((np.asarray(drawn) - gains) ** 2, 0))
    told = (0.0, *deviations[1:].tolist())
    upright = seen.gains if edge.upright else ()
    return Transfer(KNOTS, (1.0, *gains[1:].tolist()), told, source=f"{seen.source} and {heard}", edge=upright)


def fitted_kernel(noise: FlatNoise, edge: Transfer | None = None) -> Kernel | None:
    """Return the kernel that fits best; None if there are fewer than 60 patches, or 12 beside an edge.

    Args:
        noise: of a CT.
        edge: the transfer function as the skin shows it, or None.
    """
    if noise.count < (FEWEST if edge is None else FEW):
        return None
    misfit = _misfit_of_noise(noise) if edge is None else _misfit_of_both(noise, edge)
    starts = _STARTS[1:] if edge is None else _STARTS
    fits = [least_squares(misfit, start, bounds=(_NOT_BELOW, _NOT_ABOVE), x_scale=_SCALE) for start in starts]
    return _kernel(min(fits, key=lambda fit: float(fit.cost)).x)


def amplitudes(noise: FlatNoise) -> np.ndarray:
    """Return the amplitude of the noise at the knots in HU mm, less that of rounding; 0 beyond the pixels' frequency.

    The mean over all directions, in rings as wide as the patches can tell apart.
    """
    power = (noise.mean() - math.prod(noise.spacing) / 12).numpy().ravel()
    frequency = frequencies(noise.spacing, size=SIDE).numpy().ravel()
    width = max(0.06, 1 / (SIDE * min(noise.spacing)))
    weights = np.maximum(1 - np.abs(frequency - _KNOTS[:, None]) / width, 0) * (frequency > 0)
    total = weights.sum(1)
    mean = np.divide(weights @ power, total, out=np.zeros(len(total)), where=total > 0)
    return np.sqrt(np.maximum(mean, 0)) * (0.5 / max(noise.spacing) >= _KNOTS)


def _misfit_of_noise(noise: FlatNoise) -> Callable[[Sequence[float]], np.ndarray]:
    spacing, power = noise.spacing, noise.mean()
    frequency = frequencies(spacing, size=SIDE)
    use = (frequency > ANATOMY[0]) & (frequency < HIGHEST / max(spacing))
    target, weight = power[use].log(), 1 / frequency[use].sqrt()
    rounding = math.prod(spacing) / 12

    def misfit(numbers: Sequence[float]) -> np.ndarray:
        base, folded = noise_power(_kernel(numbers), spacing, SIDE)
        model = (base + folded) / NOISE_POWER * math.exp(numbers[5]) + rounding
        return np.concatenate([((model[use].log() - target) * weight).numpy(), _usual(numbers)])

    return misfit


def _misfit_of_both(noise: FlatNoise, edge: Transfer) -> Callable[[Sequence[float]], np.ndarray]:
    gains, found = np.asarray(edge.gains), amplitudes(noise)
    seen = (EDGE[0] <= _KNOTS) & (EDGE[1] >= _KNOTS) & (gains > FAINT)
    heard = (ANATOMY[1] <= _KNOTS) & (MIRRORED / max(noise.spacing) >= _KNOTS) & (found > 0)
    sure = 1 / np.hypot(np.asarray(edge.deviations or np.zeros(len(gains)))[seen] / gains[seen], ERROR)
    shown, told = np.log(gains[seen]), np.log(found[heard] / np.sqrt(_KNOTS[heard]))
    knots = torch.from_numpy(_KNOTS)

    def misfit(numbers: Sequence[float]) -> np.ndarray:
        logs = _kernel(numbers).transfer(knots).clamp(min=1e-4).log().numpy()
        by_edge = sure * (logs[seen] - numbers[6] * _KNOTS[seen] ** 2 - shown)
        by_noise = (logs[heard] + numbers[5] / 2 - told) / ERROR
        return np.concatenate([by_edge, by_noise, _usual(numbers)])

    return misfit


def _usual(numbers: Sequence[float]) -> tuple[float, ...]:
    """Return what keeps parameters that the data do not determine near those of a usual kernel."""
    half = (0.3 * (numbers[1] - math.log(3)), 0.9 * numbers[2], 3 * (numbers[3] - 0.5), 3 * (numbers[4] - 1.4))
    return (*half, numbers[6] / USUAL)


def _kernel(numbers: Sequence[float]) -> Kernel:
    half, order, edge, position, cutoff = (float(number) for number in numbers[:5])
    return Kernel(math.exp(half), math.exp(order), edge, position, cutoff)
