"""Draw the report's figures: a slice and its differences, noise power spectra, and the spread over blocks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path

import numpy as np
from bundle.evaluation.metrics import LUNG, IntensityWindow, flat_places, noise_spectrum
from bundle.images import Slabs
from bundle.images.provenance import NAME
from bundle.report.slices import orientation_of
from bundle.runtime.files import atomic
from matplotlib.figure import Figure

SPAN = 1 / 6  # limit of the colour scale of differences, as a fraction of the window
DPI = 110


def draw_slices(
    path: Path, images: Mapping[str, Slabs], target: str = "target", window: IntensityWindow = LUNG, unit: str = "HU"
) -> None:
    """Draw the middle slice of each image in a window, and below it the difference to the target.

    The patient is seen from the feet, as in radiology; a 2D image is shown as it is.

    Args:
        path: PNG file to write.
        images: images on one grid, by name, the target last.
        target: name of the image that the others are compared with.
        window: values shown as black and white.
        unit: unit of the images.
    """
    span = SPAN * (window[1] - window[0])
    turn = orientation_of(images[target])
    shape, spacing = images[target].shape, images[target].spacing
    z, across = shape[2] // 2, spacing[1] / spacing[0]
    slices = {name: image.slab(z, z + 1)[..., 0].numpy() for name, image in images.items()}
    height = 3.2 * shape[1] * across / shape[0]
    figure = Figure((3.2 * len(slices) + 0.6, 2 * height + 0.7), layout="constrained")
    axes = np.atleast_2d(figure.subplots(2, len(slices)))
    for column, (name, image) in enumerate(slices.items()):
        upper, lower = axes[:, column]
        upper.imshow(turn(image), cmap="gray", vmin=window[0], vmax=window[1], aspect=across)
        upper.set_title(name, fontsize=9)
        if name != target:
            difference = lower.imshow(turn(image - slices[target]), cmap="RdBu_r", vmin=-span, vmax=span, aspect=across)
            lower.set_title(f"{name} - {target}", fontsize=9)
        for panel in (upper, lower):
            panel.set_xticks([])
            panel.set_yticks([])
    axes[1, -1].axis("off")
    figure.colorbar(difference, cax=axes[1, -1].inset_axes((0.05, 0.05, 0.07, 0.9)), label=unit)
    save(figure, path)


def draw_enlarged(
    path: Path, result: Slabs, target: Slabs, faces: Sequence[Sequence[int]], window: IntensityWindow = LUNG
) -> None:
    """Draw the middle slice of a result, and an enlarged detail across tile borders next to that of the target.

    The detail lies around the crossing of tile borders with the largest contrast in the target; ticks mark the borders.

    Args:
        path: PNG file to write.
        result: an image that was computed tile by tile.
        target: target on the same grid.
        faces: where tiles begin, per axis (see `bundle.evaluation.metrics.faces_of`).
        window: values shown as black and white.
    """
    turn, z = orientation_of(target), target.shape[2] // 2
    whole, truth = (image.slab(z, z + 1)[..., 0].numpy() for image in (result, target))
    side = max(min(whole.shape) // 6, 1)
    crossings = product(*(places or [size // 2] for places, size in zip(faces[:2], whole.shape, strict=True)))
    corners = [
        [min(max(at - side // 2, 0), size - side) for at, size in zip(crossing, whole.shape, strict=True)]
        for crossing in crossings
    ]
    starts = max(corners, key=lambda corner: float(np.std(truth[tuple(slice(at, at + side) for at in corner)])))
    marks = np.zeros(whole.shape)
    for axis, start in enumerate(starts):
        for at in faces[axis]:
            if start < at < start + side:
                edge: list[slice] = [slice(begin, begin + max(side // 20, 1)) for begin in starts]
                edge[axis] = slice(at, at + 1)
                marks[tuple(edge)] = 1
    part = tuple(slice(start, start + side) for start in starts)
    box = np.zeros(whole.shape)
    box[part] = 1
    figure = Figure((9.6, 3.5), layout="constrained")
    panels = figure.subplots(1, 3)
    parts = (("result", whole), ("result, enlarged", whole[part]), ("target, enlarged", truth[part]))
    for panel, (title, image) in zip(panels, parts, strict=True):
        panel.imshow(turn(image), cmap="gray", vmin=window[0], vmax=window[1], interpolation="nearest")
        panel.set_title(title, fontsize=9)
        panel.axis("off")
    panels[0].contour(turn(box), [0.5], colors="tab:orange", linewidths=1)
    panels[1].contour(turn(marks[part]), [0.5], colors="tab:orange", linewidths=1)
    save(figure, path)


def draw_spectra(path: Path, images: Mapping[str, Slabs], target: str = "target") -> bool:
    """Draw the noise power spectrum of each image at the target's flat places; return False if there are none."""
    places = flat_places(images[target])
    if not places:
        return False
    figure = Figure((6.4, 4.2), layout="constrained")
    axes = figure.subplots()
    for name, image in images.items():
        axes.semilogy(*noise_spectrum(image, places), label=name, linestyle="--" if name == target else "-")
    axes.set_xlabel("radial frequency, cycles/mm")
    axes.set_ylabel("noise power, HU$^2$ mm$^2$")
    axes.set_title(f"noise in flat soft tissue, {len(places)} patches", fontsize=9)
    axes.legend(fontsize=8)
    axes.grid(alpha=0.3)
    save(figure, path)
    return True


def draw_boxes(path: Path, blocks: Mapping[str, Sequence[float] | np.ndarray]) -> None:
    """Draw a box plot of the blocks' SSIM for each method: quartiles, and the 5th and 95th percentile."""
    figure = Figure((6.4, 0.38 * len(blocks) + 1.1), layout="constrained")
    axes = figure.subplots()
    names = [name.replace("*", "") for name in blocks]
    values = [np.asarray(value) for value in blocks.values()]
    axes.boxplot(values, orientation="horizontal", whis=(5, 95), showfliers=False, widths=0.6)
    axes.set_yticks(range(1, len(names) + 1), names, fontsize=8)
    axes.invert_yaxis()
    axes.set_xlabel(f"SSIM of a block (n = {len(values[0])})")
    axes.grid(axis="x", alpha=0.3)
    save(figure, path)


def save(figure: Figure, path: Path) -> None:
    """Write a figure as PNG, marked as the bundle's own."""
    with atomic(path) as part:
        figure.savefig(part, format="png", dpi=DPI, metadata={"Software": NAME})
