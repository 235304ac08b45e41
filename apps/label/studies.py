"""Images that a request may name: those in the studies folder, wherever links lead."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any


class OutsideError(ValueError):
    """An image that is not in the studies folder."""


def is_inside(path: str | Path, studies: str | Path) -> bool:
    """Whether a path, followed to where its links lead, is the studies folder or lies in it."""
    return Path(path).resolve().is_relative_to(Path(studies).resolve())


def find(image: str, studies: str | Path, store: Any) -> str:
    """An image as MONAI Label takes it: the name of a stored one, or the path of a file or folder in the studies.

    Args:
        image: name or path, relative to the studies or absolute; nothing if the request has the image itself.
        studies: folder.
        store: MONAI Label's datastore of the folder.

    Raises:
        FileNotFoundError: If there is no such image.
        OutsideError: If it is not in the studies.
    """
    if not image:
        return image
    stored = store.get_image_uri(image)
    path = Path(stored or Path(studies) / image)
    if not is_inside(path, studies) or ".." in Path(image).parts:
        raise OutsideError(f"image {image!r} is outside the studies; name one in them, or send the file itself.")
    if stored:  # by its name, unless MONAI Label would take that for a path from the folder that it runs in
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
        OutsideError: If one is not in the studies.
    """
    for path in paths:
        if not is_inside(path, studies):
            raise OutsideError(f"{Path(path).name!r} links to outside the studies; copy the file into them instead.")
