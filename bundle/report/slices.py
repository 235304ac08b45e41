"""Make pictures of an image: some of its slices before and after translation, and their difference.

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

COUNT = 3  # slices to show
SEARCHED = 24  # slices to search for them
STEP = 4  # pixels between those that are searched
LUNG_TISSUE = (-950.0, -500.0)  # HU; slices with much lung tissue are chosen
LUNG_WINDOW = (-1350.0, 150.0)  # HU: level -600, width 1500
PERCENTILES = (1.0, 99.5)  # values shown as black and white in images without a unit
SPAN = {True: 1 / 10, False: 1 / 4}  # colour limit of differences as a fraction of the window, in HU and without a unit
LARGEST = 640  # pixels, longest side of a picture; larger slices are averaged
COLOURS = "RdBu_r"
ENLARGED = 4  # factor by which a detail is enlarged

Range = tuple[float, float]


@dataclass(frozen=True)
class Picture:
    """One picture.

    Args:
        title: title of the picture.
        pixels: grey `(rows, columns)` or colour `(rows, columns, 3)`, 8 bits.
        span: values of the darkest and the brightest pixel.
    """

    title: str
    pixels: np.ndarray
    span: Range

    def png(self) -> bytes:
        """Return the contents of a PNG file."""
        file = BytesIO()
        Image.fromarray(self.pixels).save(file, "PNG", optimize=True)
        return file.getvalue()


@dataclass(frozen=True)
class Row:
    """The pictures of one slice.

    Args:
        number: number of the slice, counted from the feet, starting at 1.
        place: position in mm along the patient's axis; None for a 2D image.
        pictures: pictures of the slice.
        enlarged: enlargement, if the pictures show a detail of the slice; 1 for the whole slice.
    """

    number: int
    place: float | None
    pictures: tuple[Picture, ...]
    enlarged: int = 1


def orientation_of(image: Slabs) -> Callable[[np.ndarray], np.ndarray]:
    """Return the function that turns a slice `(x, y)` for display, `(rows, columns)`."""
    return np.transpose if getattr(image, "is_picture", False) else lambda voxels: voxels[::-1, ::-1].T


def chosen_slices(image: Slabs, hu: bool, count: int = COUNT) -> list[int]:
    """Choose informative slices: spread over the lungs of a CT, or over the bright parts of another image.

    Args:
        image: the image; at most 24 slices of it are read.
        hu: whether it is in HU.
        count: largest number of slices.
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
    """Yield the pictures of the chosen slices, from the head down, and for a CT a detail of the middle slice.

    Args:
        source: the source on the same grid; None for an image generated from noise.
        result: the result.
        hu: whether both are in HU, and so shown in the lung window.
        comparable: whether both have the same unit; otherwise each gets its own window, and no difference is shown.
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
    """Yield the pictures of source, result and difference in a given size.

    Args:
        planes: source, if there is one, and result, `(rows, columns)`.
        spans: values shown as black and white in each.
        size: columns and rows of the pictures.
        share: colour limit of the difference as a fraction of the span; None for no difference.
    """
    for name, plane in planes.items():
        yield Picture(name, resized(grey(plane, spans[name]), size), spans[name])
    if "source" in planes and share is not None:
        limit = share * (spans["result"][1] - spans["result"][0])
        difference = colours(planes["result"] - planes["source"], limit)
        yield Picture("difference", resized(difference, size), (-limit, limit))


def detail_of(plane: np.ndarray) -> tuple[slice, slice]:
    """Return the part of a slice that contains most lung, with sides a quarter as long."""
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
    """Average a slice over blocks until it has at most 640 pixels per side; incomplete blocks are cropped."""
    step = -(-max(plane.shape) // LARGEST)
    x, y = (size // step for size in plane.shape)
    if step == 1 or not x or not y:
        return plane
    return plane[: x * step, : y * step].reshape(x, step, y, step).mean((1, 3))


def percentile_span(planes: list[np.ndarray]) -> Range:
    """Return the values to show as black and white in slices without a unit."""
    low, high = np.percentile(np.concatenate([plane.ravel() for plane in planes]), PERCENTILES)
    return float(low), float(high if high > low else low + 1)


def grey(plane: np.ndarray, span: Range) -> np.ndarray:
    """Convert a slice to 8 bits: black at the first value of the span, white at the second."""
    return np.rint(255 * np.clip((plane - span[0]) / (span[1] - span[0]), 0, 1)).astype(np.uint8)


def colours(difference: np.ndarray, limit: float) -> np.ndarray:
    """Colour a difference, `(rows, columns, 3)`: blue below 0, white at 0, red above."""
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
    """Resize a picture to the given columns and rows."""
    if pixels.shape[1::-1] == size:
        return pixels
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC))
