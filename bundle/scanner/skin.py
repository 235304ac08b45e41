"""Model the skin that edges cross, in each direction of the slice, so that what is left of an edge is the kernel.

Skin is no sharp edge. Its dermis is a layer that is brighter than the fat below it; it is blurred where it moves or is
oblique to a thick slice; and where the patient lies on something, there is one more layer outside. With f in cycles/mm
and lengths in mm::

    edge(f) = T(f) skin(f)
    skin(f) = (blur(f) + dermis(f) + cover(f)) exp(-2 pi i f shift) / (1 + a + b)
    blur(f) = exp(-2 (pi s f)^2)
    dermis(f) = a exp(-2 (pi w f)^2 - 2 pi i f t)
    cover(f) = b blur(f) exp(2 pi i f u)

A kernel moves nothing: its transfer function T is real, so the phase of an edge is the skin's alone. It tells whether
there is a dermis, as a phantom has none, and where there is a cover. The dermis is nearly the same in all scans, so
that what is wrong about it cancels in the quotient of two kernels.
"""

from __future__ import annotations

import numpy as np

FEW = 2  # directions as many as whose errors are independent: the same patient, and the same model
ERROR = 0.03  # relative error of an edge and of the model, in addition to its noise
LEAST = 0.3  # of the largest modulus of an edge: at least that much is used as the base of its relative error
FLOOR = 0.01  # smallest error of an edge
VAGUE = 2.0  # times as large is the error where there is a cover
COVERED = 12.0  # by how much the cost of a direction has to fall if there is a cover

#: Usual values of shift, s, a, t, w, b and u; their standard deviations, that of b unlimited; and their limits. The
#: dermis is about 130 HU brighter than fat. Its values were chosen with the real pairs and the halves of scans in view.
USUAL = np.array([0.0, 0.0, -0.12, 1.7, 0.5, 0.0, 3.0])
SPREAD = np.array([1.0, 0.16, 0.02, 0.3, 0.15, np.inf, 0.7])
LOWEST = np.array([-3.0, 0.0, -0.4, 0.5, 0.05, -0.05, 2.0])
HIGHEST = np.array([3.0, 1.5, 0.1, 4.0, 2.0, 2.0, 4.5])
BARE = 0.0  # usual a of a phantom
_BLURRED = 0.05  # mm at the start, as the slope at 0 is 0
_COVER = slice(5, 7)  # the numbers of a cover
_COVERS = tuple((shift, b, u) for shift in (0.0, 2.0) for b, u in ((0.3, 3.0), (1.0, 2.5), (1.0, 3.2)))
_FIRST, _AGAIN = 15, 4  # iterations of a fit from the usual values, and from values near the best


class Skins:
    """The skin in several directions, fitted anew for each transfer function that is tried.

    Args:
        edges: `(directions, frequencies)`, complex, 1 at frequency 0.
        noise: `(directions,)`, noise of the modulus of each edge.
        frequencies: cycles/mm, above 0.
    """

    def __init__(self, edges: np.ndarray, noise: np.ndarray, frequencies: np.ndarray) -> None:
        self.edges, self.frequencies = edges, frequencies
        modulus = np.abs(edges)
        systematic = ERROR * np.maximum(modulus, LEAST * modulus.max(1, keepdims=True))
        self.errors = np.sqrt(systematic**2 + FLOOR**2 + noise[:, None] ** 2)
        self.independent = max(len(edges) / FEW, 1)
        self.usual = USUAL.copy()
        self.start = np.tile(USUAL, (len(edges), 1))
        self.covered = np.zeros(len(edges), bool)

    def choose(self, gains: np.ndarray, bare: bool = False) -> None:
        """Choose where there is a cover, and the values to start from.

        Args:
            gains: a transfer function, `(frequencies,)`.
            bare: whether there is no dermis.
        """
        every = np.arange(len(self.edges))
        self.usual[2], self.covered = BARE if bare else USUAL[2], np.zeros(len(every), bool)
        usual = self.usual.copy()
        usual[1] = _BLURRED
        self.start, costs = self._fitted(gains, np.tile(usual, (len(every), 1)), every, self.covered, _FIRST)
        doubtful = np.flatnonzero(costs > COVERED)
        for cover in _COVERS if len(doubtful) else ():
            usual[[0, 5, 6]], covered = cover, np.ones(len(doubtful), bool)
            found, cost = self._fitted(gains, np.tile(usual, (len(doubtful), 1)), doubtful, covered, _FIRST)
            better = cost + COVERED < costs[doubtful]
            at = doubtful[better]
            self.start[at], costs[at], self.covered[at] = found[better], cost[better] + COVERED, True

    def misfit(self, gains: np.ndarray) -> np.ndarray:
        """Return the residuals of edges and skin, in units of their deviations, for a transfer function."""
        skins = self._again(gains)
        errors = _vague(self.errors, self.covered)
        wrong = (gains * spectrum(skins, self.frequencies)[0] - self.edges) / errors
        unusual, supposed = (skins - self.usual) / SPREAD, (2 * COVERED) ** 0.5 * self.covered
        residuals = np.concatenate([wrong.real.ravel(), wrong.imag.ravel(), unusual.ravel(), supposed])
        return np.asarray(residuals / self.independent**0.5)

    def blur(self, gains: np.ndarray) -> float:
        """Return the cost of the blur of the skin, which is a part of the squares of `misfit`."""
        return float(np.sum(((self._again(gains) - USUAL) / SPREAD)[:, 1] ** 2) / 2 / self.independent)

    def _again(self, gains: np.ndarray) -> np.ndarray:
        return self._fitted(gains, self.start, np.arange(len(self.edges)), self.covered, _AGAIN)[0]

    def _fitted(
        self, gains: np.ndarray, skins: np.ndarray, rows: np.ndarray, covered: np.ndarray, iterations: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Fit the skin of some directions by damped least squares (Levenberg-Marquardt); return it and its costs."""
        edges, errors = self.edges[rows], _vague(self.errors[rows], covered)
        free = np.ones(skins.shape, bool)
        free[:, _COVER] = covered[:, None]
        prior, diagonal = 1 / SPREAD**2, np.arange(len(USUAL))

        def costs(wrong: np.ndarray, skins: np.ndarray) -> np.ndarray:
            return np.asarray((np.abs(wrong) ** 2).sum(1) + (((skins - self.usual) / SPREAD) ** 2).sum(1)) / 2

        damping = np.full(len(skins), 1e-2)
        model, slopes = spectrum(skins, self.frequencies)
        wrong = (gains * model - edges) / errors
        best = costs(wrong, skins)
        for _ in range(iterations):
            step = gains * slopes / errors[:, None] * free[..., None]
            normal = (step.conj() @ step.swapaxes(1, 2)).real
            normal[:, diagonal, diagonal] = (normal[:, diagonal, diagonal] + prior) * (1 + damping[:, None]) + ~free
            slope = (step.conj() @ wrong[..., None])[..., 0].real + (skins - self.usual) * prior
            tried = np.clip(skins - free * np.linalg.solve(normal, slope[..., None])[..., 0], LOWEST, HIGHEST)
            others = spectrum(tried, self.frequencies)
            rest = (gains * others[0] - edges) / errors
            cost = costs(rest, tried)
            good = cost < best
            skins, best = np.where(good[:, None], tried, skins), np.where(good, cost, best)
            wrong = np.where(good[:, None], rest, wrong)
            slopes = np.where(good[:, None, None], others[1], slopes)
            damping = np.clip(np.where(good, 0.3, 5) * damping, 1e-6, 1e6)
        return skins, best


def _vague(errors: np.ndarray, covered: np.ndarray) -> np.ndarray:
    return errors * np.where(covered, VAGUE, 1)[:, None]


def spectrum(skins: np.ndarray, frequencies: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the spectrum of skin, `(n, frequencies)`, complex, and its derivatives, `(n, 7, frequencies)`.

    Args:
        skins: `(n, 7)`: shift, s, a, t, w, b and u of each, see the module.
        frequencies: cycles/mm.
    """
    shift, s, a, t, w, b, u = (skins[:, k, None] for k in range(7))
    turn, bend = 2j * np.pi * frequencies, 4 * np.pi**2 * frequencies**2
    blur, dermis = np.exp(-bend * s**2 / 2), np.exp(-turn * t - bend * w**2 / 2)
    cover, whole, moved = blur * np.exp(turn * u), 1 + a + b, np.exp(-turn * shift)
    model = (blur + a * dermis + b * cover) / whole
    parts = [
        -turn * model,
        -bend * s * (blur + b * cover) / whole,
        (dermis - model) / whole,
        -turn * a * dermis / whole,
        -bend * w * a * dermis / whole,
        (cover - model) / whole,
        turn * b * cover / whole,
    ]
    return model * moved, np.stack([part * moved for part in parts], 1)
