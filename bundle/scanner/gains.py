"""Estimate the gain that turns one kernel into another.

Of kernels that are only known by their transfer functions, it is the quotient of these. Two scans show more: their own
profiles across the skin, and their own noise. Skin is no sharp edge. It is a bright layer over darker fat, which passes
some frequencies better than others, and differently on the chest, on the flank and beneath an arm; but two patients are
alike there. So the edges of two scans are compared direction by direction, where the skin cancels::

    edge_d(f)  = T(f) skin_d(f)     of each scan, in each direction d of the slice (RAS)
    log gain   = the median over d of the logarithm of the quotient of the edges
    log gain   = half the logarithm of the quotient of the noise powers + c, as c depends on both doses

Both are combined by least squares, smoothly around the quotient of the transfer functions that
`bundle.scanner.finding` fitted to each scan alone. Where a slice does not show whether its surfaces are oblique, or the
scans have too few directions in common, that quotient is the gain.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from bundle.scanner.edge_spread import KNOTS
from bundle.scanner.finding import ANATOMY, FEWEST, LEAKAGE, NOISE, PROFILES, FoundTransfer, rings
from bundle.scanner.flat import SIDE
from bundle.scanner.kernel import TURNS, frequencies
from bundle.scanner.transfer import Transfer, TransferFunction, sampled

LEAST = 0.02  # smallest divisor in a quotient
FAINT = 0.01  # smallest gain of an edge
FAINTEST = 1e-4  # smallest dividend
MOST = 3.0  # highest gain of a quotient before it is limited, or if sharpening is allowed
ENHANCED = 0.2  # cycles/mm: below, soft kernels may enhance; noise is weak there
DIRECTIONS = 3  # fewest directions
HIGHEST = 0.52  # cycles/mm: above, edges are faint
SKIN = 0.03  # relative error of the median over directions, in addition to its scatter
ALIASED = 0.5  # relative error of what pixels add to the logarithm of an amplitude
FIT = 1.0  # relative error of the fitted quotient: it is followed where nothing else is known
ROUGH = 0.02  # relative bending, from knot to knot, of what is corrected
EXACT = 1e-3  # relative error at frequency 0

_KNOTS = np.asarray(KNOTS)
_BENDING = np.diff(np.eye(len(KNOTS)), 2, axis=0)
_FIRST = int(np.searchsorted(_KNOTS, ANATOMY[1]))  # knot of the first ring of noise


def quotient(target: TransferFunction, source: TransferFunction, most: float = 1.0) -> Transfer:
    """Return the gain that turns one kernel into another, at most ``most``.

    Args:
        target: the kernel to reach.
        source: the kernel of the image. If both were found in scans, what the scans show in common counts.
        most: largest gain.
    """
    a, b = (np.asarray(sampled(kernel, KNOTS)) for kernel in (target, source))
    gain = np.maximum(a, FAINTEST) / np.maximum(b, LEAST)
    if isinstance(target, FoundTransfer) and isinstance(source, FoundTransfer):
        gain = gain * np.exp(_correction(target, source, np.log(gain)))
    return Transfer(KNOTS, (1.0, *np.minimum(gain, most)[1:].tolist()))


def softening(gain: TransferFunction, target: TransferFunction) -> Transfer:
    """Return a gain limited to 1, so that noise is not amplified, except where a target with a name enhances.

    Siemens' B10f and B30f enhance structures of a centimetre by 7 %, measured on two scanners. A pair of scans shows
    that, and kernels of pairs have names. A single scan, such as a reference, does not: what its skin passes above 1 is
    the skin's own.

    Args:
        gain: the gain that turns a kernel into the target.
        target: the target kernel; without a name, it was found in a scan.
    """
    gains, aims = (np.asarray(sampled(each, KNOTS)) for each in (gain, target))
    enhances = (_KNOTS < ENHANCED) & (aims > 1) & bool(getattr(target, "name", ""))
    limited = np.where(enhances, gains, np.minimum(gains, 1))
    return Transfer(KNOTS, tuple(limited.tolist()), source=getattr(gain, "source", ""))


def softening_between(source: TransferFunction, target: TransferFunction) -> Transfer:
    """Return the gain that turns one kernel into another without amplifying noise, see `softening`."""
    return softening(quotient(target, source, MOST), target)


def _correction(target: FoundTransfer, source: FoundTransfer, fitted: np.ndarray) -> np.ndarray:
    """Return the logarithm of the factor that corrects a fitted gain at the knots; 0 if the scans show too little.

    Args:
        target: what was found in the scan with the target kernel.
        source: what was found in the other one.
        fitted: logarithm of the quotient of both fits, at the knots.
    """
    upright = target.upright and source.upright
    quotients = _edge_quotients(target, source) if upright else np.zeros((0, len(KNOTS)))
    if len(quotients) < DIRECTIONS:
        return np.zeros(len(KNOTS))
    median = np.median(quotients, 0)
    scatter = 1.4826 * np.median(np.abs(quotients - median), 0) * math.sqrt(math.pi / 2 / len(quotients))
    edges = np.flatnonzero((_KNOTS > 0) & (_KNOTS <= HIGHEST))
    unknowns = np.eye(len(KNOTS) + 1)  # the correction at each knot, and c
    heard, noise, error = _noise_quotient(target, source)
    equations = [
        (unknowns[edges], (median - fitted)[edges], np.hypot(scatter, SKIN)[edges]),
        (unknowns[heard] + unknowns[-1], noise - fitted[heard], error),
        (unknowns[:-1], 0, FIT),
        (_BENDING @ unknowns[:-1], 0, ROUGH),
        (unknowns[:1], 0, EXACT),
    ]
    rows = [each / np.reshape(error, (-1, 1)) for each, _, error in equations]
    values = [np.broadcast_to(value / error, len(each)) for each, value, error in equations]
    found, *_ = np.linalg.lstsq(np.concatenate(rows), np.concatenate(values), rcond=None)
    return np.asarray(found[:-1])


def _edge_quotients(target: FoundTransfer, source: FoundTransfer) -> np.ndarray:
    """Return the logarithm of the quotient of the edges in each common direction, `(directions, knots)`."""
    (a, many), (b, more) = target.profiles.by_direction(), source.profiles.by_direction()
    common = np.minimum(many, more) >= PROFILES
    x, y = (np.maximum(np.abs(each[common]), FAINT) for each in (a, b))
    return np.asarray(np.log(x / y))


def _noise_quotient(target: FoundTransfer, source: FoundTransfer) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the numbers of the knots where noise counts, and the logarithm of the quotient of its amplitudes there.

    The third array is its error. All are empty if a scan has too little flat tissue. What pixels add to the noise, as
    frequencies above theirs are aliased, differs between scans of different pixel spacing; it is predicted from the
    fitted kernels and left out.
    """
    powers, errors = [], []
    for found in (target, source):
        noise = found.noise
        if noise is None or noise.count < FEWEST:
            return np.zeros(0, int), np.zeros(0), np.zeros(0)
        rounding = math.prod(noise.spacing) / 12
        power = (rings(noise.spacing) @ noise.mean().ravel() - rounding).clamp(min=1e-6).numpy()
        added = _added(found, noise.spacing)
        powers.append(power / np.exp(2 * added))
        unsure = LEAKAGE * np.sqrt(power.max(initial=0) / power), rounding / power, ALIASED * added
        errors.append(np.linalg.norm(unsure, axis=0))
    count = min(map(len, powers))
    (a, b), error = (power[:count] for power in powers), np.maximum(*(each[:count] for each in errors))
    return np.arange(count) + _FIRST, 0.5 * np.log(a / b), np.hypot(NOISE, error)


def _added(kernel: FoundTransfer, spacing: tuple[float, float]) -> np.ndarray:
    """Return the logarithm of what pixels add to the amplitudes of a kernel's noise, at the knots where noise counts.

    The rings of `bundle.scanner.finding` are averages, which counts here, too.
    """
    weights = rings(spacing)
    folds = [frequencies(spacing, turn, SIDE).ravel() for turn in TURNS]
    folded = sum((weights @ (fold * kernel.transfer(fold) ** 2) for fold in folds), torch.zeros(len(weights)))
    knots = torch.from_numpy(_KNOTS[_FIRST : _FIRST + len(weights)])
    own = knots * kernel.transfer(knots) ** 2
    return (0.5 * (folded.clamp(min=FAINTEST**2).log() - own.clamp(min=FAINTEST**2).log())).numpy()
