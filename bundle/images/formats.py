"""The one table of formats: opened and written by path, whatever they are.

A format is a module with `matches`, `open` and `create`, the suffixes that it reads, and what a result's name ends in.
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
from bundle.images.image import ImageError, LazyImage, Opened, Window, Write, upright
from bundle.images.isolated import is_isolated, open_isolated


class Format(Protocol):
    """What a module of a format has."""

    @property
    def SUFFIXES(self) -> Mapping[str, str]:  # noqa: N802 - a module's constant
        """The suffixes of its files, in lower case, and what a result in the same format ends in."""

    def matches(self, path: Path, /) -> bool:
        """Whether a path that exists is of the format."""

    def open(self, path: Path, /, *, series_uid: str) -> Opened:
        """Open a file; ``series_uid`` chooses one of several series."""

    def create(
        self, path: Path, like: LazyImage, dtype: np.dtype, /, *, derivation: Any, name: str
    ) -> AbstractContextManager[Write]:
        """Write a file, see `create_image`; ``derivation`` says what made it, ``name`` what it was made from."""


#: All formats; of those that match, the first one reads.
FORMATS: tuple[Format, ...] = (nifti, metaimage, nrrd, mgz, raster, ome_zarr, xray, dicom_series)
#: What reads a suffix, longest first.
SUFFIXES: dict[str, Format] = {end: form for form in FORMATS for end in sorted(form.SUFFIXES, key=len, reverse=True)}
#: What a folder of another kind ends in by default.
NIFTI = tuple(nifti.SUFFIXES)
PHOTO = (*raster.SUFFIXES, *xray.SUFFIXES)


def suffix(path: str | Path) -> str:
    """The image suffix of a file's name, in lower case, or nothing: ``.nii.gz`` is one suffix."""
    name = Path(path).name.lower()
    return max((end for end in SUFFIXES if name.endswith(end)), key=len, default="")


def stem(path: str | Path) -> str:
    """A file's name without its image suffix."""
    name = Path(path).name
    return name[: len(name) - len(suffix(name))]


def is_series(path: str | Path) -> bool:
    """Whether the path is a folder that holds slices of a volume as DICOM itself."""
    return dicom_series.matches(Path(path))


def format_of(path: str | Path) -> Format | None:
    """What reads a path that exists, or nothing."""
    return next((form for form in FORMATS if form.matches(Path(path))), None)


def open_image(path: str | Path, series_uid: str = "") -> Opened:
    """Open an image, of which only what is asked for is read as far as its format allows.

    Args:
        path: any image that `bundle.images.find_images` finds.
        series_uid: of a DICOM folder with several series, the one to take.

    Raises:
        FileNotFoundError: If there is none.
        ImageError: If the format is unknown, or the file is not a single image of its format.
    """
    path = Path(path)
    path = path.absolute() if str(path).startswith("~") else path  # which libraries would take for a home
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
    """Write an image window by window; it appears under its name only when whole.

    Args:
        path: of the file or folder, made where missing; its suffix tells the format, none a derived DICOM series.
        like: the image that it is made from, which tells shape and place, and what the format has a place for besides.
        dtype: of the voxels; a file of levels keeps the type of its source's (`bundle.images.bit_depth`).
        derivation: of a derived DICOM image, what made it (`bundle.images.derived.Derivation`).

    Yields:
        What takes a window in the axes of the source's file and its voxels: slabs across the last axis, in order.

    Raises:
        FileExistsError: If the path is the source itself.
        ImageError: If the format is unknown, or cannot hold the image.
        ValueError: On leaving, if the windows did not make up the whole.
    """
    path = Path(path)
    check_not_source(path, like.path)
    form = SUFFIXES.get(suffix(path), dicom_series)
    bits = getattr(like, "bits", None)
    kind = np.dtype(level_type(bits) if bits else dtype)
    with form.create(path, like, kind, derivation=derivation, name=stem(like.path)) as write:

        def checked(window: Window, voxels: np.ndarray) -> None:
            whole = (*window, *(slice(0, 1) for _ in like.shape[len(window) :]))
            write(whole, np.asarray(voxels).reshape([part.stop - part.start for part in whole]))

        yield checked


class _EnoughError(Exception):
    """A file need not be written."""


def check_creatable(path: str | Path, like: LazyImage, dtype: Any, derivation: Any = None) -> None:
    """Refuse what `create_image` would refuse, before anything is computed; nothing is left. Arguments as there.

    Raises:
        FileExistsError: If the path is the source itself.
        ImageError: If the format is unknown, or cannot hold the image.
        NotWrittenError: If the disk has no room for it.
    """
    with suppress(_EnoughError), create_image(path, like, dtype, derivation):
        raise _EnoughError


def check_not_source(path: Path, source: Path) -> None:
    """Refuse to write over the source.

    Raises:
        FileExistsError: If the path is the source.
    """
    if path.resolve() == source.resolve() or (path.exists() and source.exists() and path.samefile(source)):
        raise FileExistsError(f"path {str(path)!r} is the source itself; take another output_postfix or output_dir.")
