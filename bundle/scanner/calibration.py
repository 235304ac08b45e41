"""Fit the filter from one kernel to another to a pair of scans: one acquisition, reconstructed twice.

With `H_k` the part of the source around knot k (a hat function over the radial frequency), the result of the filter is
linear in its gains, and normal equations give the gains of least squared error in HU:

    result = H_0 + g_1 H_1 + ... + g_15 H_15        gain 1 at frequency 0, which keeps the mean of flat regions

Then the shift of HU levels (`bundle.scanner.conversion`) is fitted to the remaining error in the same way.

Voxels whose target is bone or metal are excluded, as they would dominate the fit, and so are voxels near padding, on
which no kernel has acted. First, values clipped at -1024 HU are restored in the mean (`bundle.scanner.clipping`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from bundle.scanner.conversion import Conversion, converted, smoothed
from bundle.scanner.filters import filter_taps, filtered, with_border
from bundle.scanner.flat import FILTER_RANGE
from bundle.scanner.kernel import frequencies
from bundle.scanner.padding import near_padding, padding, prepared
from bundle.scanner.transfer import Transfer
from torch import Tensor

KNOTS = tuple(round(0.08 * k, 2) for k in range(16))  # 0 to 1.2 cycles/mm
BRIGHTEST = 300.0  # HU of the target: bone, contrast agent and metal are brighter
STRIPS = 8  # parts of a slice; leaving out one at a time (jackknife) gives the gains' deviations
LEVELS = (-1000.0, -960.0, -850.0, -600.0, -150.0, 0.0, 150.0)  # HU: air, lung and soft tissue
_PRIOR = 200.0  # weight of the prior of no shift at each level, in voxels
_SMOOTHNESS = 1e-3  # weight of the second differences, relative to the mean energy around a knot


#: Source and target, `(x, y)` in HU, and a boolean mask of the voxels to fit, or None for all.
Slices = tuple[Tensor, Tensor, Tensor | None]


@dataclass(frozen=True)
class Calibration:
    """The normal equations of a filter; those of several slices can be added.

    Args:
        products: products of the parts around the knots, per strip, `(strips, knots - 1, knots - 1)`.
        targets: products of the parts and the target, per strip, `(strips, knots - 1)`.
        voxels: number of voxels per strip, `(strips,)`.
    """

    products: np.ndarray = field(default_factory=lambda: np.zeros((0, len(KNOTS) - 1, len(KNOTS) - 1)))
    targets: np.ndarray = field(default_factory=lambda: np.zeros((0, len(KNOTS) - 1)))
    voxels: np.ndarray = field(default_factory=lambda: np.zeros(0))

    def __add__(self, other: Calibration) -> Calibration:
        return Calibration(
            np.concatenate([self.products, other.products]),
            np.concatenate([self.targets, other.targets]),
            np.concatenate([self.voxels, other.voxels]),
        )

    def filter(self, name: str = "", source: str = "") -> Transfer:
        """Return the fitted gains, with their standard deviations by a jackknife over the strips.

        Raises:
            ValueError: If there is no voxel to fit.
        """
        if not self.voxels.sum() > 0:
            raise ValueError(f"no voxel of the target is below {BRIGHTEST:g} HU; give a pair of CTs in HU.")
        gains = _solved(self.products.sum(0), self.targets.sum(0))
        strips = np.flatnonzero(self.voxels)
        left = [_solved(self.products.sum(0) - self.products[i], self.targets.sum(0) - self.targets[i]) for i in strips]
        n = len(strips)
        spread = np.sqrt((n - 1) * np.var(left, 0)) if n > 1 else np.zeros(len(gains))
        return Transfer(
            KNOTS,
            (1.0, *np.maximum(gains, 0).tolist()),
            (0.0, *spread.tolist()) if n > 1 else (),
            name=name,
            source=source,
        )


def calibrated(source: Tensor, target: Tensor, spacing: Sequence[float], use: Tensor | None = None) -> Calibration:
    """Return the normal equations of one slice.

    Args:
        source: `(x, y)` in HU, reconstructed with the kernel to filter.
        target: `(x, y)` in HU, of the same acquisition with the other kernel.
        spacing: pixel spacing in mm, of the two axes.
        use: `(x, y)`, boolean mask of the voxels to fit; null for all. Those with a bright target, or near padding, are
            always excluded.

    Raises:
        ValueError: If the shapes differ.
    """
    if source.shape != target.shape or source.ndim != 2:
        raise ValueError(
            f"source {tuple(source.shape)} and target {tuple(target.shape)} are not slices of one shape; give a pair."
        )
    parts, target = bands(source, spacing), target.double()
    fitted = _fitted(source, target, use)
    rest = target.clamp(*FILTER_RANGE) - parts[0]
    products, targets, voxels = [], [], []
    for strip in np.array_split(np.arange(len(source)), STRIPS):
        a = parts[1:, strip][:, fitted[strip]]
        b = rest[strip][fitted[strip]]
        products.append((a @ a.T).numpy())
        targets.append((a @ b).numpy())
        voxels.append(b.numel())
    return Calibration(np.stack(products), np.stack(targets), np.array(voxels, float))


def bands(source: Tensor, spacing: Sequence[float]) -> Tensor:
    """Return the parts of a slice around each knot, `(knots, x, y)`, float64; their sum is the slice, `prepared`."""
    image = source[..., None]
    padded = with_border(prepared(image, padding(image)))
    radius = frequencies(spacing[:2]).numpy()
    parts = []
    for k, hat in enumerate(np.eye(len(KNOTS))):  # the taps of a sum are the sum of the taps
        taps = filter_taps(torch.from_numpy(np.interp(radius, KNOTS, hat)), mean=1.0 if k == 0 else 0.0)
        parts.append(filtered(padded, taps)[..., 0].double())
    return torch.stack(parts)


def calibrate(pair: Iterable[Slices], spacing: Sequence[float], name: str = "", source: str = "") -> Conversion:
    """Return the conversion fitted to the slices of a pair.

    Args:
        pair: source, target and voxels to fit of each slice, as for `calibrated`; iterated twice, so not a generator.
        spacing: pixel spacing in mm, of the first two axes.
        name: name of the conversion.
        source: what the conversion was measured on.

    Raises:
        ValueError: If there is no voxel to fit, or the shapes differ.
    """
    equations = sum((calibrated(a, b, spacing, use) for a, b, use in pair), Calibration())
    gain = equations.filter(name, source)
    products, errors = _PRIOR * np.eye(len(LEVELS)), np.zeros(len(LEVELS))
    for a, b, use in pair:
        result = converted(a[..., None], spacing, Conversion(gain))
        at = smoothed(result, spacing)[..., 0].numpy()
        fitted = _fitted(a, b, use).numpy()
        hats = np.stack([np.interp(at[fitted], LEVELS, hat) for hat in np.eye(len(LEVELS))])
        products += hats @ hats.T
        errors += hats @ (b.double().clamp(*FILTER_RANGE) - result[..., 0].double()).numpy()[fitted]
    return Conversion(gain, LEVELS, tuple(np.linalg.solve(products, errors).tolist()))


def _fitted(source: Tensor, target: Tensor, use: Tensor | None) -> Tensor:
    """Return the mask of the voxels of a slice to fit, `(x, y)`."""
    fitted = (target < BRIGHTEST) & ~near_padding(source) & ~near_padding(target)
    return fitted if use is None else fitted & use


def _solved(products: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Solve the normal equations, with a small penalty on the second differences of the gains.

    With small pixels, a filter is too short to separate neighbouring knots, and an image may lack high frequencies
    altogether. The penalty makes the gains vary smoothly there.
    """
    n = len(targets)
    bends = np.diff(np.eye(n + 1), 2, axis=0)  # second differences of the gains, including knot 0, whose gain is 1
    weight = _SMOOTHNESS * np.trace(products) / n
    weak = weight * 1e-3 * np.eye(n)[-1:].T @ np.eye(n)[-1:]  # pulls only the last gain towards 0
    return np.linalg.solve(
        products + weight * bends[:, 1:].T @ bends[:, 1:] + weak, targets - weight * bends[:, 1:].T @ bends[:, 0]
    )
