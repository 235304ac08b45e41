"""Compare images from scratch with real ones: the distance of the two sets, and whether a sample is a copy.

::

    sample | nearest     sample | nearest     ...      the contact sheet
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from bundle.evaluation.metrics import LUNG, Features, IntensityWindow, Match, frechet_distance, nearest
from bundle.evaluation.report import save
from bundle.images import Slabs, Volume, find_images
from bundle.images.own_files import check_own
from bundle.runtime.files import atomic
from bundle.training.data.packing import leave_out
from matplotlib.figure import Figure

#: The line by which an earlier report is known.
OWN_LINE = "| | samples | training images among themselves |"
COLUMNS = 4  # pairs per row of the contact sheet


def compare_generated(
    samples: str,
    training: str,
    output: str,
    features: Features,
    window: IntensityWindow = LUNG,
    held_out: Sequence[str] = (),
) -> str:
    """Compare samples with the images that a generator was trained on; write ``generated.png`` and ``generated.md``.

    The distance between samples and real images is compared with that between two halves of the real images, which no
    generator can be expected to beat. The samples' distances to their nearest training image are compared with those
    among the training images.

    Args:
        samples: folder of samples.
        training: folder of training images.
        output: folder to write to, created if missing.
        features: feature network for the Frechet distance.
        window: intensity window for the comparison, in the unit of the images.
        held_out: names in ``training`` that were not used in training, with or without suffix.

    Returns:
        The report, in Markdown; it is also printed.

    Raises:
        FileExistsError: If a file would be replaced that this bundle has not made.
        FileNotFoundError: If a folder is missing or holds no image, or a name in ``held_out`` is that of no image.
        ValueError: If there are too few images.
    """
    folder = Path(output)
    for name in ("generated.png", "generated.md"):
        check_own(folder / name, "file", OWN_LINE, "move it away, or take another output_dir")
    generated = find_images(samples, key="samples")
    real = leave_out(find_images(training, key="training"), held_out)
    matches = nearest(named(generated), named(real), window=window)
    among = nearest(named(real), window=window)
    distances = [
        frechet_distance(map(Volume, generated), map(Volume, real), features, window),
        frechet_distance(map(Volume, real[::2]), map(Volume, real[1::2]), features, window),
    ]
    apart, base = (np.array([match.distance for match in group]) for group in (matches, among))
    lines = [
        OWN_LINE,
        "|---|---|---|",
        f"| Frechet distance ({features.name}) | {distances[0]:.3g} | {distances[1]:.3g} |",
        f"| distance to the nearest, median | {np.median(apart):.3f} | {np.median(base):.3f} |",
        f"| distance to the nearest, least | {apart.min():.3f} | {base.min():.3f} |",
        "",
        f"{len(generated)} samples, {len(real)} training images. Frechet distances of few images are too large, and "
        "compare with no other network's. Nearest: root mean square difference at 64 x 64, in parts of the window.",
    ]
    draw_contact_sheet(folder / "generated.png", generated, {match.sample: match for match in matches}, real, window)
    text = "\n".join(lines) + "\n"
    with atomic(folder / "generated.md") as part:
        part.write_text(text, encoding="utf-8")
    print(text)
    return text


def named(paths: Sequence[str]) -> Iterator[tuple[str, Slabs]]:
    """Yield names and images, opened one by one."""
    return ((Path(path).name, Volume(path)) for path in paths)


def draw_contact_sheet(
    path: Path, samples: Sequence[str], matches: dict[str, Match], training: Sequence[str], window: IntensityWindow
) -> None:
    """Draw the middle slice of each sample next to that of its nearest training image."""
    known = {Path(file).name: file for file in training}
    rows = -(-len(samples) // COLUMNS)
    figure = Figure((3.6 * COLUMNS, 2.0 * rows), layout="constrained")
    panels = np.atleast_2d(figure.subplots(rows, 2 * COLUMNS))
    for panel in panels.flat:
        panel.axis("off")
    for number, sample in enumerate(samples):
        match = matches[Path(sample).name]
        row, column = divmod(number, COLUMNS)
        titles = (Path(sample).stem, f"nearest, {match.distance:.2f}")
        for panel, file, title in zip(panels[row, 2 * column :], (sample, known[match.nearest]), titles, strict=False):
            image = Volume(file)
            middle = image.shape[2] // 2
            panel.imshow(image.slab(middle, middle + 1)[..., 0].numpy().T, cmap="gray", vmin=window[0], vmax=window[1])
            panel.set_title(title, fontsize=7)
    save(figure, path)
