"""Check uploaded files: a plain name, a known format, and no header that points to another file."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import BinaryIO

from apps.label.values import PLAIN, show

#: Formats of a volume in one file.
SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".mha")
#: Largest size of a header in bytes.
HEADER = 2**20


@dataclass(frozen=True)
class Upload:
    """A file that may be uploaded: with one of ``suffixes``, or any name if there are none, as for DICOM files."""

    suffixes: tuple[str, ...] = SUFFIXES

    def check(self, name: str, filename: str, file: BinaryIO) -> None:
        """Check a file's name and header; its read position is kept.

        Args:
            name: name of the form field.
            filename: file name as sent; clients may send a full path, of which only the last part is used.
            file: the file's contents.

        Raises:
            ValueError: If the name is not plain, the format is not allowed, or the header points to another file.
        """
        last = last_part(filename)
        end = next((end for end in SUFFIXES if last.lower().endswith(end)), "")
        if not re.fullmatch(PLAIN, last) or len(last) > 200:
            raise ValueError(f"{name}: file name {show(last)} is not plain; take letters, digits, spaces, . _ - alone.")
        if self.suffixes and end not in self.suffixes:
            raise ValueError(f"{name}: file {show(last)} is of another format; send {', '.join(self.suffixes)}.")
        if last.lower().endswith(".mhd"):
            raise ValueError(f"{name}: file {show(last)} keeps its voxels in another file; send it as .mha.")
        position = file.tell()
        file.seek(0)
        head = file.read(HEADER)
        file.seek(position)
        if not _WHOLE.get(end, _no_other)(head):
            raise ValueError(
                f"{name}: file {show(last)} is not a {end or 'DICOM'} file with header and voxels in one; send one."
            )


def last_part(filename: str) -> str:
    """Return the last part of a path of any operating system."""
    return re.split(r"[/\\]", filename)[-1]


def _nrrd(head: bytes) -> bool:
    """Return whether a NRRD header is complete and names no data file."""
    ends = re.search(rb"\r?\n\r?\n", head)
    return head.startswith(b"NRRD") and bool(ends) and not re.search(rb"data\s*file\s*:", head, re.IGNORECASE)


def _meta(head: bytes) -> bool:
    """Return whether a MetaImage header ends with the line that tells that the voxels follow."""
    start = head.find(b"ElementDataFile")
    line = re.compile(rb"ElementDataFile *= *LOCAL *\r?\n")
    return start > 0 and head[start - 1 : start] == b"\n" and bool(line.match(head, start))


def _no_other(head: bytes) -> bool:
    """Return whether the bytes are not the text header of another format."""
    return not head.startswith(b"NRRD") and b"ElementDataFile" not in head[:4096]


_WHOLE: dict[str, Callable[[bytes], bool]] = {".nrrd": _nrrd, ".mha": _meta}
