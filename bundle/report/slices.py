"""Pictures of an image: some of its slices before and after, and their difference.

::

    source      result      result - source     slice 12: seen from the feet, as in radiology
    source      result      result - source     slice 31
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import numpy as np
from bundle.images import Slabs
from bundle.scanner import spread_slices
from matplotlib import colormaps
from PIL import Image
from scipy.ndimage import uniform_filter

COUNT = 3  # slices that are shown
SEARCHED = 24  # slices that are looked at to choose them
STEP = 4  # pixels: every so many are looked at
LUNG_TISSUE = (-950.0, -500.0)  # HU: slices with much of it are chosen
LUNG_WINDOW = (-1350.0, 150.0)  # HU: level -600, width 1500
PERCENTILES = (1.0, 99.5)  # black and white of images without a unit
SPAN = {True: 1 / 10, False: 1 / 4}  # of the window, in HU and without a unit: limit of the difference's colours
LARGEST = 640  # pixels: longest side of a picture; larger slices are averaged
COLOURS = "RdBu_r"
ENLARGED = 4  # times that a detail is enlarged

Range = tuple[float, float]


@dataclass(frozen=True)
class Picture:
    """One picture.

    Args:
        title: what it shows.
        pixels: grey `(rows, columns)` or coloured `(rows, columns, 3)`, 8 bits.
        span: values of the darkest and the brightest pixel.
    """

    title: str
    pixels: np.ndarray
    span: Range

    def png(self) -> bytes:
        """Return it as a PNG file."""
        file = BytesIO()
        Image.fromarray(self.pixels).save(file, "PNG", optimize=True)
        return file.getvalue()


@dataclass(frozen=True)
class Row:
    """The pictures of one slice.

    Args:
        number: of the slice, from 1 on, counted from the feet.
        place: in mm along the patient's axis; None for a picture of two axes.
        pictures: of it.
        enlarged: how many times larger it is shown than the whole slice: a detail of it.
    """

    number: int
    place: float | None
    pictures: tuple[Picture, ...]
    enlarged: int = 1


def orientation_of(image: Slabs) -> Callable[[np.ndarray], np.ndarray]:
    """Return the function that turns a slice `(x, y)` for display, `(rows, columns)`."""
    return np.transpose if getattr(image, "is_picture", False) else lambda voxels: voxels[::-1, ::-1].T


def chosen_slices(image: Slabs, hu: bool, count: int = COUNT) -> list[int]:
    """Return slices that show most: spread over the lungs of a CT, over what is bright in another image.

    Args:
        image: of which at most 24 slices are read.
        hu: whether it is in HU.
        count: slices at most.
    """
    numbers = spread_slices(image.shape[2], SEARCHED)
    parts = [image.slab(z, z + 1)[::STEP, ::STEP, 0].numpy() for z in numbers]
    low, high = LUNG_TISSUE if hu else (float(np.mean([part.mean() for part in parts])), np.inf)
    weights = np.asarray([((part > low) & (part < high)).mean() for part in parts])
    weights = weights if weights.any() else np.ones(len(parts))
    reached = np.cumsum(weights) / weights.sum()
    shares = (np.arange(count) + 0.5) / count
    found = np.searchsorted(reached, shares)
    return sorted({numbers[place] for place in found}, reverse=True)


def shown_rows(source: Slabs | None, result: Slabs, hu: bool, comparable: bool = True) -> Iterator[Row]:
    """Yield the pictures of the chosen slices, from the head down, and of a CT a detail of the middle one.

    Args:
        source: on the same grid; None for an image out of noise.
        result: what was made of it.
        hu: whether both are in HU: then they are shown in the lung window.
        comparable: whether both have one unit; else each has its own window, and their difference means nothing.
    """
    numbers = chosen_slices(result, hu)
    turn, is_picture = orientation_of(result), getattr(result, "is_picture", False)
    images = {"source": source, "result": result} if source is not None else {"result": result}
    planes = {
        name: [turn(pooled(image.slab(z, z + 1)[..., 0].numpy())) for z in numbers] for name, image in images.items()
    }
    spans = {name: LUNG_WINDOW if hu else percentile_span(values) for name, values in planes.items()}
    if comparable and not hu:
        spans = dict.fromkeys(spans, (min(low for low, _ in spans.values()), max(high for _, high in spans.values())))
    size, share = picture_size(result), SPAN[hu] if comparable else None
    for row, z in enumerate(numbers):
        place = None if is_picture else float(result.affine[2, 3] + result.affine[2, 2] * z)
        each = {name: values[row] for name, values in planes.items()}
        yield Row(z + 1, place, tuple(pictures_of(each, spans, size, share)))
        if hu and row == len(numbers) // 2:
            part = detail_of(each["result"])
            yield Row(
                z + 1,
                place,
                tuple(pictures_of({name: plane[part] for name, plane in each.items()}, spans, size, share)),
                ENLARGED,
            )


def pictures_of(
    planes: Mapping[str, np.ndarray], spans: Mapping[str, Range], size: tuple[int, int], share: float | None
) -> Iterator[Picture]:
    """Yield the pictures of source and result, and of their difference, with so many columns and rows.

    Args:
        planes: source, if there is one, and result, `(rows, columns)`.
        spans: black and white of each.
        size: columns and rows.
        share: of the span: limit of the difference's colours; None for no difference.
    """
    for name, plane in planes.items():
        yield Picture(name, resized(grey(plane, spans[name]), size), spans[name])
    if "source" in planes and share is not None:
        limit = share * (spans["result"][1] - spans["result"][0])
        difference = colours(planes["result"] - planes["source"], limit)
        yield Picture("difference", resized(difference, size), (-limit, limit))


def detail_of(plane: np.ndarray) -> tuple[slice, slice]:
    """Return the part of a slice with most lung in it, a quarter of its sides."""
    sides = [max(size // ENLARGED, 1) for size in plane.shape]
    lung = ((plane > LUNG_TISSUE[0]) & (plane < LUNG_TISSUE[1])).astype(np.float32)
    share = uniform_filter(lung, sides, mode="constant")
    inner = tuple(
        slice(side // 2, size - (side - side // 2) + 1) for side, size in zip(sides, plane.shape, strict=True)
    )
    best = np.unravel_index(int(np.argmax(share[inner])), share[inner].shape)
    rows, columns = (slice(int(start), int(start) + side) for start, side in zip(best, sides, strict=True))
    return rows, columns


def pooled(plane: np.ndarray) -> np.ndarray:
    """Return a slice averaged over blocks until it has at most 640 pixels a side; a border that fills none is cut."""
    step = -(-max(plane.shape) // LARGEST)
    x, y = (size // step for size in plane.shape)
    if step == 1 or not x or not y:
        return plane
    return plane[: x * step, : y * step].reshape(x, step, y, step).mean((1, 3))


def percentile_span(planes: list[np.ndarray]) -> Range:
    """Return the values to show as black and white of slices without a unit."""
    low, high = np.percentile(np.concatenate([plane.ravel() for plane in planes]), PERCENTILES)
    return float(low), float(high if high > low else low + 1)


def grey(plane: np.ndarray, span: Range) -> np.ndarray:
    """Return a slice in 8 bits: black at the first value, white at the second."""
    return np.rint(255 * np.clip((plane - span[0]) / (span[1] - span[0]), 0, 1)).astype(np.uint8)


def colours(difference: np.ndarray, limit: float) -> np.ndarray:
    """Return a difference in colours, `(rows, columns, 3)`: blue below 0, white at 0, red above."""
    shares: Any = np.clip(difference / limit / 2 + 0.5, 0, 1)
    return np.rint(255 * colormaps[COLOURS](shares)[..., :3]).astype(np.uint8)


def picture_size(image: Slabs) -> tuple[int, int]:
    """Return columns and rows of a picture with square pixels."""
    step = -(-max(image.shape[:2]) // LARGEST)
    sides = [max(size // step, 1) * mm for size, mm in zip(image.shape[:2], image.spacing[:2], strict=True)]
    finest = max(min(image.spacing[:2]), max(sides) / LARGEST)
    columns, rows = (max(round(side / finest), 1) for side in sides)
    return columns, rows


def resized(pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Return a picture with so many columns and rows."""
    if pixels.shape[1::-1] == size:
        return pixels
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC))
