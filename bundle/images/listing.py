"""List the images at the path that a key gives; errors name that key."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bundle.images.finding import KEY, Sources, find_sources
from bundle.images.image import ImageError

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
    sources = find_sources(path, recursive, series_uid, key=key)
    if sources["series_uid"] != series_uid:
        raise ImageError(f"{key} {str(path)!r} is a file of a folder with several series; move it into its own.")
    if sources.unpacked:
        _kept.append(sources)
    return list(sources["images"])
