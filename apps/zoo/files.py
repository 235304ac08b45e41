"""The files: those that the zoo asks for are there, none is too large, none tells where it was made."""

from __future__ import annotations

import hashlib
import re

from apps.zoo.archive import LIMIT, large_files
from apps.zoo.submission import RefusedError, Submission

#: What the zoo's CI opens by name, and what its template and its rules on data ask for.
NEEDED = ("LICENSE", "configs/metadata.json", "configs/inference.json", "docs/README.md", "docs/data_license.txt")
#: Somebody's own folder, on Linux, macOS or Windows.
PERSONAL = re.compile(r"(?<![\w.])(/home/|/Users/|/root/|[A-Za-z]:\\\\?Users\\)[^\s\"']*")


def files(submission: Submission) -> str:
    """All files that the zoo names are there, the weights among them or to be downloaded; all are plain files.

    Raises:
        RefusedError: on a file that is missing, or a link.
    """
    later = {entry["path"] for entry in large_files(submission.folder)}
    for name in (*NEEDED, "models/model.pt"):
        if not (submission.folder / name).is_file() and name not in later:
            raise RefusedError(f"{name} is missing; the zoo's CI looks for exactly this name.")
    found = [path for path in submission.folder.rglob("*") if not path.is_dir()]
    for path in found:
        if path.is_symlink():
            raise RefusedError(f"{path.relative_to(submission.folder)} is a link; pack the file itself.")
    return f"{len(found)} files, {sum(path.stat().st_size for path in found) / 1e6:.1f} MB"


def sizes(submission: Submission) -> str:
    """No file passes the zoo's limit; those that do are named in `large_files.yml`, each with an address and a hash.

    Raises:
        RefusedError: on a file that is too large, or an entry without address, of an unknown hash, or of a file that is
            there all the same.
    """
    largest = max(
        (path for path in submission.folder.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size
    )
    size = largest.stat().st_size
    if size > LIMIT:
        raise RefusedError(
            f"{largest.relative_to(submission.folder)} has {size / 1e6:.1f} MB, more than the zoo's "
            f"{LIMIT / 1e6:.0f} MB; upload it and name it in large_files.yml."
        )
    entries = large_files(submission.folder)
    for entry in entries:
        if not str(entry.get("url", "")).startswith("https://"):
            raise RefusedError(
                f"large_files.yml gives {entry['path']} the url {entry.get('url')!r}; it must be https://..."
            )
        kind, value = entry.get("hash_type", ""), entry.get("hash_val", "")
        if kind not in ("md5", "sha1", "sha256", "sha512") or len(value) != 2 * hashlib.new(kind).digest_size:
            raise RefusedError(f"large_files.yml gives {entry['path']} no hash; give hash_type, sha256, and hash_val.")
        if (submission.folder / entry["path"]).exists():
            raise RefusedError(f"{entry['path']} is packed and in large_files.yml; leave it out of one of them.")
    return f"largest {largest.name}, {size / 1e6:.1f} MB; {len(entries)} to download"


def personal_paths(submission: Submission) -> str:
    """No text names somebody's own folder.

    Raises:
        RefusedError: on the first that does.
    """
    texts = [path for path in submission.folder.rglob("*") if path.is_file() and path.suffix not in (".pt", ".png")]
    for path in texts:
        found = PERSONAL.search(path.read_text(encoding="utf-8"))
        if found:
            name = path.relative_to(submission.folder)
            raise RefusedError(f"{name} names {found[0]}; the zoo wants none, take a path below @bundle_root.")
    return f"{len(texts)} texts"
