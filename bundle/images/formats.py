"""The table of image formats: open and write an image of any format by its path.

A format is a module with `matches`, `open`, `create` and `SUFFIXES`: the suffixes that it reads, and for each the
suffix of a result.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from bundle.images import dicom_series, metaimage, mgz, nifti, nrrd, ome_zarr, raster, xray
from bundle.images.archives import SUFFIX as ARCHIVE
from bundle.images.bit_depth import level_type
from bundle.images.headers import references
from bundle.images.image import ImageError, LazyImage, Opened, Window, Write, upright
from bundle.images.isolated import is_isolated, open_isolated
from bundle.runtime.files import EnoughError


class Format(Protocol):
    """The interface of a format's module."""

    @property
    def SUFFIXES(self) -> Mapping[str, str]:  # noqa: N802 - a module's constant
        """The suffixes of its files, in lower case, and for each the suffix of a result in the same format."""

    def matches(self, path: Path, /) -> bool:
        """Return whether an existing path has this format."""

    def open(self, path: Path, /, *, series_uid: str | None) -> Opened:
        """Open a file; ``series_uid`` selects one of several series."""

    def create(
        self, path: Path, like: LazyImage, dtype: np.dtype, /, *, derivation: Any, name: str
    ) -> AbstractContextManager[Write]:
        """Write a file, see `create_image`; ``derivation`` tells how it was made, ``name`` names its source."""


#: All formats; the first one that matches reads a path.
FORMATS: tuple[Format, ...] = (nifti, metaimage, nrrd, mgz, raster, ome_zarr, xray, dicom_series)
#: The format that reads each suffix; a format's longest suffix first.
SUFFIXES: dict[str, Format] = {end: form for form in FORMATS for end in sorted(form.SUFFIXES, key=len, reverse=True)}
#: The suffixes of NIfTI, and of X-rays and other single 2D images.
NIFTI = tuple(nifti.SUFFIXES)
PHOTO = (*raster.SUFFIXES, *xray.SUFFIXES)


def suffix(path: str | Path) -> str:
    """Return the image suffix of a file name in lower case, or an empty string: ``.nii.gz`` is one suffix."""
    name = Path(path).name.lower()
    return max((end for end in SUFFIXES if name.endswith(end)), key=len, default="")


def stem(path: str | Path) -> str:
    """Return a file name without its image suffix."""
    name = Path(path).name
    return name[: len(name) - len(suffix(name))]


def is_series(path: str | Path) -> bool:
    """Return whether the path is a folder that directly holds the DICOM slices of a volume."""
    return dicom_series.matches(Path(path))


def format_of(path: str | Path) -> Format | None:
    """Return the format that reads an existing path, or None."""
    return next((form for form in FORMATS if form.matches(Path(path))), None)


def files_of(path: str | Path) -> list[Path]:
    """Return the files that hold an image: those in a DICOM folder or zarr folder, or its own and those it names."""
    path = Path(path)
    if not path.is_dir():
        return [path, *references(path)]
    entries = path.rglob("*") if ome_zarr.matches(path) else path.iterdir()
    return sorted(entry for entry in entries if not entry.is_dir())


def open_image(path: str | Path, series_uid: str | None = "") -> Opened:
    """Open an image; only the requested voxels are read, as far as the format allows.

    Args:
        path: any image that `bundle.images.find_images` finds.
        series_uid: the series to read from a DICOM folder with several; null where no key chooses it.

    Raises:
        FileNotFoundError: If the path does not exist.
        ImageError: If the format is unknown, or the file is not a single image of its format.
    """
    path = Path(path)
    path = path.absolute() if str(path).startswith("~") else path  # libraries would expand it to a home directory
    if any("\ud800" <= letter <= "\udfff" for letter in str(path)):
        raise ImageError(f"image {str(path)!r} has a name that is not UTF-8, which ITK cannot open; rename it.")
    if not path.exists():
        missing = "is a link to a file that is not there" if path.is_symlink() else "does not exist"
        raise FileNotFoundError(f"image {str(path)!r} {missing}.")
    if is_isolated():
        return open_isolated(path, series_uid)
    if path.is_file() and path.name.lower().endswith(ARCHIVE):
        raise ImageError(
            f"image {str(path)!r} is a zip that is not unpacked: it was refused, see above, or this program takes no "
            "zips; unpack it, and give the folder."
        )
    form = dicom_series if path.is_dir() and not ome_zarr.matches(path) else format_of(path)
    if form is None:
        raise ImageError(
            f"image {str(path)!r} is of no known format; take one of {', '.join(SUFFIXES)} or a DICOM folder."
        )
    if path.is_file() and not path.stat().st_size:
        raise ImageError(f"image {str(path)!r} is empty: it has 0 bytes; fetch it again.")
    return upright(form.open(path, series_uid=series_uid))


@contextmanager
def create_image(path: str | Path, like: LazyImage, dtype: Any, derivation: Any = None) -> Iterator[Write]:
    """Write an image window by window; it appears under its name only when it is complete.

    Args:
        path: file or folder to create; its suffix determines the format, no suffix means a derived DICOM series.
        like: the source image, which gives the shape, the affine and whatever else the format can store.
        dtype: voxel type; a file with a bit depth keeps the type of its source (`bundle.images.bit_depth`).
        derivation: how a derived DICOM image was made (`bundle.images.derived.Derivation`).

    Yields:
        A function that takes a window, in the axes of the source's file, and its voxels: slabs along the last axis, in
        order.

    Raises:
        FileExistsError: If the path is the source itself.
        ImageError: If the format is unknown, or cannot hold the image.
        ValueError: On exit, if the windows did not cover the whole image.
    """
    path = Path(path)
    check_not_source(path, like.path)
    form = SUFFIXES.get(suffix(path), dicom_series)
    bits = getattr(like, "bits", None)
    if bits and np.dtype(dtype).kind == "f":
        raise ImageError(
            f"output_dtype {np.dtype(dtype).name!r} is not that of grey values of {bits} bits, which the result of "
            f"{str(like.path)!r} keeps; leave it out."
        )
    kind = np.dtype(level_type(bits) if bits else dtype)
    with form.create(path, like, kind, derivation=derivation, name=stem(like.path)) as write:

        def checked(window: Window, voxels: np.ndarray) -> None:
            whole = (*window, *(slice(0, 1) for _ in like.shape[len(window) :]))
            write(whole, np.asarray(voxels).reshape([part.stop - part.start for part in whole]))

        yield checked


def check_creatable(path: str | Path, like: LazyImage, dtype: Any, derivation: Any = None) -> None:
    """Refuse what `create_image` would refuse, before anything is computed; takes its arguments and leaves no files.

    Raises:
        FileExistsError: If the path is the source itself.
        ImageError: If the format is unknown, or cannot hold the image.
        NotWrittenError: If there is not enough disk space.
    """
    with suppress(EnoughError), create_image(path, like, dtype, derivation):
        raise EnoughError


def check_not_source(path: Path, source: Path) -> None:
    """Refuse to overwrite the source.

    Raises:
        FileExistsError: If the path is the source.
    """
    if path.resolve() == source.resolve() or (path.exists() and source.exists() and path.samefile(source)):
        raise FileExistsError(f"path {str(path)!r} is the source itself; take another output_postfix or output_dir.")
