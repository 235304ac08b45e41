"""Match results with their sources, by the provenance file of a result or by name."""

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
    """A result and its source.

    Args:
        source: path of the source.
        result: path of the result.
        truth: path of the true image; null if it is not known.
    """

    source: str
    result: str
    truth: str | None = None


def find_pairs(source: str | Path, result: str | Path, truth: str | Path | None = None) -> list[Pair]:
    """Return the pairs of two images or of two folders of images; print and skip results without a source.

    Where there are true images, results without one are printed too.

    Args:
        source: an image or a folder of images.
        result: its result or a folder of results.
        truth: the true image or a folder of them, named like the sources or the results; null for none.

    Raises:
        FileNotFoundError: If one of the paths holds no image.
        ValueError: If no result matches a source, or no true image matches any of them.
    """
    sources, results = images_at("source", source), images_at("result", result)
    truths = images_at("truth", truth) if truth is not None else []
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
    for pair in pairs if truths else ():
        if pair.truth is None:
            print(
                f"without truth: {pair.result}, as {truth} holds no image of its name or its source's", file=sys.stderr
            )
    return pairs


def images_at(key: str, path: str | Path) -> list[str]:
    """Find the images at the path that a key holds (`bundle.images.find_images`)."""
    try:
        return find_images(path)
    except FileNotFoundError as error:
        raise FileNotFoundError(str(error).replace("dataset_dir", key, 1)) from None


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
