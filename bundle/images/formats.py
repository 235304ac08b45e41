"""The one table of formats: found, opened and written by path, whatever they are.

A format is a module with `matches`, `open` and `create`, the suffixes that it reads, and what a result's name ends in.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from bundle.images import dicom_series, metaimage, mgz, nifti, nrrd, ome_zarr, raster, xray
from bundle.images.bit_depth import level_type
from bundle.images.dicom_headers import file_kind, is_dicom, name_of, read_header
from bundle.images.headers import check_references
from bundle.images.image import ImageError, LazyImage, Opened, Window, Write, upright
from bundle.images.isolated import is_isolated, open_isolated
from bundle.runtime.files import PART


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
#: What the names of files begin with that are not shown.
HIDDEN = "."
#: What macOS puts beside each file on other disks.
APPLE_DOUBLE = "._"


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
        path: any image that `find_images` finds.
        series_uid: of a DICOM folder with several series, the one to take.

    Raises:
        FileNotFoundError: If there is none.
        ImageError: If the format is unknown, or the file is no single image of its format.
    """
    path = Path(path)
    path = path.absolute() if str(path).startswith("~") else path  # which libraries would take for a home
    if any("\ud800" <= letter <= "\udfff" for letter in str(path)):
        raise ImageError(f"image {str(path)!r} has a name that is no UTF-8, which ITK cannot open; rename it.")
    if not path.exists():
        missing = "is a link to a file that is not there" if path.is_symlink() else "does not exist"
        raise FileNotFoundError(f"image {str(path)!r} {missing}.")
    if is_isolated():
        return open_isolated(path, series_uid)
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


def find_images(path: str | Path) -> list[str]:
    """The images at a path: a file, a DICOM series folder, or a folder of both, one level deep.

    DICOM X-rays, whatever their suffix, are an image each. What looks like an image and is none is passed over with a
    line: hidden files and those of macOS, links to files that are not there or to a folder that they lie in, pipes and
    devices, DICOM that holds no image, 2D images beside slices.

    Raises:
        FileNotFoundError: If there is nothing, or no image in it.
        ValueError: If the header of one names files elsewhere (`bundle.images.headers`).
    """
    path = Path(path)
    if not path.exists() and not path.is_symlink():
        raise FileNotFoundError(
            f"dataset_dir {str(path)!r} does not exist; give an image, a DICOM folder or a folder of them."
        )
    if not path.exists():
        raise FileNotFoundError(f"dataset_dir {str(path)!r} is a link to a file that is not there; fetch it.")
    if path.is_file() and (path.name.startswith(APPLE_DOUBLE) or not format_of(path)):
        raise FileNotFoundError(
            f"dataset_dir {str(path)!r} is no image: its name ends in none of {', '.join(SUFFIXES)}."
        )
    if path.is_file() or ome_zarr.matches(path):
        check_references(path)
        return [str(path)]
    found, passed = _images_in(path)
    for entry in sorted(path.iterdir()):
        if entry.is_dir() and path.resolve().is_relative_to(entry.resolve()):
            passed.append(f"{entry}, a link to a folder that it lies in")
        elif entry.is_dir() and entry.name.startswith(HIDDEN):
            if not entry.name.startswith(PART):  # which an interrupted run has left
                passed.append(f"{entry}, a hidden folder")
        elif entry.is_dir():
            inner, over = ([str(entry)], []) if ome_zarr.matches(entry) else _images_in(entry, dicom_alone=True)
            if not inner and not over and any(file.is_file() for file in entry.iterdir()):
                over = [f"{entry}, a folder without an image"]
            found, passed = found + inner, passed + over
    for line in passed:
        print(f"passed over: {line}", file=sys.stderr)
    if not found:
        told = f"; passed over: {'; '.join(passed[:8])}" if passed else ""
        raise FileNotFoundError(
            f"dataset_dir {str(path)!r} holds no image ({', '.join(SUFFIXES)}) and no DICOM series, in itself or in "
            f"its folders{told}."
        )
    for image in found:
        check_references(image)
    return sorted(found)


def _images_in(folder: Path, dicom_alone: bool = False) -> tuple[list[str], list[str]]:
    """The images in a folder, which may be one itself, and what is passed over."""
    found: list[str] = []
    flat: list[str] = []
    passed: list[str] = []
    has_slices = False
    for entry in sorted(folder.iterdir()):
        end = suffix(entry)
        if entry.name.startswith(HIDDEN):
            kind = "which macOS wrote beside a file" if entry.name.startswith(APPLE_DOUBLE) else "a hidden file"
            passed += [f"{entry}, {kind}"] if end and not dicom_alone else []
        elif entry.is_symlink() and not entry.exists():
            passed.append(f"{entry}, a link to a file that is not there")
        elif not entry.is_file():
            passed += [f"{entry}, neither a file nor a folder"] if not entry.is_dir() else []
        elif end and end not in xray.SUFFIXES:
            if not dicom_alone:
                (flat if end in raster.SUFFIXES else found).append(str(entry))
        elif is_dicom(entry):
            kind = "slice" if has_slices else file_kind(entry)  # the others of a stack are looked at when it is opened
            has_slices |= kind == "slice"
            flat += [str(entry)] if kind in ("xray", "broken") else []  # a broken one is told when it is opened
            passed += [] if kind else [f"{entry}, DICOM of the kind {_kind(entry)}, which holds no image"]
        elif end:
            flat.append(str(entry))
    if has_slices:
        return [*found, str(folder)], passed + [f"{entry}, beside the slices of a volume" for entry in flat]
    return [*found, *flat], passed


def _kind(file: Path) -> str:
    """What a DICOM file is, in words."""
    try:
        return name_of(read_header(file, ("Modality",)))
    except ImageError as error:
        return str(error)
