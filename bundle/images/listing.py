"""List the images at the path that a key gives; errors name that key."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bundle.images.finding import Sources, find_sources
from bundle.images.image import ImageError

#: The key that `find_sources` names in its errors.
KEY = "dataset_dir"
#: Sources whose archives stay unpacked until the process ends.
_kept: list[Sources] = []


def find_images(
    path: str | Path | Sequence[str], recursive: bool = False, series_uid: str = "", key: str = KEY
) -> list[str]:
    """Return the images at a path; archives stay unpacked in the temporary folder until the process ends.

    Args:
        path: see `find_sources`.
        recursive: see there.
        series_uid: see there.
        key: the key that gives the path, for messages.

    Raises:
        ImageError: If the path is a file in a DICOM folder with several series; see also `find_sources`.
    """
    try:
        sources = find_sources(path, recursive, series_uid)
        if sources["series_uid"] != series_uid:
            raise ImageError(f"{KEY} {str(path)!r} is a file of a folder with several series; move it into its own.")
    except (FileNotFoundError, ValueError) as error:
        text = str(error)
        if key == KEY or not text.startswith(f"{KEY} "):
            raise
        raise type(error)(f"{key}{text.removeprefix(KEY)}") from None
    if sources.unpacked:
        _kept.append(sources)
    return list(sources["images"])
