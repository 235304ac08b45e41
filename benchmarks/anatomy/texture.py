"""Compute first-order and co-occurrence features of squares in a slice, and their concordance between images.

The squares are the same in all images. Grey levels are 25 HU wide from a fixed zero, as recommended for CT (IBSI,
Zwanenburg et al., Radiology 295 (2020) 328); co-occurrence at distance 1, averaged over four directions (scikit-image).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.stats import kurtosis, skew
from skimage.feature import graycomatrix, graycoprops

BIN = 25.0  # HU
LOWEST = -1200.0  # HU, lower end of the first level
ANGLES = (0.0, np.pi / 4, np.pi / 2, 3 * np.pi / 4)
FIRST_ORDER = (
    *("mean", "median", "10th percentile", "90th percentile", "minimum", "maximum", "deviation", "interquartile range"),
    *("absolute deviation", "skewness", "kurtosis", "entropy", "uniformity", "root mean square"),
)
MATRIX = ("contrast", "dissimilarity", "homogeneity", "ASM", "correlation")
CO_OCCURRENCE = (*MATRIX, "joint entropy", "joint maximum")
FEATURES = (*FIRST_ORDER, *CO_OCCURRENCE)


def features(square: np.ndarray) -> np.ndarray:
    """Return the features of a square in HU, `(FEATURES,)`."""
    values = square.astype(float).ravel()
    levels = np.floor((np.clip(square, LOWEST, 3071) - LOWEST) / BIN).astype(int)
    levels -= levels.min()
    share = np.bincount(levels.ravel()) / levels.size
    share = share[share > 0]
    p10, p25, p50, p75, p90 = np.percentile(values, (10, 25, 50, 75, 90))
    first = [values.mean(), p50, p10, p90, values.min(), values.max(), values.std(), p75 - p25]
    flat = values.std() == 0
    first += [np.abs(values - values.mean()).mean(), *((0.0, 0.0) if flat else (skew(values), kurtosis(values)))]
    first += [-(share * np.log2(share)).sum(), (share**2).sum(), np.sqrt((values**2).mean())]
    pairs = graycomatrix(levels, [1], ANGLES, int(levels.max()) + 1, symmetric=True, normed=True)
    matrix = [float(graycoprops(pairs, name).mean()) for name in MATRIX]
    joint = pairs[:, :, 0, :]
    entropy = -(joint * np.log2(np.where(joint > 0, joint, 1))).sum((0, 1)).mean()
    return np.array([*first, *matrix, entropy, joint.max((0, 1)).mean()])


def table(image: np.ndarray, squares: Sequence[tuple[int, int, int]], side: int) -> np.ndarray:
    """Return the features of squares in an image, `(squares, FEATURES)`."""
    return np.stack([features(image[x : x + side, y : y + side, z]) for x, y, z in squares])


def concordance(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return Lin's concordance correlation coefficient of each column (Biometrics 45 (1989) 255)."""
    covariance = ((one - one.mean(0)) * (other - other.mean(0))).mean(0)
    below = one.var(0) + other.var(0) + (one.mean(0) - other.mean(0)) ** 2
    return np.asarray(2 * covariance / np.where(below > 0, below, np.nan))
