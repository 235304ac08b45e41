"""Choose the path of each result, and refuse conflicts, before the first image is translated."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bundle.images.dicom_series import result_suffix
from bundle.images.dicom_stack import series_files
from bundle.images.formats import SUFFIXES, check_not_source, is_series, stem, suffix
from bundle.images.image import ImageError
from bundle.images.provenance import COMPANIONS, PROVENANCE, check_overwrite, check_replaceable, content_hash
from bundle.images.xray import END
from bundle.runtime import Job, system, typed_text
from bundle.runtime.origins import absolute, archive_of, in_words, origin_of

#: Longest file name that file systems allow, in bytes.
LONGEST_NAME = 255


class Results(dict[str, Path]):
    """The path of the result for each image to translate, by the image's path.

    ``skipped``: the paths of results that exist already, of images that are not translated again.
    """

    def __init__(self, results: Mapping[str, Path], skipped: Mapping[str, Path]) -> None:
        super().__init__(results)
        self.skipped = dict(skipped)


def result_path(
    source: str | Path,
    output_dir: str | Path,
    output_postfix: str = "translated",
    output_ext: str = "",
    root: str | Path | None = None,
    series_uid: str = "",
    files: Sequence[str] = (),
) -> Path:
    """Return the path of an image's result.

    Args:
        source: the image.
        output_dir: folder of the results.
        output_postfix: text that is added to the name.
        output_ext: such as ``.nii.gz``; empty for the source's own: a derived series for a DICOM CT series, ``.nii.gz``
            for a series of another modality, ``.png`` for a JPEG, ``.mha`` for an ``.mhd``.
        root: folder whose subfolders the results keep, so that images in different folders may have the same name.
        series_uid: the series to take from a DICOM folder with several.
        files: files of a series that is open already, to avoid searching for them again.

    Raises:
        ImageError: If no format with this extension can be written.
    """
    source, folder = Path(source), Path(output_dir)
    check_extension(output_ext)
    if root is not None:
        folder = folder / _place_below(source, Path(root))
    end = output_ext.lower() or suffix(source)
    if is_series(source):
        end = output_ext.lower() or result_suffix(files or series_files(source, series_uid))
        name = absolute(source).name
    else:
        name = stem(source) or "image"
        end = end or (END if source.is_file() else ".nii.gz")
    end = SUFFIXES[end].SUFFIXES[end] if end else ""
    return folder / f"{'_'.join(filter(None, (name, output_postfix)))}{end}"


def _place_below(source: Path, root: Path) -> Path:
    """Return the folder of an image relative to the root; an archive on the way loses its suffix."""
    place, top = absolute(origin_of(source)), absolute(root)
    if top not in place.parents:
        return Path()
    inner = list(place.parent.relative_to(top).parts)
    archive = archive_of(source)
    at = len(absolute(archive).relative_to(top).parts) - 1 if archive else -1
    if 0 <= at < len(inner):
        inner[at] = Path(inner[at]).stem
    return Path(*inner)


def check_extension(output_ext: str) -> None:
    """Refuse an extension that no format writes, such as ``.jpg``, which would lose grey values.

    Raises:
        ImageError: If the extension is unknown, or of files that are only read.
    """
    end = output_ext.lower()
    if not end:
        return
    written = SUFFIXES[end].SUFFIXES[end] if end in SUFFIXES else None
    if written is None:
        known = ", ".join(dict.fromkeys(form.SUFFIXES[end] for end, form in SUFFIXES.items()))
        raise ImageError(f"output_ext {output_ext!r} is not a format that can be written; take one of {known}.")
    if written != end:
        raise ImageError(f"output_ext {output_ext!r} cannot be written; take {written!r} or another format.")


def plan_results(
    images: Sequence[str],
    output_dir: str | Path,
    output_postfix: str = "translated",
    output_ext: str = "",
    root: str | Path | None = None,
    series_uid: str = "",
    overwrite: str = "all",
    skip_existing: bool = False,
    job: Job | None = None,
) -> Results:
    """Return the path of the result for each image to translate, by the image's path.

    Args:
        images: paths of images.
        output_dir: see `result_path`, as for the next four.
        output_postfix: text that is added to the names.
        output_ext: extension of the results.
        root: folder whose subfolders the results keep.
        series_uid: the series to take from DICOM folders with several.
        overwrite: see `bundle.images.provenance.check_replaceable`.
        skip_existing: skip images whose result was already made by the same job, with a message.
        job: weights and settings; needed to skip.

    Raises:
        FileExistsError: If a result would replace an image, or a file that is not a result of this bundle.
        ImageError: If two results would have the same path, a name is too long, or the extension is not written.
        ValueError: If ``overwrite`` has an unknown value.
    """
    check_extension(output_ext)
    check_overwrite(overwrite)
    forbidden = "/\\\0" + (system.FORBIDDEN if system.WINDOWS else "")
    output_postfix = typed_text("output_postfix", output_postfix)
    if any(letter in output_postfix for letter in forbidden):
        told = f"any of {forbidden[3:]}, / and \\" if system.WINDOWS else "/ and \\"
        raise ImageError(f"output_postfix {output_postfix!r} is not part of a file's name; take one without {told}.")
    results: dict[str, Path] = {}
    owners: dict[str, str] = {}
    case = not system.ignores_case(output_dir)
    for image in images:
        try:
            path = result_path(image, output_dir, output_postfix, output_ext, root, series_uid)
        except ImageError:
            continue  # a broken series; the error is reported when it is opened
        results[image] = path
        other = owners.setdefault(system.name_key(path.resolve(), case), image)
        if other != image:
            raise ImageError(
                f"images {str(origin_of(other))!r} and {str(origin_of(image))!r} would both give {str(path)!r}; rename "
                "one, or translate them into different folders."
            )
    sources = {Path(image).resolve(): image for image in images}
    skipped: dict[str, Path] = {}
    for image, path in results.items():
        _check_name(image, path)
        check_not_source(path, Path(sources.get(path.resolve(), image)))
        files = series_files(image, series_uid) if path.exists() and is_series(image) else ()
        made = check_replaceable(path, image, files, overwrite)
        if skip_existing and job and made and _is_of(made.told, job, content_hash(image, files)):
            print(in_words(f"skipped: {path} exists already, made from {image} by the same weights and settings"))
            skipped[image] = path
    return Results({image: results.get(image, Path(output_dir)) for image in images if image not in skipped}, skipped)


def _is_of(made: Mapping[str, Any], job: Job, source: str) -> bool:
    """Return whether a result was made by a job from a source with this hash."""
    return bool(made["job"] == job.key() and made["source"]["sha256"] == source)


def _check_name(image: str, path: Path) -> None:
    """Refuse a result if its name, or that of a file written beside it, would be too long for file systems."""
    ends = (PROVENANCE, *COMPANIONS)
    size, most = len(os.fsencode(path.name)), LONGEST_NAME - max(map(len, ends))
    if size > most:
        raise ImageError(
            f"image {image!r} would give a result whose name {path.name!r} has {size} bytes, more than {most}; rename "
            "the image, or take a shorter output_postfix."
        )
