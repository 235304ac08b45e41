"""Photos: single 2D images of PNG, JPEG, TIFF and DICOM as MONAI reads them, each with the depth of its file.

Arrays are `(columns, rows)`. The metadata name the ``bits`` of a level; a TIFF of numbers that are no levels, signed or
of floating point, has none.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import itk
import numpy as np
from bundle.images.xray import read_xray, spacing_of_xray
from monai.data import ImageReader, ITKReader
from monai.utils import ensure_tuple
from PIL import Image, ImageFile

#: Tag of a TIFF, Photometric Interpretation: 0 where high values are dark.
PHOTOMETRIC = 262


class PhotoReader(ImageReader):
    """Read a PNG, JPEG, TIFF or DICOM image in grey, colour turned to grey; high levels are bright."""

    def verify_suffix(self, filename: Any) -> bool:
        """Whether these are files."""
        return all(Path(name).is_file() for name in ensure_tuple(filename))

    def read(self, data: Any, **kwargs: Any) -> tuple[np.ndarray, dict]:
        """Read one file: its array, and what is told of it.

        Raises:
            ValueError: where the file is broken, or holds anything but one image in grey or plain colour.
        """
        (path,) = ensure_tuple(data)
        name = str(path).lower()
        if name.endswith((".png", ".jpg", ".jpeg")):
            return _of(_read_by_pillow(path))
        if name.endswith((".tif", ".tiff")):
            return _read_tiff(path)
        levels, header = read_xray(path)
        return _of(levels, spacing_of_xray(header), int(header.BitsStored))

    def get_data(self, img: Any) -> tuple[np.ndarray, dict]:
        """As they were read."""
        return img


def _of(image: np.ndarray, spacing: Sequence[float] = (1.0, 1.0), bits: int | None = None) -> tuple[np.ndarray, dict]:
    """An image with its metadata; the bits are by default those of its type."""
    meta: dict[str, Any] = {"affine": np.diag([*spacing, 1.0, 1.0]), "spatial_shape": np.asarray(image.shape)}
    meta["original_affine"], meta["original_channel_dim"] = meta["affine"].copy(), float("nan")
    if bits or image.dtype in (np.uint8, np.uint16):
        meta["bits"] = bits or 8 * image.dtype.itemsize
    return image, meta


@contextmanager
def _opened(path: str | Path) -> Iterator[ImageFile.ImageFile]:
    """A file opened by Pillow, of any size: its limit is meant for what strangers upload."""
    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        with Image.open(path) as photo:
            yield photo
    finally:
        Image.MAX_IMAGE_PIXELS = limit


def _read_by_pillow(path: str | Path) -> np.ndarray:
    """Levels of 8 bits, of 16 where the file has grey ones."""
    try:
        with _opened(path) as photo:
            return _grey(path, photo)
    except (OSError, SyntaxError) as error:
        raise ValueError(
            f"image {str(path)!r} cannot be decoded ({error}); it may be cut short: fetch it again."
        ) from error


def _grey(path: str | Path, photo: ImageFile.ImageFile) -> np.ndarray:
    """The levels of an opened photo."""
    how: Any = photo.tile[0][3]
    packed = how[0] if isinstance(how, tuple) else how
    if "16" in str(packed) and not photo.mode.startswith("I"):
        raise ValueError(
            f"image {str(path)!r} has colours or alpha of 16 bits, which would lose 8; save it in grey of 16 bits."
        )
    if photo.has_transparency_data and np.asarray(photo.convert("RGBA"))[..., 3].min() < 255:
        raise ValueError(
            f"image {str(path)!r} has transparent pixels, which have no grey of their own; save it without alpha."
        )
    if photo.mode.startswith("I"):
        return np.asarray(photo).astype(np.uint16).T
    return np.asarray(photo.convert("L")).T


def _read_tiff(path: str | Path) -> tuple[np.ndarray, dict]:
    """By ITK, which knows the pixel size and more kinds of numbers; colours by Pillow."""
    dark = 1
    try:
        with _opened(path) as photo:
            pages, mode, dark = getattr(photo, "n_frames", 1), photo.mode, photo.getexif().get(PHOTOMETRIC, 1)
    except (OSError, SyntaxError, EOFError):
        pages, mode = 1, "F"  # broken, or of numbers that Pillow does not know: ITK will tell
    if pages > 1:
        raise ValueError(
            f"image {str(path)!r} has {pages} pages; one is needed: save the page to translate, of a pyramid the "
            "largest, as its own file."
        )
    if mode not in ("L", "F") and not mode.startswith("I"):
        return _of(_read_by_pillow(path))
    try:
        found = itk.imread(str(path))
    except RuntimeError as error:
        raise ValueError(f"image {str(path)!r} cannot be decoded; it may be cut short: fetch it again.") from error
    image, _ = ITKReader().get_data(found)
    if image.ndim != 2:
        raise ValueError(f"image {str(path)!r} has the shape {image.shape}; one page in grey is needed: save it so.")
    spacing = [float(side) for side in found.GetSpacing()]
    if dark == 0 and image.dtype in (np.uint8, np.uint16):
        image = np.iinfo(image.dtype).max - image
    return _of(image, spacing)
