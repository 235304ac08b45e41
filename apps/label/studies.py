"""Allow requests to name only images in the studies folder, even through links."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any


class OutsideError(ValueError):
    """An image that is not in the studies folder."""


def is_inside(path: str | Path, studies: str | Path) -> bool:
    """Return whether a path, with links resolved, is the studies folder or lies in it."""
    return Path(path).resolve().is_relative_to(Path(studies).resolve())


def find(image: str, studies: str | Path, store: Any) -> str:
    """Return an image as MONAI Label expects it: a stored image's name, or the path of a file or folder in the studies.

    Args:
        image: name or path, relative to the studies or absolute; empty if the request contains the image itself.
        studies: folder of the studies.
        store: MONAI Label's datastore of the folder.

    Raises:
        FileNotFoundError: If the image does not exist.
        OutsideError: If it is not in the studies.
    """
    if not image:
        return image
    stored = store.get_image_uri(image)
    path = Path(stored or Path(studies) / image)
    if not is_inside(path, studies) or ".." in Path(image).parts:
        raise OutsideError(f"image {image!r} is outside the studies; name one in them, or send the file itself.")
    if stored:  # by its name, unless MONAI Label would take that for a path in its working folder
        return stored if Path(image).exists() else image
    if path.exists():
        return str(path.resolve())
    names = ", ".join(sorted(store.list_images())[:8]) or "nothing"
    raise FileNotFoundError(
        f"image {image!r} is not among the studies, which hold {names}; name one, or a folder of DICOM files."
    )


def check_inside(paths: Iterable[str | Path], studies: str | Path) -> None:
    """Check files that MONAI Label is about to read, change or remove.

    Raises:
        OutsideError: If a file is not in the studies.
    """
    for path in paths:
        if not is_inside(path, studies):
            raise OutsideError(f"{Path(path).name!r} links to outside the studies; copy the file into them instead.")
