"""The provenance of a result: a JSON file beside it, by which a result of this bundle is known as its own.

::

    scan_translated.nii.gz     scan_translated.nii.gz.provenance.json: what made it, of what, with its own hash

It is written before the result gets its name, and names the hash of the result that it replaces as well: so a process
that is killed between the two leaves a result that is still known. It holds no name: neither of files nor of patients.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bundle import __version__
from bundle.runtime.files import atomic, file_hash
from bundle.runtime.job import place_of

#: What is added to a result's name.
PROVENANCE = ".provenance.json"
#: What else is written beside a result, and goes with it.
COMPANIONS = (".densitometry.json", ".report.json", ".report.html", ".report.pdf", ".report.dcm")
#: Who writes such files.
NAME = "ct_kernel_translation_gan"
#: Values of ``overwrite``.
OVERWRITE = ("own", "all")


@dataclass(frozen=True)
class Own:
    """A result of this bundle that nobody has changed since.

    Args:
        told: its provenance.
        sha256: its hash.
    """

    told: dict[str, Any]
    sha256: str


def provenance_path(result: str | Path) -> Path:
    """Return where the provenance of a result lies."""
    result = Path(result)
    return result.with_name(result.name + PROVENANCE)


def content_hash(path: str | Path, files: Sequence[str] = ()) -> str:
    """Return the SHA-256 of a file, or one of all files in a folder, hidden ones aside, with their names.

    Args:
        path: of the file or folder.
        files: of a series, whose names and order do not matter; empty for the path itself.
    """
    path = Path(path)
    if files:
        told = sorted(file_hash(file) for file in files)
    elif path.is_dir():
        inner = sorted(entry for entry in path.rglob("*") if entry.is_file() and not entry.name.startswith("."))
        told = [f"{entry.relative_to(path).as_posix()} {file_hash(entry)}" for entry in inner]
    else:
        return file_hash(path)
    return hashlib.sha256("\n".join(told).encode()).hexdigest()


def write_provenance(
    result: Path, whole: Path, source: Path, files: Sequence[str], more: Mapping[str, Any], replaced: Own | None = None
) -> None:
    """Write the provenance of a result that is whole, but has not got its name yet.

    Args:
        result: the name that it will have.
        whole: where it lies now.
        source: the image that it was made from; it need not exist.
        files: of the source, if it is a series.
        more: further entries, for JSON to write.
        replaced: the result of this bundle that lies there until then, as `check_replaceable` has found it; if that is
            changed in between, what lies there is not known as the bundle's own after a kill.
    """
    told = {
        "bundle": NAME,
        "version": __version__,
        "source": {
            "sha256": content_hash(source, files) if source.exists() else None,
            "place": place_of(source) if source.exists() else None,
        },
        "result": {"sha256": content_hash(whole), "replaces": replaced.sha256 if replaced else None},
        **more,
    }
    with atomic(provenance_path(result)) as part:
        part.write_text(json.dumps(told, indent=1, default=str) + "\n", encoding="utf-8")


def read_provenance(result: str | Path) -> dict[str, Any] | None:
    """Return the provenance beside a result; nothing if there is none, or none of this bundle."""
    try:
        told = json.loads(provenance_path(result).read_text(encoding="utf-8"))
        known = told["bundle"] == NAME and {"sha256", "place"} <= set(told["source"]) and told["result"]["sha256"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return told if known else None


def owned(result: str | Path) -> Own | None:
    """Return a result of this bundle that nobody has changed since; nothing of anything else."""
    told, result = read_provenance(result), Path(result)
    if told is None or not result.exists():
        return None
    sha256 = content_hash(result)
    return Own(told, sha256) if sha256 in (told["result"]["sha256"], told["result"].get("replaces")) else None


def check_overwrite(overwrite: str) -> None:
    """Refuse what is not a value of ``overwrite``.

    Raises:
        ValueError: If it is none.
    """
    if overwrite not in OVERWRITE:
        raise ValueError(f"overwrite {overwrite!r} is neither 'own' (this bundle's results) nor 'all'; take one.")


def check_replaceable(
    result: str | Path, source: str | Path, files: Sequence[str] = (), overwrite: str = "own"
) -> Own | None:
    """Refuse to replace what is not a result of this bundle from the same image.

    Args:
        result: where a result is about to be written.
        source: the image that it is made from.
        files: of the source, if it is a series.
        overwrite: "own", or "all" to replace whatever lies there.

    Returns:
        What is replaced, if it is a result of this bundle.

    Raises:
        FileExistsError: If something else lies there.
    """
    result, source = Path(result), Path(source)
    own = owned(result)
    if overwrite == "all" or not result.exists():
        return own
    way_out = "move it away, take another output_dir, or set overwrite to 'all' to replace whatever lies there"
    if own is None:
        raise FileExistsError(
            f"result {str(result)!r} of {str(source)!r} exists already, and is not known as this bundle's own "
            f"(no {PROVENANCE} beside it with its hash); {way_out}."
        )
    told = own.told["source"]
    if source.exists() and told["place"] != place_of(source) and told["sha256"] != content_hash(source, files):
        raise FileExistsError(
            f"result {str(result)!r} of {str(source)!r} exists already, and was made from another image; {way_out}."
        )
    return own


def remove_companions(result: Path, kept: Sequence[str] = ()) -> None:
    """Remove what an earlier run has written beside a result that is replaced, but for the endings that are kept."""
    for end in (PROVENANCE, *COMPANIONS):
        if end not in kept:
            result.with_name(result.name + end).unlink(missing_ok=True)
