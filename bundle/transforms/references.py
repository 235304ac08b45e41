"""Find the kernel of a reference scan, or of a folder of them, and recognize what has changed since."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

from bundle.images import Volume, files_of, find_images
from bundle.images.dicom_headers import is_dicom
from bundle.images.provenance import content_hash
from bundle.runtime import fingerprint
from bundle.scanner import EdgeSpread, Transfer, edge_spread, flat_noise, found_transfer
from bundle.scanner.kernels import first_value
from bundle.transforms.check_input import CheckInput

MOST_REFERENCES = 16  # most images of a reference folder that are read


@dataclass(frozen=True)
class Reference:
    """What reference scans show of their kernel.

    Args:
        kernel: the kernel found by skin and noise; None if there is too little of both.
        header: ConvolutionKernel of the DICOM headers; empty if not all scans have it, or manufacturers differ.
        manufacturer: manufacturer of the scanner by the headers; empty if unknown, or if the kernel is.
    """

    kernel: Transfer | None
    header: str = ""
    manufacturer: str = ""


@lru_cache(maxsize=16)
def reference(key: str, path: str, _: str = "") -> Reference:
    """Return what a reference scan, or a folder of scans with one kernel, shows of that kernel.

    Args:
        key: the key that gives it, for messages.
        path: path of an image or folder.

    Raises:
        ValueError: If an image is not a CT in HU, or the headers name several kernels.
    """
    edge, noise, headers = EdgeSpread(), None, []
    for image in find_images(path, key=key)[:MOST_REFERENCES]:
        volume = Volume(image)
        if refusal := CheckInput.refusal(volume.image):
            raise ValueError(f"{key} {path!r}: its image {volume.path.name!r} {refusal}, or name a kernel.")
        meta = volume.image.meta
        headers.append((first_value(meta.get("convolution_kernel", "")), str(meta.get("manufacturer", "")).strip()))
        edge += edge_spread(volume, volume.spacing)
        other = flat_noise(volume, volume.spacing)
        noise = other if noise is None or other.count > noise.count else noise
    kernel = found_transfer(edge, noise) if noise is not None else None
    if kernel is not None:
        kernel = replace(kernel, source=f"{Path(path).name}: {kernel.source}")
    names, manufacturers = (list(each) for each in zip(*headers, strict=True))
    if len(several := {name.lower(): name for name in names if name}) > 1:
        raise ValueError(
            f"{key} {path!r} holds scans of several kernels ({', '.join(sorted(several.values()))}); take "
            "scans of one, or name a kernel."
        )
    name, manufacturer = _common(names), _common(manufacturers)
    return Reference(kernel) if name is None or manufacturer is None else Reference(kernel, name, manufacturer)


def _common(values: Iterable[str]) -> str | None:
    """Return the value that all have, ignoring case; None if they differ."""
    known = list(values)
    return known[0] if len({value.lower() for value in known}) == 1 else None


def content_of(value: str | None) -> str | None:
    """Return a hash of the content of a file, or `stamped` of a folder or DICOM file; None if the value names none."""
    if value is None or not Path(value).exists():
        return None
    return stamped(value) if Path(value).is_dir() or is_dicom(value) else content_hash(value)


def stamped(path: str) -> str:
    """Return a hash that changes with a reference: of the size and mtime of its files, which are not read.

    Of a DICOM file, the others in its folder count, too, as its series is taken whole.
    """
    given = Path(path)
    if given.is_dir():
        entries = [entry for entry in given.rglob("*") if not entry.is_dir()]
    elif is_dicom(given):
        entries = [entry for entry in given.parent.iterdir() if not entry.name.startswith(".") and is_dicom(entry)]
    else:
        entries = files_of(given)
    return fingerprint(path, entries)
