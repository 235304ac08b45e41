"""Match results with their sources, by the provenance file of a result or by name."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

from bundle.images import find_images, is_series, stem
from bundle.images.dicom_stack import series_files
from bundle.images.own_files import is_own_file
from bundle.images.provenance import content_hash, read_provenance
from bundle.runtime.job import place_of
from bundle.runtime.origins import in_words


@dataclass(frozen=True)
class Pair:
    """A result and its source.

    Args:
        source: path of the source.
        result: path of the result.
        truth: path of the true image; null if it is not known.
    """

    source: str
    result: str
    truth: str | None = None


def find_pairs(
    source: str | Path,
    result: str | Path,
    truth: str | Path | None = None,
    recursive: bool = False,
    series_uid: str = "",
) -> list[Pair]:
    """Return the pairs of two images or of two folders of images; print and skip results without a source.

    A result with a provenance is that of the image with the contents which this tells; one without, that of the image
    by whose name its own begins, or of the only one. Where there are true images, results without one are printed too.

    Args:
        source: an image or a folder of images.
        result: its result or a folder of results.
        truth: the true image or a folder of them, named like the sources or the results; null for none.
        recursive: read folders to any depth.
        series_uid: the series to take from a source that is a DICOM folder with several.

    Raises:
        FileNotFoundError: If one of the paths holds no image.
        ValueError: If no result matches a source, or no true image matches any of them.
    """
    sources = find_images(source, recursive, series_uid, key="source")
    results = find_images(result, recursive, key="result")
    truths = find_images(truth, recursive, key="truth") if truth is not None else []
    known = Sources(sources, series_uid)
    alone = len(sources) == len(results) == 1
    pairs: list[Pair] = []
    for path in results:
        told = read_provenance(path)
        if told and told["source"]["sha256"]:
            owner, why = known.of(told["source"]), ", by the contents that its provenance tells"
        else:
            owner, why = sources[0] if alone else by_name(path, sources), ""
        if owner is None and not told and path.lower().endswith(".png") and is_own_file(path):
            continue  # a plot or picture of this bundle, which is no result
        if owner is None:
            print(in_words(f"passed over: {path}, the result of no image in {source}{why}"), file=sys.stderr)
        else:
            single = len(truths) == 1 and len(results) == 1
            pairs.append(Pair(owner, path, truths[0] if single else same_name(truths, owner, path)))
    if not pairs:
        raise ValueError(
            f"result {str(result)!r} holds no result of an image in {str(source)!r}: results are known by the "
            "contents of the source in the provenance beside them, or without one by names that begin with the "
            "source's; give the folders of both."
        )
    if truths and not any(pair.truth for pair in pairs):
        raise ValueError(
            f"truth {str(truth)!r} holds no image of the name of a source or a result, such as "
            f"{label(pairs[0].source)!r}; rename them, or leave truth out."
        )
    for pair in pairs if truths else ():
        if pair.truth is None:
            print(
                f"without truth: {pair.result}, as {truth} holds no image of its name or its source's", file=sys.stderr
            )
    return pairs


class Sources:
    """The sources, known by their places and contents.

    Args:
        paths: paths of the images.
        series_uid: the series to take from a DICOM folder with several.
    """

    def __init__(self, paths: Sequence[str], series_uid: str = "") -> None:
        self.paths, self.places = paths, {place_of(path): path for path in paths}

        self.sha256 = cache(partial(_sha256, series_uid=series_uid))

    def of(self, told: Mapping[str, str]) -> str | None:
        """Return the image with the contents that a provenance tells, first the one at that place; None if none has.

        An image at that place that cannot be read is returned as well: its report tells why.
        """
        there = self.places.get(told["place"])
        if there and not self.sha256(there):
            return there
        return next((path for path in (there, *self.paths) if path and self.sha256(path) == told["sha256"]), None)


def _sha256(path: str, series_uid: str) -> str:
    """Return the SHA-256 of an image's contents; an empty string if it cannot be read."""
    try:
        return content_hash(path, series_files(path, series_uid) if is_series(path) else ())
    except (OSError, ValueError):
        return ""


def label(path: str | Path) -> str:
    """Return the name of a file without its suffix, or the name of a folder."""
    return stem(path) if Path(path).is_file() else stem(Path(path).absolute())


def by_name(result: str, sources: Sequence[str]) -> str | None:
    """Return the source with the longest name that a result's name begins with; None if there is none."""
    name = label(result)
    fitting = [path for path in sources if name == label(path) or name.startswith(f"{label(path)}_")]
    return max(fitting, key=lambda path: len(label(path)), default=None)


def same_name(truths: Sequence[str], source: str, result: str) -> str | None:
    """Return the true image that is named like a source or its result; None if there is none."""
    return next((path for path in truths if label(path) in (label(source), label(result))), None)
