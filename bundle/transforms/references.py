"""Find the kernel of a reference scan, or of a folder of them, and recognize what has changed since."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from bundle.images import Volume, find_images
from bundle.images.provenance import content_hash
from bundle.runtime import fingerprint
from bundle.scanner import EdgeSpread, Transfer, edge_spread, flat_noise, found_transfer
from bundle.transforms.check_input import CheckInput

MOST_REFERENCES = 16  # most images of a reference folder that are read


@lru_cache(maxsize=16)
def reference_kernel(path: str, _: str = "") -> Transfer:
    """Return the kernel of a reference scan, or of a folder of scans with one kernel, by their skin and noise.

    Args:
        path: path of an image or folder.

    Raises:
        ValueError: If an image is not a CT in HU, or too little skin and flat tissue is visible.
    """
    edge, noise = EdgeSpread(), None
    for image in find_images(path)[:MOST_REFERENCES]:
        volume = Volume(image)
        if refusal := CheckInput.refusal(volume.image):
            raise ValueError(f"target_kernel {path!r}: its image {volume.path.name!r} {refusal}, or name a kernel.")
        edge += edge_spread(volume, volume.spacing)
        other = flat_noise(volume, volume.spacing)
        noise = other if noise is None or other.count > noise.count else noise
    kernel = found_transfer(edge, noise) if noise is not None else None
    if kernel is None:
        raise ValueError(
            f"target_kernel {path!r} shows too little skin and flat tissue to find its kernel; take a scan with the "
            "whole body in its slices, or name a kernel."
        )
    return replace(kernel, source=f"{Path(path).name}: {kernel.source}")


def content_of(value: str | None) -> str | None:
    """Return a hash of the content of a file, or a fingerprint of a folder; None if the value names neither."""
    if value is None or not Path(value).exists():
        return None
    if Path(value).is_dir():
        return fingerprint(value, [entry for entry in Path(value).rglob("*") if not entry.is_dir()])
    return content_hash(value)
