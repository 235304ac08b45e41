"""Draw a faint nodule, a vessel and an airway in source, Gaussian, result and true soft image."""

from __future__ import annotations

from pathlib import Path

import torch
from matplotlib.figure import Figure

from benchmarks.anatomy.inserted import BLOOD, cover_of, crops, with_airways
from benchmarks.anatomy.objects import Ball, Rod
from benchmarks.anatomy.scans import Scan
from benchmarks.anatomy.translate import OURS, SOURCE, TRUTH

GAUSSIAN = "Gaussian of 0.85 px"
TITLES = {SOURCE: "source", GAUSSIAN: "Gaussian, 0.85 px", OURS: "this bundle", TRUTH: "true soft image"}
WINDOW = (-1050.0, -250.0)  # HU
NODULE, AMOUNT, VESSEL, AIRWAY = 6.0, 150.0, 2.0, (4.5, 1.2)
DPI = 100


@torch.no_grad()
def main(ct: str, figure: str = "output/benchmarks/anatomy.png", place: int = 0) -> None:
    """Draw the figure.

    Args:
        ct: path of a soft CT.
        figure: PNG file to write.
        place: number of the place in the lungs.
    """
    scan = Scan.read(ct)
    inner, wall = AIRWAY
    images = {
        f"nodule, {NODULE:g} mm,\n+{AMOUNT:g} HU": scan.with_objects(cover_of(scan, Ball(NODULE), 0), AMOUNT),
        f"vessel, {VESSEL:g} mm,\n+{BLOOD:g} HU": scan.with_objects(cover_of(scan, Rod(VESSEL), 0), BLOOD),
        f"airway, {inner:g} mm,\nwall {wall:g} mm": with_airways(scan, inner, wall),
    }
    picture = Figure((1.7 * len(TITLES) + 0.5, 1.75 * len(images) + 0.2), layout="constrained")
    panels = picture.subplots(len(images), len(TITLES))
    for panel, heading in zip(panels[0], TITLES.values(), strict=True):
        panel.set_title(heading, fontsize=9)
    for row, (title, image) in zip(panels, images.items(), strict=True):
        row[0].set_ylabel(title, fontsize=9)
        shown = crops(scan, image, 0)
        for panel, name in zip(row, TITLES, strict=True):
            middle = shown[name][place, ..., scan.side[2] // 2]
            panel.imshow(middle.T, cmap="gray", vmin=WINDOW[0], vmax=WINDOW[1])
            panel.set_xticks([])
            panel.set_yticks([])
    Path(figure).parent.mkdir(parents=True, exist_ok=True)
    picture.savefig(figure, dpi=DPI)
    print(f"wrote {figure}")
