"""Mark the files that this bundle makes, and refuse to replace any other file; `provenance` does so for results.

::

    NIfTI    its description is the bundle's name          PNG    its software is the bundle's name
    text     it has a line that no other program writes, such as the header of a table
"""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

from bundle.images.formats import NIFTI
from bundle.images.provenance import NAME
from PIL import Image

#: Where a NIfTI's description is, by the size of the header with which the file begins: NIfTI-1 and NIfTI-2.
DESCRIPTION = {(348).to_bytes(4, "little"): slice(148, 228), (540).to_bytes(4, "little"): slice(240, 320)}
#: Metadata of an image that is to be marked, see `bundle.images.image.Opened`.
OWN = {"made_by": NAME}


def is_own_file(path: str | Path, line: str = "") -> bool:
    """Return whether an existing file is marked as the bundle's own.

    Args:
        path: a NIfTI, a PNG, or a text.
        line: a line by which the bundle's own text is known; unused for images.
    """
    name = str(path).lower()
    try:
        if name.endswith(".png"):
            with Image.open(path) as picture:
                return picture.info.get("Software") == NAME
        if name.endswith(NIFTI):
            with gzip.open(path) if name.endswith(".gz") else Path(path).open("rb") as file:
                head = file.read(max(place.stop for place in DESCRIPTION.values()))
            return head[DESCRIPTION.get(head[:4], slice(0))].rstrip(b"\0") == NAME.encode()
        return bool(line) and line in Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, EOFError, ValueError, zlib.error, Image.DecompressionBombError):  # larger than what is drawn
        return False


def check_own(path: str | Path, kind: str, line: str = "", way_out: str = "give it another name") -> None:
    """Refuse to replace a file that this bundle has not made.

    Args:
        path: the file that is to be written; there may be none yet.
        kind: what it is called in the message, such as ``picture``.
        line: see `is_own_file`.
        way_out: what to do, as the message says it.

    Raises:
        FileExistsError: If another file or folder is there.
    """
    if Path(path).exists() and not is_own_file(path, line):
        raise FileExistsError(f"{str(path)!r} exists already, and is not a {kind} of this bundle; {way_out}.")
