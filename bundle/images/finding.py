"""Find the images at a path, a pattern or a list of them: files, DICOM series, archives, folders, trees of folders.

What looks like an image but cannot be translated is skipped with a message: hidden files and those of macOS, links to
missing files or to folders that are read already, pipes and devices, DICOM without an image, localizers, 2D images
beside slices, zips inside a folder, and deeper folders unless the search is recursive.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from bundle.images import ome_zarr, xray
from bundle.images.archives import SUFFIX, Unpacked
from bundle.images.dicom_headers import file_kind, is_dicom, read_header, value_of
from bundle.images.dicom_stack import series_in
from bundle.images.folder import APPLE_DOUBLE, HIDDEN, Entries, earlier, has_frames, holds_series, images_in, tell_apart
from bundle.images.formats import SUFFIXES, format_of, is_series
from bundle.images.image import ImageError
from bundle.runtime import first, wait
from bundle.runtime.files import PART
from bundle.runtime.origins import in_words
from bundle.runtime.patterns import is_pattern, matching, root_of

#: The key that gives the path, unless another one is named.
KEY = "dataset_dir"


class Sources(dict[str, Any]):
    """The images that were found.

    ``images``: their paths; ``root``: the folder whose structure the results keep; ``series_uid``: the series to take
    from a DICOM folder with several. Archives stay unpacked until this object is closed or garbage-collected, or until
    the process ends.
    """

    def __init__(self, images: Sequence[str], root: str, series_uid: str, unpacked: Sequence[Unpacked]) -> None:
        super().__init__(images=list(images), root=root, series_uid=series_uid)
        self.unpacked = list(unpacked)

    def close(self) -> None:
        """Remove the unpacked archives."""
        for each in self.unpacked:
            each.close()


def find_sources(
    path: str | Path | Sequence[str | Path],
    recursive: bool = False,
    series_uid: str = "",
    folder: str | Path | None = None,
    temporary: bool = False,
    key: str = KEY,
) -> Sources:
    """Return the images at a path.

    Args:
        path: a file; one file of a DICOM series, which stands for the series; a folder, read one level deep; a zip,
            read to any depth; a pattern (`bundle.runtime.patterns`), unless such a path exists; or a list of these.
        recursive: read folders to any depth.
        series_uid: Series Instance UID of the only series to take from an archive, or from a folder with several.
        folder: folder of the results, which is not searched unless it is the path itself; archives are unpacked there.
            Null for the temporary folder.
        temporary: unpack archives in the temporary folder all the same.
        key: the key that gives the path, for messages.

    Raises:
        FileNotFoundError: If the path does not exist or holds no image.
        ImageError: If an archive is refused (`bundle.images.archives`), if files from several series in one folder
            are given, or if a series is to be chosen where there is none.
        ValueError: If a pattern is invalid.
    """
    given = list(path) if isinstance(path, (list, tuple)) else [str(path)]
    finder = _Finder(recursive, series_uid, Path(folder) if folder else None, temporary, key)
    try:
        for each in given:
            pattern = is_pattern(each)
            places = matching(each, key) if pattern else [Path(each)]
            for place in places:
                finder.take(place, pattern, alone=len(places) == len(given) == 1)
        images = list(dict.fromkeys(finder.images))
        for line in finder.passed:
            print(in_words(f"passed over: {line}"), file=sys.stderr)
        if not images:
            raise FileNotFoundError(f"{key} {_nothing(path, finder.passed)}")
        if series_uid and not any(map(_may_be_series, images)):
            raise ImageError(
                f"{key} {str(path)!r} holds no DICOM series, of which series_uid {series_uid!r} chooses one; "
                "leave it out."
            )
        return Sources(images, root_of(path), series_uid or finder.series_uid(), finder.unpacked)
    except BaseException:
        for archive in finder.unpacked:
            archive.close()
        raise


class _Finder:
    """Collect images, and messages about what is skipped."""

    def __init__(self, recursive: bool, wanted: str, results: Path | None, temporary: bool, key: str) -> None:
        self.recursive, self.wanted, self.results, self.key = recursive, wanted, results, key
        self.unpack_in = Path(tempfile.gettempdir()) if temporary or results is None else results
        self.images: list[str] = []
        self.passed: list[str] = []
        self.unpacked: list[Unpacked] = []
        self._series: dict[Path, dict[str, list[str]] | None] = {}
        self._chosen: dict[tuple[Path, str], str] = {}

    def take(self, path: Path, matched: bool, alone: bool) -> None:
        """Collect the images at a path.

        Args:
            path: any file or folder.
            matched: whether a pattern found it: what is not an image is then skipped.
            alone: whether it is the only path; a refused archive does not stop the others.
        """
        if fault := _fault_of(path):
            if not matched:
                raise FileNotFoundError(f"{self.key} {fault}")
            self.passed.append(fault.rstrip("."))
            return
        if path.is_file() and path.name.lower().endswith(SUFFIX):
            try:
                self._add(self._archive(path), path)
            except ImageError as error:
                if alone:
                    raise
                print(in_words(f"note: {error}"), file=sys.stderr)
                self.images.append(str(path))  # fails when it is opened
        elif path.is_file() or ome_zarr.matches(path):
            self.images.append(self._file(path))
        else:
            self._add(self._tree(path) if self.recursive else self._level(path), path)

    def series_uid(self) -> str:
        """Return the series to take, if files from a folder with several series were given.

        Raises:
            ImageError: If another series or folder was given as well.
        """
        if not self._chosen:
            return ""
        ((folder, uid), file), *others = self._chosen.items()
        if others or sum(Path(image).is_dir() for image in set(self.images)) > 1:
            raise ImageError(
                f"file {file!r} is of the series {uid}, one of several in {str(folder)!r}; of such a folder one series "
                "is translated at a time: give this file alone, or the folder and its series_uid."
            )
        return uid

    def _add(self, entries: Entries, path: Path) -> None:
        if not entries.images and not entries.passed:
            entries.passed.append(f"{path}, without an image")
        self.images += sorted(entries.images)
        self.passed += entries.passed

    def _file(self, path: Path) -> str:
        """Return a file, or the folder of its series if it is a slice."""
        if not path.is_file() or format_of(path) is not xray or not is_dicom(path) or file_kind(path) != "slice":
            return str(path)
        folder = path.parent
        if folder not in self._series:
            try:
                self._series[folder] = series_in(folder)
            except ImageError:  # reported when the folder is opened
                self._series[folder] = None
        series = self._series[folder]
        if series is None:
            uid, several = str(value_of(read_header(path), "SeriesInstanceUID") or ""), True
        else:
            uid, several = next((uid for uid, files in series.items() if str(path) in files), ""), len(series) > 1
        if not uid or (series and len(series[uid]) < 2):
            return str(path)
        if self.wanted not in ("", uid):
            raise ImageError(
                f"file {str(path)!r} is of the series {uid}, and series_uid is {self.wanted!r}; leave out one of them."
            )
        if str(folder) not in self.images:
            count = f"{len(series[uid])} slices" if series else "the slices"
            print(f"note: {path} is one of {count} of the series {uid}, which is taken whole", file=sys.stderr)
        if several:
            self._chosen[folder, uid] = str(path)
        return str(folder)

    def _archive(self, path: Path) -> Entries:
        """Return the images in a zip: each series is an image of its own; 2D images beside volumes are skipped."""
        unpacked = Unpacked(path, self.unpack_in)
        self.unpacked.append(unpacked)
        self.passed += unpacked.passed
        if first():
            for folder in (unpacked.folder, *sorted(p for p in unpacked.folder.rglob("*") if p.is_dir())):
                tell_apart(folder)
        wait()
        entries = self._tree(unpacked.folder)
        if entries.series:
            beside = [image for image in entries.flat if not has_frames(image)]
            entries.flat = [image for image in entries.flat if image not in beside]
            entries.passed += [f"{image}, a 2D image beside volumes" for image in beside]
        if self.wanted:
            others = [image for image in entries.series if not holds_series(image, self.wanted)]
            if others == entries.series:
                raise ImageError(
                    f"zip {str(path)!r} holds no image series with series_uid {self.wanted!r}; leave it out."
                )
            entries.series = [image for image in entries.series if image not in others]
            entries.passed += [f"{image}, of another series than series_uid" for image in others]
        return entries

    def _level(self, path: Path) -> Entries:
        """Return the images in a folder, and the DICOM images in its subfolders."""
        found = images_in(path, results=self.results)
        for entry in self._folders(path, found):
            if ome_zarr.matches(entry):
                found.volumes.append(str(entry))
                continue
            inner = images_in(entry, dicom_alone=True)
            if any(deeper.is_dir() and not deeper.name.startswith(HIDDEN) for deeper in entry.iterdir()):
                inner.passed.append(f"{entry}, the folders in it, which recursive True takes")
            found += inner.or_empty(entry)
        return found

    def _tree(self, top: Path) -> Entries:
        """Return the images in a folder tree; links are followed last, so each folder is read at its own place."""
        found, read = Entries(), set[Path]()
        folders, links = [top], list[Path]()
        while folders or links:
            folder = folders.pop() if folders else links.pop(0)
            if folder.resolve() in read:
                found.passed.append(f"{folder}, a link to a folder that is read already")
                continue
            read.add(folder.resolve())
            inner, deeper = images_in(folder, results=self.results), list[Path]()
            for entry in self._folders(folder, inner):
                if ome_zarr.matches(entry):
                    inner.volumes.append(str(entry))
                else:
                    (links if entry.is_symlink() else deeper).append(entry)
            found += inner if deeper else inner.or_empty(folder)
            folders += reversed(deeper)
        return found

    def _folders(self, path: Path, found: Entries) -> Iterator[Path]:
        """Yield the subfolders of a folder; those that are skipped are noted in ``found.passed``."""
        for entry in sorted(entry for entry in path.iterdir() if entry.is_dir()):
            if path.resolve().is_relative_to(entry.resolve()):
                found.passed.append(f"{entry}, a link to a folder that it lies in")
            elif entry.name.startswith(HIDDEN):
                if not entry.name.startswith(PART):  # left by an interrupted run
                    found.passed.append(f"{entry}, a hidden folder")
            elif told := earlier(entry, self.results):
                found.passed.append(told)
            elif not os.access(entry, os.R_OK | os.X_OK):
                found.passed.append(f"{entry}, a folder that this user may not read")
            elif self.results and self.results.exists() and entry.samefile(self.results):
                found.passed.append(f"{entry}, the folder of the results")
            else:
                yield entry


def _may_be_series(image: str) -> bool:
    """Return whether an image is a DICOM series, a slice of one, or a refused zip, whose contents are not known."""
    path = Path(image)
    return is_series(path) if path.is_dir() else is_dicom(path) or path.name.lower().endswith(SUFFIX)


def _fault_of(path: Path) -> str:
    """Return a message about a path that does not exist, or a file not named like an image; else an empty string."""
    if not path.exists():
        if path.is_symlink():
            return f"{str(path)!r} is a link to a file that is not there; fetch it."
        return f"{str(path)!r} does not exist; give an image, a DICOM folder, a zip, a folder of them, or a pattern."
    named = path.name.lower().endswith(SUFFIX) or format_of(path)
    if path.is_file() and (path.name.startswith(APPLE_DOUBLE) or not named):
        return f"{str(path)!r} is not an image: its name ends in none of {', '.join((*SUFFIXES, SUFFIX))}."
    return ""


def _nothing(path: Any, passed: Sequence[str]) -> str:
    told = in_words(f"; passed over: {'; '.join(passed[:8])}") if passed else ""
    return (
        f"{str(path)!r} holds no image ({', '.join(SUFFIXES)}) and no DICOM series, in itself or in its folders{told}."
    )
