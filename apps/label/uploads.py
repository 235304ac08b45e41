"""Files that are sent: named plainly, of a known format, and whole. A header that points to another file is refused."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import BinaryIO

from apps.label.values import PLAIN, show

#: Formats of a volume in one file.
SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".mha")
#: Bytes within which a header has to end.
HEADER = 2**20


@dataclass(frozen=True)
class Upload:
    """A file that may be sent: with one of ``suffixes``, or of any name if there are none, as DICOM files are."""

    suffixes: tuple[str, ...] = SUFFIXES

    def check(self, name: str, filename: str, file: BinaryIO) -> None:
        """Check a file's name and header; its position stays.

        Args:
            name: of the form's field.
            filename: as it was sent; clients send a whole path of theirs, of which the last part counts.
            file: its bytes.

        Raises:
            ValueError: If the name or the format is another, or the header points to another file.
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
                f"{name}: file {show(last)} is no {end or 'DICOM'} file with header and voxels in one; send it as such."
            )


def last_part(filename: str) -> str:
    """The last part of a path, of whatever system."""
    return re.split(r"[/\\]", filename)[-1]


def _nrrd(head: bytes) -> bool:
    """Whether a NRRD header ends, and names no data file."""
    ends = re.search(rb"\r?\n\r?\n", head)
    return head.startswith(b"NRRD") and bool(ends) and not re.search(rb"data\s*file\s*:", head, re.IGNORECASE)


def _meta(head: bytes) -> bool:
    """Whether a MetaImage header ends with the line that says that the voxels follow."""
    start = head.find(b"ElementDataFile")
    line = re.compile(rb"ElementDataFile *= *LOCAL *\r?\n")
    return start > 0 and head[start - 1 : start] == b"\n" and bool(line.match(head, start))


def _no_other(head: bytes) -> bool:
    """Whether it is not the text header of another format."""
    return not head.startswith(b"NRRD") and b"ElementDataFile" not in head[:4096]


_WHOLE: dict[str, Callable[[bytes], bool]] = {".nrrd": _nrrd, ".mha": _meta}
