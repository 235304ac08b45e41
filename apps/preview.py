"""Draw source, result and their difference side by side as a PNG.

Volumes give a row of axial and a row of coronal slices through the middle, 2D images one row. Both images get the same
orientation, so that their formats may differ; all formats of `bundle.images.formats` can be read.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw
from PIL.PngImagePlugin import PngInfo

from bundle.geometry import ALIKE, corners_apart
from bundle.images.own_files import check_own
from bundle.images.provenance import NAME
from bundle.runtime.files import atomic

WINDOW = (-1350.0, 150.0)  # lung window, HU
SPAN = 200.0  # HU, colour limit of the difference
WIDTH, GAP, LABEL = 420, 6, 16  # pixels: width of a panel, gap between panels, height of a line of text
BLUE, WHITE, RED = np.array([(33, 82, 173), (255, 255, 255), (178, 24, 43)], np.float32)


def read(path: str, series_uid: str = "") -> tuple[np.ndarray, tuple[float, ...], np.ndarray]:
    """Read an image as float32 with its spacing in mm and its affine; axes point to the patient's left, back and head.

    Raises:
        FileNotFoundError: If the image does not exist.
        ValueError: If it does not have two or three axes.
    """
    from monai.transforms import EnsureChannelFirst, Orientation

    from bundle.images.reader import load_image

    if not Path(path).exists():
        raise FileNotFoundError(f"there is no image at {path!r}; give a file, or a folder with one DICOM series.")
    image: Any = EnsureChannelFirst()(load_image(path, series_uid))
    if image.ndim == 4 and image.shape[-1] > 1:
        image = Orientation(axcodes="LPS", labels=(("L", "R"), ("P", "A"), ("I", "S")))(image)
    spacing = tuple(float(s) for s in image.pixdim)
    array = image.numpy()[0].astype(np.float32)
    if array.ndim == 3 and array.shape[-1] == 1:
        array = array[..., 0]
    if array.ndim not in (2, 3):
        raise ValueError(f"{path!r} has the shape {array.shape}; a preview needs an image of two or three axes.")
    return array, spacing[: array.ndim], image.affine.numpy()


def grey(image: np.ndarray, window: Sequence[float]) -> np.ndarray:
    """Map an image to grey values in a window, `(..., 3)` uint8."""
    low, high = window
    return np.repeat((np.clip((image - low) / (high - low), 0, 1) * 255).astype(np.uint8)[..., None], 3, -1)


def red_blue(difference: np.ndarray, span: float) -> np.ndarray:
    """Map a difference to colours, `(..., 3)` uint8: blue below 0, white at 0, red above, saturated at ``span``."""
    share = np.clip(difference / span, -1, 1)[..., None]
    colour = WHITE + np.abs(share) * (np.where(share < 0, BLUE, RED) - WHITE)
    return colour.astype(np.uint8)


def panel(colours: np.ndarray, spacing: Sequence[float]) -> Image.Image:
    """Return a colour slice `(column, row, 3)` as a picture `WIDTH` pixels wide, with its height set by the spacing."""
    columns, rows = (size * mm for size, mm in zip(colours.shape, spacing, strict=False))
    size = (WIDTH, max(1, round(WIDTH * rows / columns)))
    return Image.fromarray(np.ascontiguousarray(colours.swapaxes(0, 1))).resize(size, Image.Resampling.BICUBIC)


def cuts(image: np.ndarray, spacing: Sequence[float]) -> dict[str, tuple[np.ndarray, tuple[float, ...]]]:
    """Return the slices to show, by name: slice as (column, row), and spacing."""
    if image.ndim == 2:
        return {"": (image, tuple(spacing))}
    _, y, z = (size // 2 for size in image.shape)
    return {
        "axial ": (image[:, :, z], (spacing[0], spacing[1])),
        "coronal ": (image[:, y, ::-1], (spacing[0], spacing[2])),
    }


def preview(
    source: str,
    result: str,
    png: str,
    window: Sequence[float] | None = None,
    span: float | None = None,
    series_uid: str = "",
) -> str:
    """Draw source | result | difference and return the picture's path.

    Args:
        source: the image that was translated.
        result: its translation, on the same grid.
        png: path of the picture; only an earlier one of the bundle is replaced.
        window: lowest and highest value shown; by default the lung window for images in HU (any value below -200), or
            else the source's range.
        span: difference at which the colours saturate; by default 200 HU, or a seventh of any other window.
        series_uid: the series to take from a source that is a DICOM folder with several.

    Raises:
        FileExistsError: If there is another file at the picture's path.
        FileNotFoundError: If an image does not exist.
        ValueError: If the grids differ, or the picture is the source or the result.
    """
    for name, path in (("source", source), ("result", result)):
        if Path(png).exists() and Path(path).exists() and Path(png).samefile(path):
            raise ValueError(f"the picture {png!r} is the {name}, which it would replace; give it another name.")
    check_own(png, "picture")
    (before, spacing, place), (after, other, its_place) = read(source, series_uid), read(result)
    same = before.shape == after.shape and np.allclose(spacing, other, rtol=1e-3)
    apart = corners_apart(before.shape, place, its_place) if same and before.ndim == 3 else 0.0
    if not same or apart > ALIKE * min(spacing):
        raise ValueError(
            f"the source {source!r} has {before.shape} voxels of {spacing} mm, the result {result!r} {after.shape} of "
            f"{other} mm, {apart:.3g} mm apart. A result lies on its source's grid; give the pair that belongs "
            "together."
        )
    own = float(before.min()), float(max(before.max(), before.min() + 1))
    low, high = window or (WINDOW if own[0] < -200 else own)
    span = span or (SPAN if (low, high) == WINDOW else (high - low) / 7)
    rows = []
    for name, (old, mm) in cuts(before, spacing).items():
        new = cuts(after, spacing)[name][0]
        rows.append(
            {
                f"{name}source, {low:.4g} to {high:.4g}": panel(grey(old, (low, high)), mm),
                f"{name}result, {low:.4g} to {high:.4g}": panel(grey(new, (low, high)), mm),
                f"{name}result - source, {-span:.4g} (blue) to {span:.4g} (red)": panel(red_blue(new - old, span), mm),
            }
        )
    heights = [LABEL + next(iter(row.values())).height + GAP for row in rows]
    sheet = Image.new("RGB", (3 * (WIDTH + GAP) + GAP, sum(heights) + GAP), "white")
    draw, top = ImageDraw.Draw(sheet), GAP
    for row, height in zip(rows, heights, strict=True):
        for column, (label, picture) in enumerate(row.items()):
            left = GAP + column * (WIDTH + GAP)
            draw.text((left + 2, top), label, fill="black")
            sheet.paste(picture, (left, top + LABEL))
        top += height
    made_here = PngInfo()
    made_here.add_text("Software", NAME)
    with atomic(png) as part:
        sheet.save(part, pnginfo=made_here)
    return png


if __name__ == "__main__":
    from bundle.runtime.commands import run_command

    run_command(preview)
