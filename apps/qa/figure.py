"""Draw the comparison: the slice with the inserts of each series, changes in HU, MTF and noise power."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np

from apps.qa.compare import LIMIT
from apps.qa.measured import Measured

WINDOW = (-1100.0, 1100.0)  # HU


def draw(path: Path, title: str, series: Mapping[str, Measured]) -> None:
    """Write the picture as PNG.

    Args:
        path: file to write.
        title: title of the picture.
        series: `before`, `after`, and optionally `target`.
    """
    figure, axes = plt.subplots(2, 3, figsize=(12, 7.5), constrained_layout=True)
    figure.suptitle(title)
    for place, (name, one) in zip(axes[0], series.items(), strict=False):
        place.imshow(one.picture, cmap="gray", vmin=WINDOW[0], vmax=WINDOW[1])
        place.set_title(name)
    for place in axes[0]:
        place.axis("off")
    inserts, mtf, power = axes[1]
    before, after = series["before"], series["after"]
    names = [name for name in before.inserts if name in after.inserts]
    inserts.barh(names, [np.mean(after.inserts[name]) - np.mean(before.inserts[name]) for name in names])
    inserts.axvspan(-LIMIT, LIMIT, alpha=0.2, label=f"{LIMIT:.0f} HU")
    inserts.set(xlabel="after minus before, HU", title="inserts")
    inserts.legend()
    for name, one in series.items():
        mtf.plot(list(one.mtf), list(one.mtf.values()), marker="o", label=name)
        power.plot(one.frequency, one.power, label=name)
    mtf.set(xlabel="line pairs/mm", title="relative MTF", ylim=(0, None))
    power.set(xlabel="cycles/mm", ylabel="HU² mm²", title="noise power")
    if any(value > 0 for one in series.values() for value in one.power):
        power.set_yscale("log")
    for place in (mtf, power):
        place.legend()
        place.grid(alpha=0.3)
    figure.savefig(path, dpi=100, metadata={"Comment": "made by apps.qa"})
    plt.close(figure)
