"""Model observers: compute the detectability d' of a known signal at a known place.

- Non-prewhitening matched filter (Wagner and Brown, Phys Med Biol 30 (1985) 489): weighs a slice by the signal as the
  image shows it. It does not undo noise correlation, so it suffers from a sharp kernel, as readers do.
- Channelized Hotelling observer (Myers and Barrett, J Opt Soc Am A 4 (1987) 2447) with Laguerre-Gauss channels
  (Gallas and Barrett, J Opt Soc Am A 20 (2003) 1725): the best linear observer that sees only the channels. Invertible
  filters hardly change its d', which falls only where detail is irretrievably lost.

Both are trained on half of the places and tested on the other half, then vice versa.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from scipy.special import eval_laguerre

CHANNELS = 5
RING = 6.0, 8.0  # mm, radii of the ring around the middle whose mean is the background


def centred(slices: np.ndarray, pixel: float) -> np.ndarray:
    """Return slices, `(n, x, y)`, minus the mean of a ring around the middle; 0 from the ring outwards."""
    radius = radii(slices.shape[1:], pixel)
    ring = (radius >= RING[0]) & (radius < RING[1])
    return np.where(radius < RING[0], slices - slices[:, ring].mean(1)[:, None, None], 0.0)


def radii(shape: tuple[int, ...], pixel: float) -> np.ndarray:
    """Return the distance of each pixel from the middle pixel, in mm."""
    x, y = (np.arange(side) - side // 2 for side in shape)
    return np.asarray(np.hypot(x[:, None], y[None, :]) * pixel)


def channels(shape: tuple[int, ...], pixel: float, width: float) -> np.ndarray:
    """Return Laguerre-Gauss channels of a width in mm, `(CHANNELS, x, y)`."""
    at = 2 * math.pi * (radii(shape, pixel) / width) ** 2
    return np.stack([math.sqrt(2) / width * np.exp(-at / 2) * eval_laguerre(j, at) for j in range(CHANNELS)])


def distance(absent: np.ndarray, present: np.ndarray) -> float:
    """Return d' from an observer's responses."""
    spread = (absent.var(ddof=1) + present.var(ddof=1)) / 2
    return float((present.mean() - absent.mean()) / math.sqrt(spread))


def matched_filter(absent: np.ndarray, present: np.ndarray, places: int) -> float:
    """Return d' of the non-prewhitening matched filter.

    Args:
        absent: slices without the signal, `(n, x, y)`, cycling through the places.
        present: slices of the same places with the signal.
        places: number of places.
    """
    a, p = (slices.reshape(len(slices), -1) for slices in (absent, present))
    return _crossed(a, p, places, lambda without, given: (given - without).mean(0))


def hotelling(absent: np.ndarray, present: np.ndarray, places: int, pixel: float, width: float) -> float:
    """Return d' of the channelized Hotelling observer.

    Args:
        absent: see `matched_filter`.
        present: see `matched_filter`.
        places: see `matched_filter`.
        pixel: pixel size in mm.
        width: width of the channels in mm.
    """
    shown = channels(absent.shape[1:], pixel, width).reshape(CHANNELS, -1)
    a, p = (slices.reshape(len(slices), -1) @ shown.T for slices in (absent, present))

    def weights(some_absent: np.ndarray, some_present: np.ndarray) -> np.ndarray:
        spread = (np.cov(some_absent.T) + np.cov(some_present.T)) / 2
        return np.asarray(np.linalg.solve(spread, (some_present - some_absent).mean(0)))

    return _crossed(a, p, places, weights)


def _crossed(
    absent: np.ndarray, present: np.ndarray, places: int, weights: Callable[[np.ndarray, np.ndarray], np.ndarray]
) -> float:
    """Return the mean d' of both halves of the places, each with the weights from the other half."""
    odd = np.arange(len(absent)) % places % 2 == 1
    found = []
    for learn in (odd, ~odd):
        template = weights(absent[learn], present[learn])
        found.append(distance(absent[~learn] @ template, present[~learn] @ template))
    return float(np.mean(found))
