"""Compare source and result with the target of real pairs: mean HU of tissues, detail and radiomic features.

The bundle translates each pair in three ways: to its default soft kernel; calibrated elsewhere, by the fit of the run
id `calibrating` on the other half of the slice or of the slices, or on other slices; and to a reference, other slices
of the target. Nothing is fitted to voxels that are evaluated.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor

from benchmarks.anatomy.regions import BANDS, NAMES, gains, patches, shifts, tissues
from benchmarks.anatomy.texture import CO_OCCURRENCE, FEATURES, FIRST_ORDER, concordance, table
from benchmarks.anatomy.translate import OURS, SOURCE
from benchmarks.check_input import NO_CHEST
from benchmarks.inference import calibration, joined, reference, translated
from benchmarks.pairs import GAUSSIANS, Pair, blurred, existing, folds
from benchmarks.real_pairs import by_default, elsewhere
from bundle.evaluation.metrics import body_mask
from bundle.scanner import find_transfer

SQUARE = 11.0  # mm: side of the squares whose features are compared
MOST = 250  # largest number of squares per tissue
FEWEST = 20  # smallest number of squares for a concordance
KINDS = ("lung", "soft tissue")


def results(pair: Pair, others: Sequence[Pair]) -> Iterator[tuple[str, Tensor]]:
    """Yield the source, its fixed Gaussians, and the bundle's results in all ways, by title."""
    parts = folds(pair, others)
    yield SOURCE, pair.source
    for sigma in GAUSSIANS:
        yield f"Gaussian of {sigma:g} px", blurred(pair.source, sigma)
    if (plain := by_default(pair)) is not None:
        yield "default, without networks", plain
    yield f"{OURS}, default", translated(pair.source, pair.spacing)
    if all(any(find_transfer(each, pair.spacing) for each in part.references) for part in parts):
        yield f"{OURS}, reference", joined(pair, parts, partial(reference, pair.spacing))
    yield "calibrated elsewhere, without networks", elsewhere(pair, others, levels=True)
    yield f"{OURS}, calibrated elsewhere", joined(pair, parts, partial(calibration, pair.spacing))


def squares(mask: np.ndarray, side: int) -> list[tuple[int, int, int]]:
    """Return squares that lie within a mask, evenly sampled if there are too many."""
    every = patches(mask, side, side)
    return [every[k] for k in np.linspace(0, len(every) - 1, MOST).astype(int)] if len(every) > MOST else every


def judge(pair: Pair, others: Sequence[Pair], chest: bool) -> Iterator[tuple[str, list[float], dict[str, np.ndarray]]]:
    """Yield for each method its title, shifts and gains, and the concordance of each feature by tissue.

    Args:
        pair: source and target.
        others: pairs of the same patient and kernels.
        chest: whether air inside the body is lung; otherwise it is bowel gas or a hole in a phantom.
    """
    target = pair.target.numpy()
    masks = tissues(target)
    masks["lung"] &= chest
    body = np.stack([body_mask(target[..., z]) for z in range(target.shape[2])], -1)
    side = round(SQUARE / pair.spacing[0])
    regions = {"lung": masks["lung"], "soft tissue": _soft(target, masks, body)}
    places = {kind: squares(regions[kind], side) for kind in KINDS}
    places = {kind: found for kind, found in places.items() if len(found) >= FEWEST}
    wanted = {kind: table(target, found, side) for kind, found in places.items()}
    print(f"squares of {side} pixels: {', '.join(f'{len(found)} {kind}' for kind, found in places.items()) or 'none'}")
    for title, result in results(pair, others):
        image = result.numpy()
        numbers = [*shifts(image, target, masks), *gains(image, target, pair.spacing, body)]
        agreement = {kind: concordance(table(image, found, side), wanted[kind]) for kind, found in places.items()}
        yield title, numbers, agreement


def _soft(target: np.ndarray, masks: dict[str, np.ndarray], body: np.ndarray) -> np.ndarray:
    """Return the body without lung, air and bone: organs, muscle and fat."""
    smooth = gaussian_filter(target, (1, 1, 0))
    return np.asarray(body & ~masks["lung"] & ~masks["bone"] & (smooth > -200) & (smooth < 200))


@torch.no_grad()
def main(data: str, only: str | Sequence[str] = "") -> None:
    """Print a table for each pair, then the mean concordance of each feature over the pairs.

    Args:
        data: folder of the pairs, see `benchmarks.pairs`.
        only: words; pairs whose title contains none of them are left out.
    """
    words = [only] if isinstance(only, str) else list(only)
    every: dict[str, dict[str, list[np.ndarray]]] = {}
    heads = [*NAMES, *(f"{low:g} to {high:g} /mm" for low, high in BANDS), *(f"CCC {kind}" for kind in KINDS)]
    for title, source, pair, others in existing(Path(data), words):
        print(f"\n{title}\n")
        rows = list(judge(pair, others, not Path(source).name.startswith(NO_CHEST)))
        print(f"\n| method | {' | '.join(heads)} |\n|---|{'---|' * len(heads)}")
        for name, numbers, agreement in rows:
            cells = [f"{v:+.1f}" for v in numbers[: len(NAMES)]] + [f"{v:.2f}" for v in numbers[len(NAMES) :]]
            cells += [f"{np.nanmean(agreement[kind]):.3f}" if kind in agreement else "-" for kind in KINDS]
            print(f"| {name} | {' | '.join('-' if cell in ('+nan', 'nan') else cell for cell in cells)} |", flush=True)
            for kind, values in agreement.items():
                every.setdefault(kind, {}).setdefault(name, []).append(values)
    for kind, by_method in every.items():
        _by_feature(kind, by_method)


def _by_feature(kind: str, by_method: dict[str, list[np.ndarray]]) -> None:
    """Print the mean concordance of each feature, for methods that all pairs have."""
    pairs = max(map(len, by_method.values()))
    shown = {name: np.nanmean(found, 0) for name, found in by_method.items() if len(found) == pairs}
    print(f"\nCCC in {kind}, mean of {pairs} pairs\n\n| feature | {' | '.join(shown)} |\n|---|{'---|' * len(shown)}")
    for k, feature in enumerate(FEATURES):
        print(f"| {feature} | {' | '.join(f'{values[k]:.3f}' for values in shown.values())} |")
    for name, first, last in (("first-order", 0, len(FIRST_ORDER)), ("co-occurrence", -len(CO_OCCURRENCE), None)):
        cells = (f"{np.nanmean(values[first:last]):.3f}" for values in shown.values())
        print(f"| *mean, {name}* | {' | '.join(cells)} |")
    print(f"| *share above .85* | {' | '.join(f'{(v > 0.85).mean():.2f}' for v in shown.values())} |", flush=True)
