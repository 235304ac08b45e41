"""Provenance: a JSON file beside each result, by which the bundle recognizes its own results.

::

    scan_translated.nii.gz     scan_translated.nii.gz.provenance.json: source, settings, hash of the result

The file is written before the result gets its name, and also holds the hash of the result that it replaces: if a
process is killed between the two steps, the old result is still recognized. It contains no names of files or patients.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bundle import __version__
from bundle.images.headers import references
from bundle.runtime.files import atomic
from bundle.runtime.hashes import file_hash
from bundle.runtime.job import place_of

#: Suffix that is added to a result's name.
PROVENANCE = ".provenance.json"
#: Suffixes of further files that are written beside a result, and removed with it.
COMPANIONS = (".densitometry.json", ".report.json", ".report.html", ".report.pdf", ".report.dcm")
#: The bundle's name in these files.
NAME = "ct_kernel_translation_gan"
#: Values of ``overwrite``.
OVERWRITE = ("own", "all")


@dataclass(frozen=True)
class Own:
    """An unchanged result of this bundle.

    Args:
        told: its provenance.
        sha256: its hash.
    """

    told: dict[str, Any]
    sha256: str


def provenance_path(result: str | Path) -> Path:
    """Return the path of a result's provenance."""
    result = Path(result)
    return result.with_name(result.name + PROVENANCE)


def content_hash(path: str | Path, files: Sequence[str] = ()) -> str:
    """Return the SHA-256 of an image's contents.

    Args:
        path: a file, which counts with the files that its header names, or a folder, of which the names and contents of
            all files count, except hidden ones.
        files: files of a series, whose names and order do not matter; empty for the path itself.
    """
    path = Path(path)
    if files:
        told = sorted(file_hash(file) for file in files)
    elif path.is_dir():
        inner = sorted(entry for entry in path.rglob("*") if entry.is_file() and not entry.name.startswith("."))
        told = [f"{entry.relative_to(path).as_posix()} {file_hash(entry)}" for entry in inner]
    elif named := references(path):
        told = [file_hash(file) for file in (path, *named)]
    else:
        return file_hash(path)
    return hashlib.sha256("\n".join(told).encode()).hexdigest()


def write_provenance(
    result: Path, whole: Path, source: Path, files: Sequence[str], more: Mapping[str, Any], replaced: Own | None = None
) -> None:
    """Write the provenance of a result that is complete but does not have its final name yet.

    Args:
        result: final path of the result.
        whole: its current path.
        source: the image that it was made from; it need not exist.
        files: files of the source, if it is a series.
        more: further entries, serializable as JSON.
        replaced: the earlier result at that path, as returned by `check_replaceable`; if it is changed in between and
            the process is killed, the bundle does not recognize it afterwards.
    """
    told = {
        "bundle": NAME,
        "version": __version__,
        "source": told_of(source, files),
        "result": {"sha256": content_hash(whole), "replaces": replaced.sha256 if replaced else None},
        **more,
    }
    with atomic(provenance_path(result)) as part:
        part.write_text(json.dumps(told, indent=1, default=str) + "\n", encoding="utf-8")


def told_of(source: Path, files: Sequence[str]) -> dict[str, str | None]:
    """Return what the provenance of a result holds of an image that it was made from: hashes of content and path."""
    there = source.exists()
    return {"sha256": content_hash(source, files) if there else None, "place": place_of(source) if there else None}


def is_source(told: Mapping[str, Any], source: Path, files: Sequence[str]) -> bool:
    """Return whether an entry of `told_of` is that of an image, by its path or by its content."""
    return bool(told["place"] == place_of(source) or told["sha256"] == content_hash(source, files))


def read_provenance(result: str | Path) -> dict[str, Any] | None:
    """Return the provenance beside a result; None if there is none, or it is not from this bundle."""
    try:
        told = json.loads(provenance_path(result).read_text(encoding="utf-8"))
        known = told["bundle"] == NAME and {"sha256", "place"} <= set(told["source"]) and told["result"]["sha256"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return told if known else None


def owned(result: str | Path) -> Own | None:
    """Return an unchanged result of this bundle; None for anything else."""
    told, result = read_provenance(result), Path(result)
    if told is None or not result.exists():
        return None
    sha256 = content_hash(result)
    return Own(told, sha256) if sha256 in (told["result"]["sha256"], told["result"].get("replaces")) else None


def check_overwrite(overwrite: str) -> None:
    """Refuse an unknown value of ``overwrite``.

    Raises:
        ValueError: If the value is unknown.
    """
    if overwrite not in OVERWRITE:
        raise ValueError(f"overwrite {overwrite!r} is neither 'own' (this bundle's results) nor 'all'; take one.")


def check_replaceable(
    result: str | Path, source: str | Path, files: Sequence[str] = (), overwrite: str = "own", key: str = "overwrite"
) -> Own | None:
    """Refuse to replace anything but this bundle's result from the same image.

    Args:
        result: path of the result to write.
        source: the image that it is made from.
        files: files of the source, if it is a series.
        overwrite: "own", or "all" to replace any existing file.
        key: the config's key of ``overwrite``, for messages.

    Returns:
        The result to be replaced, if it is one of this bundle.

    Raises:
        FileExistsError: If there is another file or folder at that path.
    """
    result, source = Path(result), Path(source)
    own = owned(result)
    way_out = f"move it away, take another output_dir, or set {key} to 'all' to replace whatever lies there"
    if overwrite == "all":
        return own
    if not result.exists():
        ends = (PROVENANCE, *COMPANIONS) if read_provenance(result) is None else ()
        beside = next(filter(Path.exists, (result.with_name(result.name + end) for end in ends)), None)
        if beside:
            raise FileExistsError(
                f"result {str(result)!r} of {str(source)!r} would replace {beside.name!r}, which is not known as "
                f"this bundle's own; {way_out}."
            )
        return own
    if own is None:
        raise FileExistsError(
            f"result {str(result)!r} of {str(source)!r} exists already, and is not known as this bundle's own "
            f"(no {PROVENANCE} beside it with its hash); {way_out}."
        )
    if source.exists() and not is_source(own.told["source"], source, files):
        raise FileExistsError(
            f"result {str(result)!r} of {str(source)!r} exists already, and was made from another image; {way_out}."
        )
    return own


def remove_companions(result: Path, kept: Sequence[str] = ()) -> None:
    """Remove what an earlier run wrote beside a replaced result, except for the suffixes in ``kept``."""
    for end in (PROVENANCE, *COMPANIONS):
        if end not in kept:
            result.with_name(result.name + end).unlink(missing_ok=True)
