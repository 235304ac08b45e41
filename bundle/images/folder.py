"""List the images directly in one folder, and the files there that only look like images."""

from __future__ import annotations

import os
import re
import sys
from dataclasses import dataclass, field
from pathlib import Path

from bundle.images import raster, xray
from bundle.images.archives import SUFFIX
from bundle.images.dicom_headers import file_kind, is_dicom, name_of, read_header, value_of
from bundle.images.dicom_stack import is_localizer, series_in
from bundle.images.formats import suffix
from bundle.images.image import ImageError
from bundle.images.provenance import COMPANIONS, read_provenance
from bundle.runtime.origins import absolute, in_words

#: Prefix of hidden files.
HIDDEN = "."
#: Prefix of the files that macOS puts beside each file on other disks.
APPLE_DOUBLE = "._"
#: Suffixes of images in two files, which are not read.
DETACHED = (".hdr", ".img", ".hdr.gz", ".img.gz", ".nhdr")
#: Format of a Series Instance UID.
UID = re.compile(r"[0-9]+(\.[0-9]+)*")


@dataclass
class Entries:
    """What was found in folders.

    Args:
        volumes: files and OME-Zarr folders.
        series: folders that hold the DICOM slices of a volume.
        flat: 2D images.
        broken: unreadable DICOM files; the error is reported when they are opened.
        passed: messages about what is skipped, with the reason.
    """

    volumes: list[str] = field(default_factory=list)
    series: list[str] = field(default_factory=list)
    flat: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    passed: list[str] = field(default_factory=list)

    @property
    def images(self) -> list[str]:
        """All images to open."""
        return [*self.volumes, *self.series, *self.flat, *self.broken]

    def __iadd__(self, other: Entries) -> Entries:
        for name, values in vars(other).items():
            getattr(self, name).extend(values)
        return self

    def or_empty(self, folder: Path) -> Entries:
        """Return the entries, with a message if nothing was found in a folder that contains files."""
        if not self.images and not self.passed and any(entry.is_file() for entry in folder.iterdir()):
            self.passed.append(f"{folder}, a folder without an image")
        return self


def earlier(path: Path, results: Path | None) -> str:
    """Return a message if an image is a result of this bundle in the folder of the results; else an empty string."""
    inside = results is not None and absolute(path).is_relative_to(absolute(results))
    own = inside and read_provenance(path) is not None
    return f"{path}, a result of this bundle in the folder of the results" if own else ""


def images_in(folder: Path, dicom_alone: bool = False, results: Path | None = None) -> Entries:
    """Return the images in a folder; the folder itself may be a DICOM series.

    Args:
        folder: folder to search; subfolders are not searched.
        dicom_alone: ignore other formats than DICOM.
        results: folder of the results; those of earlier runs that lie there are skipped.
    """
    found, localizers, others = Entries(), list[str](), 0
    for entry in sorted(folder.iterdir()):
        end = suffix(entry)
        if entry.name.startswith(HIDDEN):
            kind = "which macOS wrote beside a file" if entry.name.startswith(APPLE_DOUBLE) else "a hidden file"
            found.passed += [f"{entry}, {kind}"] if end and not dicom_alone else []
        elif entry.is_symlink() and not entry.exists():
            found.passed.append(f"{entry}, a link to a file that is not there")
        elif not entry.is_file():
            found.passed += [f"{entry}, neither a file nor a folder"] if not entry.is_dir() else []
        elif end and (told := earlier(entry, results)):
            found.passed.append(told)
        elif end and end not in xray.SUFFIXES:
            others += dicom_alone
            if not dicom_alone:
                (found.flat if end in raster.SUFFIXES else found.volumes).append(str(entry))
        elif not os.access(entry, os.R_OK):
            found.passed += [] if end else [f"{entry}, a file that this user may not read"]
            found.broken += [str(entry)] if end else []
        elif is_dicom(entry):
            kind = "slice" if found.series else file_kind(entry)  # others are checked when the series opens
            if kind == "slice" and not found.series:
                (localizers if is_localizer(entry) else found.series).append(str(entry))
            found.flat += [str(entry)] if kind == "xray" else []
            found.broken += [str(entry)] if kind == "broken" else []
            other = not kind and not entry.name.endswith(COMPANIONS)  # such as a structured report of a result
            found.passed += [f"{entry}, DICOM of the kind {_kind(entry)}, which holds no image"] if other else []
        elif end:
            found.broken.append(str(entry))
        elif entry.name.lower().endswith(DETACHED):
            found.passed += [] if dicom_alone else [f"{entry}, of a pair of header and voxels; save it as one file"]
        elif entry.name.lower().endswith(SUFFIX):
            found.passed.append(f"{entry}, a zip in a folder; give it itself, or by a pattern such as '*{SUFFIX}'")
    if others:
        found.passed.append(f"{folder}, {others} images in it that are not DICOM, which recursive True takes")
    if found.series:
        found.passed += [f"{entry}, beside the slices of a volume" for entry in sorted(found.flat + found.broken)]
        return Entries(volumes=found.volumes, series=[str(folder)], passed=found.passed)
    found.passed += [f"{entry}, a localizer, which is not a volume" for entry in localizers]
    return found


def tell_apart(folder: Path) -> None:
    """Move each series in an unpacked folder with several into a folder of its own, so that each is an image."""
    try:
        series = series_in(folder)
    except ImageError as error:
        print(in_words(f"note: {folder} is taken as one series: {error}"), file=sys.stderr)
        return
    if len(series) < 2 or any(not UID.fullmatch(uid) or (folder / uid).exists() for uid in series):
        return
    for uid, files in series.items():
        (folder / uid).mkdir()
        for file in map(Path, files):
            file.rename(folder / uid / file.name)


def holds_series(folder: str, uid: str) -> bool:
    """Return whether a DICOM folder holds a series; true if it is unreadable: opening it reports the error."""
    try:
        return uid in series_in(folder)
    except ImageError:
        return True


def has_frames(image: str) -> bool:
    """Return whether a file is multi-frame DICOM, which may be a volume; true if it cannot be read."""
    try:
        return is_dicom(image) and int(value_of(read_header(image), "NumberOfFrames") or 1) > 1
    except (ImageError, ValueError):
        return True


def _kind(file: Path) -> str:
    """Describe the kind of a DICOM file."""
    try:
        return name_of(read_header(file, ("Modality",)))
    except ImageError as error:
        return str(error)
