"""Write a derived CT series slice by slice; its folder appears only when it is complete."""

from __future__ import annotations

import errno
import itertools
from collections.abc import Sequence
from contextlib import ExitStack
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from bundle.images.derived.ct import derived_slice, is_ct
from bundle.images.derived.image import UNNAMED, Derivation, uid_of
from bundle.images.dicom_headers import read_header, value_of
from bundle.images.image import ImageError
from bundle.images.readback import check_tail, least_bytes
from bundle.runtime.files import atomic
from bundle.runtime.hashes import stamp
from pydicom.uid import UID

#: Attributes that identify a slice and its study; image archives reject files without them.
NAMES = ("SOPInstanceUID", "StudyInstanceUID")
#: Largest distance of a result from its source's grid, as a share of the smaller pixel side.
GRID_TOLERANCE = 0.01


class DerivedSeries:
    """Write a CT series derived from another one, slice by slice; it appears under its name only when it is complete.

    Use it in a ``with`` statement: at its end the folder is moved to its final path; after an error nothing is left.
    Only one slice at a time is held in memory.

    The same slices give the same files, byte for byte, so sending a series twice changes nothing: an image's UID is a
    hash of its source's UID, its pixels and its derivation, and the series' UID is a hash of its images' UIDs. DICOM
    requires that a UID never identifies two different things (PS3.5, section 9); a hash ensures this, as different
    contents have different hashes. For the same reason no time of writing is stored.

    Args:
        source: files of the source series, in the order of their position
            (`bundle.images.dicom_stack.series_files`).
        folder: folder of the result; an earlier result there is replaced.
        shape: shape of the whole result, `(columns, rows, slices)`.
        affine: affine of the whole result to RAS in mm, `(4, 4)`, as in NIfTI.
        derivation: how it was made.

    Raises:
        ValueError: If the source is not a CT in HU, `check_source` refuses it, or the result is not on its grid.
        FileExistsError: If the folder holds the source itself, or anything but ``.dcm`` files.
    """

    def __init__(
        self,
        source: Sequence[str | Path],
        folder: str | Path,
        shape: Sequence[int],
        affine: Any,
        derivation: Derivation | None = None,
    ) -> None:
        self.source, self.folder = [Path(file) for file in source], Path(folder)
        self.derivation = derivation or Derivation()
        if not is_ct(self.source[0]):
            raise ValueError(
                f"source {str(self.source[0])!r} is not a CT image in HU; take output_ext '.nii.gz' instead."
            )
        check_source(self.source)
        _check_grid(self.source, tuple(shape), np.asarray(affine, float))
        self._check_folder()
        self._needed = least_bytes(shape, np.int16, "")
        self._uids: dict[int, UID] = {}  # of the images written so far

    def write(self, index: int, image: Any) -> None:
        """Write one slice; slices may come in any order.

        Args:
            index: its index in the source.
            image: `(columns, rows)`, like `volume[..., index]`, in HU; it is rounded, and clipped to 16 bits.

        Raises:
            IndexError: If the source has no such slice, or it was written already.
            ValueError: If the slice does not have the source's shape, or a voxel is not finite.
        """
        if not 0 <= index < len(self.source) or index in self._uids:
            rule = "is written already" if index in self._uids else f"is none of the source's {len(self.source)}"
            raise IndexError(f"slice {index} {rule}; write slices 0 to {len(self.source) - 1}, each once.")
        header = read_header(self.source[index])
        values, shape = np.asarray(image), (header.Columns, header.Rows)
        if values.shape != shape:
            raise ValueError(
                f"slice {index} has {values.shape} voxels, its source {str(self.source[index])!r} {shape}; a derived "
                "series lies on its source's grid."
            )
        if not np.isfinite(values).all():
            raise ValueError(f"slice {index} holds voxels that are not finite numbers; check weights and source.")
        pixels = np.rint(values).clip(-32768, 32767).astype("<i2").T.tobytes()
        derived = derived_slice(header, pixels, self.derivation)
        file = self._part / f"{index + 1:05d}.dcm"
        derived.save_as(file)
        check_tail(file, pixels)
        self._uids[index] = derived.SOPInstanceUID

    def __enter__(self) -> DerivedSeries:
        with ExitStack() as stack:
            self._part = stack.enter_context(atomic(self.folder, self._needed, self._verify))
            self._part.mkdir()
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._stack:
            if error is not None:
                raise error
            self._finish()

    def _finish(self) -> None:
        """Set the series' UID, which depends on those of its images."""
        missing = [index for index in range(len(self.source)) if index not in self._uids]
        if missing:
            raise ValueError(
                f"{len(missing)} of {len(self.source)} slices were not written to {str(self.folder)!r}, the first of "
                f"them {missing[0]}; write each once."
            )
        uid = uid_of(*(self._uids[index] for index in range(len(self.source))))
        for file in self._part.iterdir():
            with file.open("r+b") as stream:
                stream.seek(stream.read().index(UNNAMED.encode()))
                stream.write(uid.encode())

    def _verify(self, part: Path) -> None:
        """Refuse a folder that lacks slices, or a final folder that meanwhile holds anything else."""
        if len(list(part.iterdir())) != len(self.source):
            raise OSError(errno.EIO, f"{len(self.source)} slices were written and others read back")
        self._check_folder()

    def _check_folder(self) -> None:
        """Refuse to replace the source, or anything but an earlier result."""
        if self.folder.resolve() in {file.resolve().parent for file in self.source}:
            raise FileExistsError(f"folder {str(self.folder)!r} holds the source itself; take another output_postfix.")
        others = [entry.name for entry in self.folder.glob("*") if entry.suffix != ".dcm"]
        if others:
            raise FileExistsError(
                f"folder {str(self.folder)!r} holds {others[0]!r}, which is not part of an earlier result; move it "
                "away, or take another output_dir."
            )


def check_source(source: Sequence[str | Path]) -> None:
    """Refuse files from which no derived series can be made, before any other work.

    Args:
        source: files of a CT series in HU.

    Raises:
        ImageError: If a slice has no UID of its own or belongs to another study, or its header cannot be written again.
    """
    _check_files(tuple(map(stamp, source)))


@lru_cache(maxsize=2)
def _check_files(files: tuple[tuple[str, int, int], ...]) -> None:
    """Check files only once while they do not change: it is called before and after translation."""
    seen: dict[str, Path] = {}
    study = ""
    for file in (Path(name) for name, *_ in files):
        header = read_header(file)
        uid, own = (str(value_of(header, keyword) or "") for keyword in NAMES)
        for keyword, value in zip(NAMES, (uid, own), strict=True):
            if not value:
                raise _refused(file, f"has no {keyword}")
        if uid in seen:
            raise _refused(file, f"has the SOPInstanceUID {uid} of {str(seen[uid])!r}, which has to be its own")
        if own != (study := study or own):
            raise _refused(file, f"has the StudyInstanceUID {own}, and others of the series have {study}")
        seen[uid] = file
        try:
            derived_slice(header, b"\0\0", Derivation()).save_as(BytesIO())
        except Exception as error:  # pydicom raises many kinds on invalid values
            raise _refused(
                file, f"has a header that cannot be written again ({' '.join(str(error).split())})"
            ) from error


def _refused(file: Path, rule: str) -> ImageError:
    return ImageError(
        f"DICOM file {str(file)!r} {rule}; no derived series can be made of it: fetch it again, correct it, for "
        "instance with dcmodify, or take output_ext '.nii.gz'."
    )


def _check_grid(source: Sequence[Path], shape: tuple[int, ...], affine: np.ndarray) -> None:
    """Refuse a result whose voxels do not coincide with those of the source's files (C.7.6.2.1.1)."""
    first, last = (read_header(file) for file in (source[0], source[-1]))
    own = (first.Columns, first.Rows, len(source))
    if shape != own:
        raise ValueError(f"the result has {shape} voxels, its source {own}; it has to lie on its source's grid.")
    begin, end = (np.asarray(header.ImagePositionPatient, float) for header in (first, last))
    row, column = np.reshape(np.asarray(first.ImageOrientationPatient, float), (2, 3))
    down, right = (float(side) for side in first.PixelSpacing)
    steps = np.stack([row * right, column * down, (end - begin) / max(len(source) - 1, 1)])
    corners = np.array(list(itertools.product(*[(0, size - 1) for size in shape])))
    to_dicom = np.diag([-1.0, -1.0, 1.0])  # left, back, head
    found = (corners @ affine[:3, :3].T + affine[:3, 3]) @ to_dicom
    apart = float(np.linalg.norm(corners @ steps + begin - found, axis=1).max())
    if apart > GRID_TOLERANCE * min(down, right):
        raise ValueError(
            f"the result's corners lie up to {apart:.3f} mm off its source's; it has to lie on its source's grid: "
            "invert the preprocessing first, or take output_ext '.nii.gz'."
        )
