"""Read and write PNG, JPEG and TIFF: single 2D grey images, read whole; colour is converted to grey.

Arrays are `(columns, rows)`, oriented as the file's Orientation tag says (EXIF, TIFF). The metadata hold the bit depth
as ``bits``; a TIFF of signed or floating-point numbers has none.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import itk
import numpy as np
from bundle.images.bit_depth import level_type
from bundle.images.claims import check_memory
from bundle.images.image import ImageError, LazyImage, Opened, Write, held, in_order, named
from bundle.images.readback import check_pixels, least_bytes
from bundle.runtime.files import atomic
from PIL import Image, ImageFile, ImageOps
from PIL.PngImagePlugin import PngInfo
from PIL.TiffImagePlugin import ImageFileDirectory_v2

SUFFIXES = {".jpeg": ".png", ".jpg": ".png", ".png": ".png", ".tiff": ".tiff", ".tif": ".tif"}
TIFF = (".tif", ".tiff")
#: Formats that Pillow may detect, whatever the file name: others run programs, as PostScript does.
FORMATS = ("PNG", "JPEG", "TIFF")
#: TIFF tags: Photometric Interpretation, 0 if high values are dark; Orientation; resolution; tiles.
PHOTOMETRIC, ORIENTATION, RESOLUTION, RESOLUTION_UNIT, TILE_WIDTH = 262, 274, (282, 283), 296, 322
#: TIFF tags: bits of each number, numbers of a pixel, and what kind of numbers; description; slices of a volume.
BITS, SAMPLES, NUMBERS, DESCRIPTION, DEPTH = 258, 277, 339, 270, 32997
TAGS = (PHOTOMETRIC, ORIENTATION, *RESOLUTION, RESOLUTION_UNIT, TILE_WIDTH, BITS, SAMPLES, NUMBERS, DESCRIPTION, DEPTH)
#: Kinds of numbers (1 unsigned, 2 signed, 3 floating-point) and their bits that ITK reads, and reads correctly.
KINDS = {(1, 8), (1, 16), (1, 32), (2, 16), (2, 32), (3, 32)}
#: Version in the header of a TIFF whose offsets have 64 bits.
BIG_TIFF = 43
#: Peak memory of decoding, in bytes per pixel, measured.
COPIES = 6
#: Millimetres per resolution unit.
UNITS = {2: 25.4, 3: 10.0}


def matches(path: Path) -> bool:
    """Return whether the file name has a suffix of these formats."""
    return path.name.lower().endswith(tuple(SUFFIXES))


def open(path: Path, **_: Any) -> Opened:
    """Read one file.

    Raises:
        ImageError: If the file is broken, or holds anything but one image in grey or opaque colour.
    """
    with named(path):
        image, spacing = _read_tiff(path) if path.name.lower().endswith(TIFF) else (_read_by_pillow(path), (1.0, 1.0))
    bits = 8 * image.dtype.itemsize if image.dtype in (np.uint8, np.uint16) else None
    return held(image, np.diag([*spacing, 1.0, 1.0]), path, {"bits": bits} if bits else {})


@contextmanager
def create(path: Path, like: LazyImage, dtype: np.dtype, **_: Any) -> Iterator[Write]:
    """Write an 8-bit or 16-bit PNG, or a TIFF with its pixel size; see `bundle.images.formats.create_image`.

    Raises:
        ImageError: If the format cannot hold the values, or the image is a volume.
    """
    if len(like.shape) != 2:
        raise ImageError(f"a {path.suffix} holds no volume of {like.shape} voxels; take output_ext '.nii.gz'.")
    end = path.suffix.lower()
    if end == ".png" and dtype.kind == "f":
        raise ImageError(f"output_dtype {dtype.name!r} is unknown to .png; take int16, or output_ext '.nii.gz'.")
    parts: list[np.ndarray] = []
    written: list[np.ndarray] = []

    def verify(part: Path) -> None:
        if end == ".png":
            with Image.open(part, formats=["PNG"]) as picture:
                found = np.asarray(picture).astype(written[0].dtype)
        else:
            found = itk.array_from_image(itk.imread(str(part), imageio=itk.TIFFImageIO.New()))
        check_pixels(part, found, written[0])

    with atomic(path, least_bytes(like.shape, dtype, end), verify) as part:
        with in_order(path, like.shape, parts.append) as write:
            yield write
        voxels = np.concatenate(parts, -1)
        bits = getattr(like, "bits", None)
        if end == ".png" or bits:
            voxels = _as_levels(voxels, bits, end)
        rows = np.ascontiguousarray(voxels.astype(voxels.dtype if end == ".png" or bits else dtype).T)
        written.append(rows)
        if end == ".png":
            marks = PngInfo()
            if made_by := getattr(like, "meta", {}).get("made_by"):
                marks.add_text("Software", made_by)
            Image.fromarray(rows).save(part, pnginfo=marks)
            return
        picture = itk.image_from_array(rows)
        picture.SetSpacing([float(side) for side in like.spacing])
        try:
            itk.imwrite(picture, str(part))
        except RuntimeError as error:  # ITK gives no error number
            raise OSError(errno.EIO, f"ITK could not write it: {str(error).splitlines()[-1]}") from error


def _as_levels(voxels: np.ndarray, bits: int | None, end: str) -> np.ndarray:
    """Round to integers in the type of the image's bit depth, or a larger one if needed; values never wrap around."""
    low, high = float(voxels.min()), float(voxels.max())
    if low < 0 or high > 65535:
        raise ImageError(
            f"the image holds {low:g} to {high:g} and a {end} holds 0 to 65535; take output_ext '.nii.gz', or clip it."
        )
    return np.rint(voxels).astype(level_type(bits or 8) if high <= 255 else "uint16")


@contextmanager
def _opened(path: Path) -> Iterator[ImageFile.ImageFile]:
    """Open a file of any size that fits into memory with Pillow: Pillow's own limit is below a large X-ray."""
    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        # as a stream: given a name, Pillow would memory-map the file and mistake rows of a turned image for columns
        with path.open("rb") as stream, Image.open(stream, formats=FORMATS) as photo:
            check_memory(path, photo.size, np.uint8, COPIES)
            yield photo
    finally:
        Image.MAX_IMAGE_PIXELS = limit


@contextmanager
def _decoding(path: Path) -> Iterator[None]:
    """Turn any decoding error into one that names the file."""
    try:
        yield
    except (ImageError, MemoryError):
        raise
    except Exception as error:  # Pillow and ITK raise many kinds
        said = str(error).strip().splitlines() or [type(error).__name__]
        raise ImageError(
            f"image {str(path)!r} cannot be decoded ({said[-1].strip()}); it may be cut short: fetch it again."
        ) from error


def _read_by_pillow(path: Path) -> np.ndarray:
    """Return grey levels of 8 bits, or of 16 if the file is 16-bit grey."""
    with _decoding(path), _opened(path) as photo:
        return _grey(path, photo)


def _grey(path: Path, photo: ImageFile.ImageFile) -> np.ndarray:
    """Return the grey levels of an opened photo, upright."""
    how: Any = photo.tile[0][3] if photo.tile else ""
    packed = how[0] if isinstance(how, tuple) else how
    if "16" in str(packed) and not photo.mode.startswith("I"):
        raise _wide_colours(path)
    if photo.has_transparency_data and np.asarray(photo.convert("RGBA"))[..., 3].min() < 255:
        raise ImageError(
            f"image {str(path)!r} has transparent pixels, which have no grey of their own; save it without alpha."
        )
    upright: Image.Image = ImageOps.exif_transpose(photo)
    if upright.mode.startswith("I"):
        return np.asarray(upright).astype(np.uint16).T
    return np.asarray(upright.convert("L")).T


def _wide_colours(path: Path) -> ImageError:
    """Return the error for colours of more than 8 bits."""
    return ImageError(
        f"image {str(path)!r} has colours or alpha of 16 bits, which would lose 8; save it in grey of 16 bits."
    )


def _read_tiff(path: Path) -> tuple[np.ndarray, tuple[float, float]]:
    """Read a TIFF and its spacing: by ITK, which knows more number types; colour and tiles by Pillow."""
    frames, mode, tags = 1, "", _tags(path)
    dark = tags.get(PHOTOMETRIC, 1) == 0
    try:
        with _opened(path) as photo:
            frames, mode = getattr(photo, "n_frames", 1), photo.mode
    except MemoryError:
        raise
    except Exception:  # Pillow raises many kinds
        pass  # broken, or a number type that Pillow does not know: ITK will report it
    if (pages := _pages(tags, frames)) > 1:
        raise ImageError(
            f"image {str(path)!r} has {pages} pages; one is needed: save the page to translate, of a pyramid the "
            "largest, as its own file."
        )
    spacing = _spacing(tags)
    turned = int(tags.get(ORIENTATION, 1))
    if turned in (5, 6, 7, 8):
        spacing = spacing[::-1]
    samples, bits = int(tags.get(SAMPLES, 1)), max(np.ravel(tags.get(BITS, 8)))
    kind = int(np.ravel(tags.get(NUMBERS, 1))[0]), int(bits)
    if (mode not in ("", "L", "F") and not mode.startswith("I")) or (mode == "L" and bits < 8):
        if bits > 8:
            raise _wide_colours(path)
        return _read_by_pillow(path), spacing
    if samples != 1 or kind not in KINDS:
        raise ImageError(
            f"image {str(path)!r} has pixels of {samples} numbers of {bits} bits; one of 8 or 16 bits, or float32, is "
            "read: save it in grey as one of these."
        )
    if TILE_WIDTH in tags or turned != 1:  # ITK would make colours of it
        if not mode:
            raise ImageError(
                f"image {str(path)!r} has tiles or an Orientation, and numbers that can be read only without; save it "
                "in strips, upright."
            )
        with _decoding(path), _opened(path) as photo:
            upright = np.asarray(ImageOps.exif_transpose(photo))
        upright = upright.astype(upright.dtype.newbyteorder("="))
        if dark and mode.startswith("I;16"):  # Pillow inverts 8-bit images only
            upright = np.iinfo(upright.dtype).max - upright
        return upright.T, spacing
    with _decoding(path):
        image = itk.array_from_image(itk.imread(str(path), imageio=itk.TIFFImageIO.New()))
    if image.ndim != 2:
        raise ImageError(
            f"image {str(path)!r} has the shape {image.shape[::-1]}; one page in grey is needed: save it so."
        )
    if dark and image.dtype in (np.uint8, np.uint16):
        image = np.iinfo(image.dtype).max - image
    return image.T, spacing


def _tags(path: Path) -> dict[int, Any]:
    """Return the tags of a TIFF's first image that are used here, even if Pillow cannot open it; none if broken."""
    try:
        with path.open("rb") as file:
            header = file.read(16)
            big = BIG_TIFF in header[2:4]
            # Pillow recognizes a BigTIFF by its third byte, where a big-endian one has 0
            start = b"II\x2b\x00" + header[4:] if big else header[:8]
            tags = ImageFileDirectory_v2(start, prefix=header[:2])
            file.seek(tags.next)
            tags.load(file)
            return {tag: tags[tag] for tag in TAGS if tag in tags}
    except Exception:  # Pillow raises many kinds
        return {}


def _pages(tags: dict[int, Any], frames: int) -> int:
    """Return the number of pages, which may all lie behind the first one's tags: a volume, or a stack of ImageJ."""
    text = str(tags.get(DESCRIPTION, ""))
    stack = re.search(r"^images=(\d{1,9})", text, re.MULTILINE) if text.startswith("ImageJ=") else None
    return max(frames, int(tags.get(DEPTH, 1)), int(stack[1]) if stack else 1)


def _spacing(tags: dict[int, Any]) -> tuple[float, float]:
    """Return the pixel size in mm, along a row and along a column, as ITK does; 1 if there is none."""
    unit = UNITS.get(int(tags.get(RESOLUTION_UNIT, 2)))
    across, down = (float(tags.get(tag) or 0) for tag in RESOLUTION)
    return (unit / across, unit / down) if unit and across > 0 and down > 0 else (1.0, 1.0)
