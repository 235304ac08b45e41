"""Which result is of which source: by the provenance beside a result, or else by their names."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bundle.images import find_images, stem
from bundle.images.provenance import read_provenance
from bundle.runtime.job import place_of


@dataclass(frozen=True)
class Pair:
    """A result and what it was made from.

    Args:
        source: path.
        result: path.
        truth: path of what the result should be; null if it is not known.
    """

    source: str
    result: str
    truth: str | None = None


def find_pairs(source: str | Path, result: str | Path, truth: str | Path | None = None) -> list[Pair]:
    """Return the pairs of two images, or of two folders of images; what has no partner is passed over with a line.

    Args:
        source: an image or a folder of them.
        result: the same of the results.
        truth: the same of what the results should be, of the names of the sources or of the results; null for none.

    Raises:
        FileNotFoundError: If there are no images in one of them.
        ValueError: If no result is of any source, or no truth is of any of them.
    """
    sources, results = find_images(source), find_images(result)
    truths = find_images(truth) if truth is not None else []
    owners = {place_of(path): path for path in sources}
    alone = len(sources) == len(results) == 1
    pairs: list[Pair] = []
    for path in results:
        told = read_provenance(path)
        owner = sources[0] if alone else owners.get(told["source"]["place"]) if told else None
        owner = owner or by_name(path, sources)
        if owner is None:
            print(f"passed over: {path}, the result of no image in {source}", file=sys.stderr)
        else:
            single = len(truths) == 1 and len(results) == 1
            pairs.append(Pair(owner, path, truths[0] if single else same_name(truths, owner, path)))
    if not pairs:
        raise ValueError(
            f"result {str(result)!r} holds no result of an image in {str(source)!r}: results are known by the "
            "provenance beside them, or by names that begin with the source's; give the folders of both."
        )
    if truths and not any(pair.truth for pair in pairs):
        raise ValueError(
            f"truth {str(truth)!r} holds no image of the name of a source or a result, such as "
            f"{label(pairs[0].source)!r}; rename them, or leave truth out."
        )
    return pairs


def label(path: str | Path) -> str:
    """Return the name of a file without its suffix, or that of a folder."""
    return stem(path) if Path(path).is_file() else stem(Path(path).absolute())


def by_name(result: str, sources: Sequence[str]) -> str | None:
    """Return the source whose name that of a result begins with, the longest of several; None if there is none."""
    name = label(result)
    fitting = [path for path in sources if name == label(path) or name.startswith(f"{label(path)}_")]
    return max(fitting, key=lambda path: len(label(path)), default=None)


def same_name(truths: Sequence[str], source: str, result: str) -> str | None:
    """Return the truth that is named as a source or its result; None if there is none."""
    return next((path for path in truths if label(path) in (label(source), label(result))), None)
