"""An image of any format: its geometry and metadata, and its voxels, read window by window.

::

    file, any axis order     Opened, in the file's axis order     image[2:5, 0:9, 4:6]
    [. . . . . . . . .]  --> shape, affine, dtype, units      --> voxels of the window, `(3, 9, 2)`

An image in memory has the same interface.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from bundle.geometry import Window
from nibabel.orientations import io_orientation

#: Units of length by their names and abbreviations, in mm.
LENGTHS = {
    **dict.fromkeys(("mm", "millimeter", "millimetre"), 1.0),
    **dict.fromkeys(
        ("um", "\N{MICRO SIGN}m", "\N{GREEK SMALL LETTER MU}m", "micron", "micrometer", "micrometre"), 1e-3
    ),
    **dict.fromkeys(("nm", "nanometer", "nanometre"), 1e-6),
    **dict.fromkeys(("cm", "centimeter", "centimetre"), 10.0),
    **dict.fromkeys(("dm", "decimeter", "decimetre"), 100.0),
    **dict.fromkeys(("m", "meter", "metre"), 1e3),
    **{"angstrom": 1e-7, "picometer": 1e-9, "kilometer": 1e6, "inch": 25.4, "foot": 304.8, "yard": 914.4},
}
#: What stands for no unit.
UNITLESS = ("", "?", "none", "unknown", "pixel", "voxel", "???")
#: A function that takes a window, in the file's axis order, and its voxels.
Write = Callable[[Window, np.ndarray], None]


class ImageError(ValueError):
    """An image cannot be read or written; the message is one line, whatever a header holds."""

    def __init__(self, message: object = "") -> None:
        super().__init__("".join(c if c.isprintable() else repr(c)[1:-1] for c in str(message)))


def millimetres(path: str | Path, unit: str) -> float:
    """Return a unit of length in mm; 1 for none, as a file without a unit is taken to be in mm.

    Args:
        path: the image, for the error message.
        unit: name or abbreviation.

    Raises:
        ImageError: If the unit is not one of length.
    """
    name = unit.strip().lower()
    if name in UNITLESS:
        return 1.0
    if name not in LENGTHS:
        raise ImageError(f"image {str(path)!r} has the unit of space {unit!r}, which is not one of length; set mm.")
    return LENGTHS[name]


def in_millimetres(image: Opened, units: Sequence[str]) -> Opened:
    """Return an image whose affine is in the units of its axes, with an affine in mm.

    Raises:
        ImageError: If the units differ, or are not units of length.
    """
    sizes = {millimetres(image.path, unit) for unit in units} or {1.0}
    if len(sizes) > 1:
        raise ImageError(f"image {str(image.path)!r} has axes in different units, {', '.join(units)}; set mm for all.")
    return replace(image, affine=np.diag([*[sizes.pop()] * 3, 1.0]) @ image.affine)


class LazyImage(Protocol):
    """A single-channel image in a file, `(*spatial)`, in the file's axis order."""

    @property
    def path(self) -> Path:
        """The file or folder."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Voxels per axis, two or three."""

    @property
    def affine(self) -> np.ndarray:
        """Affine from voxel indices to RAS coordinates in mm, `(4, 4)`."""

    @property
    def spacing(self) -> tuple[float, ...]:
        """Voxel size in mm per axis."""

    @property
    def dtype(self) -> np.dtype:
        """The type of the stored voxels."""

    @property
    def units(self) -> str:
        """The unit of space in the file: a key of `LENGTHS`, or "unknown"."""

    def __getitem__(self, index: Window) -> np.ndarray:
        """Return the voxels of a window, in the image's intensity units, such as HU."""


@dataclass(frozen=True, eq=False)
class Opened:
    """A `LazyImage` that was opened from a path, or is held in memory.

    Args:
        path: file or folder.
        shape: voxels per axis.
        affine: to RAS in mm, `(4, 4)`.
        dtype: type of the stored voxels.
        read: takes a window inside the image and returns its voxels.
        units: unit of space in the file.
        meta: metadata of the image in memory: ``bits`` of a file with a bit depth (`bundle.images.bit_depth`),
            ``made_by`` of one that is to be marked (`bundle.images.own_files`), ``series_uid`` of a DICOM series;
            ``kernels``, ``kernels_told`` and ``kernel`` of a CT whose kernel was converted
            (`bundle.images.derived.Derivation`).
        files: files of a DICOM series, in the order of their position.
        header: the format's own header, for a result in the same format.
        kept: whether the first access reads all voxels and keeps them in memory.
    """

    path: Path
    shape: tuple[int, ...]
    affine: np.ndarray
    dtype: np.dtype
    read: Callable[[Window], Any]
    units: str = "mm"
    meta: Mapping[str, Any] = field(default_factory=dict)
    files: tuple[str, ...] = ()
    header: Any = None
    kept: bool = False

    def __str__(self) -> str:
        return str(self.path)

    @property
    def bits(self) -> int | None:
        """The bit depth, if the file has one."""
        return self.meta.get("bits")

    @property
    def spacing(self) -> tuple[float, ...]:
        """Voxel size in mm per axis."""
        return tuple(np.linalg.norm(self.affine[:3, : len(self.shape)], axis=0).tolist())

    def __getitem__(self, index: Window) -> np.ndarray:
        """Read a window, in native byte order.

        Raises:
            ImageError: If the file cannot be read there, or holds NaN, infinity or values beyond 32-bit floats.
        """
        window = tuple(slice(*part.indices(size)[:2]) for part, size in zip(index, self.shape, strict=True))
        shape = tuple(max(part.stop - part.start, 0) for part in window)
        if 0 in shape:
            return np.empty(shape, self.dtype.newbyteorder("="))
        with named(self.path):
            voxels = np.asarray(self.read(window))
        if voxels.dtype.kind == "f":
            low, high, most = voxels.min(), voxels.max(), np.finfo(np.float32).max
            if not (low >= -most and high <= most):
                raise ImageError(
                    f"image {str(self.path)!r} holds voxels that are not finite numbers (NaN, infinity, or beyond 32 "
                    "bits); replace them first, outside of the field of view for instance by the value of air."
                )
        return voxels.astype(voxels.dtype.newbyteorder("="), copy=False).reshape(shape)

    def whole(self) -> np.ndarray:
        """Return all voxels."""
        return self[tuple(slice(0, size) for size in self.shape)]

    def part(self, window: Window) -> Opened:
        """Return a window of the image as an image, at its position in space."""
        starts = [part.start for part in window]
        affine = self.affine.copy()
        affine[:3, 3] += affine[:3, : len(starts)] @ np.asarray(starts)

        def read(inner: Window) -> np.ndarray:
            return self[tuple(slice(w.start + start, w.stop + start) for w, start in zip(inner, starts, strict=True))]

        shape = tuple(part.stop - part.start for part in window)
        return replace(self, shape=shape, affine=affine, read=read, header=None)

    def loaded(self) -> Opened:
        """Return the image with its voxels in memory."""
        return replace(self, read=self.whole().__getitem__)

    def of_dims(self, dims: int) -> Opened:
        """Return the image with its first ``dims`` axes; each further axis must have one voxel and is dropped.

        Raises:
            ImageError: If there are fewer axes, or a further axis has more than one voxel.
        """
        if len(self.shape) < dims or any(size != 1 for size in self.shape[dims:]):
            raise ImageError(
                f"image {str(self.path)!r} has the shape {self.shape}; {dims} axes of one channel are needed."
            )
        more = tuple(slice(0, 1) for _ in self.shape[dims:])
        return replace(self, shape=self.shape[:dims], read=lambda window: self[(*window, *more)]) if more else self


def held(voxels: np.ndarray, affine: Any, path: str | Path = "", meta: Mapping[str, Any] | None = None) -> Opened:
    """Return an image that is held in memory."""
    place = np.asarray(affine, float)
    return Opened(Path(path), voxels.shape, place, voxels.dtype, voxels.__getitem__, meta=meta or {})


def one_channel(path: str | Path, shape: Sequence[int], dtype: np.dtype) -> tuple[int, ...]:
    """Return the shape of the first three axes; the further ones, time and channels, must have one voxel each.

    Raises:
        ImageError: If one of them has more, or the voxels are not real numbers.
    """
    shape = tuple(int(size) for size in shape)
    if any(size != 1 for size in shape[3:]) or len(shape) < 2:
        raise ImageError(
            f"image {str(path)!r} has the shape {shape}; one channel and one time point are needed: choose it first."
        )
    if dtype.kind not in "biuf":
        raise ImageError(f"image {str(path)!r} holds voxels of the type {dtype}, no single number each; choose one.")
    return shape[:3]


def upright(image: Opened) -> Opened:
    """Return the image itself, after checking that it has voxels and a valid affine.

    Raises:
        ImageError: If it has no voxels, or its affine is not finite or does not have three different directions.
    """
    if not all(size > 0 for size in image.shape):
        raise ImageError(f"image {str(image.path)!r} has no voxels: its shape is {image.shape}; fetch it again.")
    told = image.affine.shape == (4, 4) and bool(np.isfinite(image.affine).all())
    try:
        told = told and bool(np.isfinite(io_orientation(image.affine)).all())
    except np.linalg.LinAlgError:
        told = False
    if not told:
        raise ImageError(
            f"image {str(image.path)!r}: its affine, or voxel size and directions, is invalid: it needs "
            "finite numbers and three different directions; correct its header, or fetch it again."
        )
    return image


@contextmanager
def named(path: str | Path) -> Iterator[None]:
    """Turn any error of a library into one line that names the file.

    Raises:
        ImageError: If the library cannot read the file.
    """
    try:
        yield
    except (ImageError, FileNotFoundError, MemoryError):
        raise
    except Exception as error:  # each library raises its own
        said = next((line.strip() for line in reversed(str(error).splitlines()) if line.strip()), type(error).__name__)
        way_out = "check its permissions" if isinstance(error, PermissionError) else "fetch it again"
        damage = "" if isinstance(error, PermissionError) else "; it is cut short, damaged, or of another format"
        raise ImageError(f"image {str(path)!r} cannot be read{damage} ({said}): {way_out}.") from error


@contextmanager
def in_order(path: Path, shape: Sequence[int], append: Callable[[np.ndarray], Any]) -> Iterator[Write]:
    """Take windows that are consecutive slabs along the last axis, in the order of the file.

    Args:
        path: result path, for error messages.
        shape: shape of the whole image.
        append: takes the voxels of each slab.

    Yields:
        A function that takes a window and its voxels.

    Raises:
        ValueError: If a window is not the next slab, or, on exit, if slabs are missing.
    """
    done = 0

    def write(window: Window, voxels: np.ndarray) -> None:
        nonlocal done
        across = all(part == slice(0, size) for part, size in zip(window[:-1], shape[:-1], strict=True))
        if not across or window[-1].start != done:
            raise ValueError(f"{path.name}: window {window} does not follow slice {done} of {tuple(shape)} voxels.")
        append(voxels)
        done = window[-1].stop

    yield write
    if done != shape[-1]:
        raise ValueError(f"{path.name} lacks {shape[-1] - done} of {shape[-1]} slices.")
