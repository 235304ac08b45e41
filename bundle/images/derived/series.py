"""Derived series: the folder of derived images, written slice by slice and there only when whole."""

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
from bundle.runtime.files import atomic, stamp
from pydicom.uid import UID

#: What names a slice, the series and the study; an archive takes none without them.
NAMES = ("SOPInstanceUID", "StudyInstanceUID")
#: A result may lie this far off its source's grid, in shares of the smaller pixel side.
GRID_TOLERANCE = 0.01


class DerivedSeries:
    """Write a CT series that is derived from another one, slice by slice; it appears under its name only when whole.

    To be used in a ``with`` statement: at its end the folder is moved to its place; after an error nothing is left. One
    slice at a time is held in memory.

    The same slices give the same files, byte for byte, so that sending a series twice changes nothing: an image's UID
    is a hash of its source's UID, its pixels and what made it, the series' UID one of its images' UIDs. DICOM asks of
    a UID that it never names two different things (PS3.5, section 9), which such a hash keeps: what differs has another
    one. For the same reason no time of writing is noted.

    Args:
        source: files of the series it is derived from, in the order of their position
            (`bundle.images.dicom_series.series_files`). folder: where it goes; an earlier result there is replaced.
            shape: of the whole result, `(columns, rows, slices)`. affine: of the whole result, `(4, 4)`, from voxels to
            mm to the patient's right, front and head, as in NIfTI. derivation: what made it.

    Raises:
        ValueError: If the source is not a CT in HU, `check_source` refuses it, or the result does not lie on its grid.
        FileExistsError: If the folder holds the source itself, or anything that is no ``.dcm`` file.
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
        """Write one slice; they may come in any order.

        Args:
            index: its place in the source.
            image: `(columns, rows)`, as `volume[..., index]` is, in HU; rounded, and clipped to 16 bits.

        Raises:
            IndexError: If the source has no such slice, or it is written already.
            ValueError: If the slice is not of the source's shape, or a voxel is not a finite number.
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
        """Name the series after its images."""
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
        """Refuse a folder that does not hold every slice, or one that has been put in its place meanwhile."""
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
    """Refuse files of which no derived series can be made, before any work is done on them.

    Args:
        source: files of a CT series in HU.

    Raises:
        ImageError: If a slice has no name of its own or is of another study, or its header cannot be written again.
    """
    _check_files(tuple(map(stamp, source)))


@lru_cache(maxsize=2)
def _check_files(files: tuple[tuple[str, int, int], ...]) -> None:
    """Check files once, as long as they do not change: before the work, and when it is done."""
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
        except Exception as error:  # whatever pydicom makes of a value that is none of its kind
            raise _refused(
                file, f"has a header that cannot be written again ({' '.join(str(error).split())})"
            ) from error


def _refused(file: Path, rule: str) -> ImageError:
    return ImageError(
        f"DICOM file {str(file)!r} {rule}; no derived series can be made of it: fetch it again, correct it, for "
        "instance with dcmodify, or take output_ext '.nii.gz'."
    )


def _check_grid(source: Sequence[Path], shape: tuple[int, ...], affine: np.ndarray) -> None:
    """Refuse a result whose voxels do not lie where those of the source's files do (C.7.6.2.1.1)."""
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
