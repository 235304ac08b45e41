"""Check the files: those that the zoo requires exist, none is too large, and none contains a personal path."""

from __future__ import annotations

import hashlib
import re

from apps.zoo.archive import LIMIT, large_files
from apps.zoo.submission import CheckFailed, Submission

#: Files that the zoo's CI opens by name, or that its template or its rules on data require.
NEEDED = ("LICENSE", "configs/metadata.json", "configs/inference.json", "docs/README.md", "docs/data_license.txt")
#: A home folder on Linux, macOS or Windows.
PERSONAL = re.compile(r"(?<![\w.])(/home/|/Users/|/root/|[A-Za-z]:\\\\?Users\\)[^\s\"']*")


def files(submission: Submission) -> str:
    """Check that all required files and the weights exist or are to be downloaded, and that there are no links.

    Raises:
        CheckFailed: If a file is missing, or is a link.
    """
    downloads = {entry["path"] for entry in large_files(submission.folder)}
    for name in (*NEEDED, "models/model.pt"):
        if not (submission.folder / name).is_file() and name not in downloads:
            raise CheckFailed(f"{name} is missing; the zoo's CI looks for exactly this name.")
    paths = [path for path in submission.folder.rglob("*") if not path.is_dir()]
    for path in paths:
        if path.is_symlink():
            raise CheckFailed(f"{path.relative_to(submission.folder)} is a link; pack the file itself.")
    return f"{len(paths)} files, {sum(path.stat().st_size for path in paths) / 1e6:.1f} MB"


def sizes(submission: Submission) -> str:
    """Check that no file exceeds the zoo's limit, and that `large_files.yml` gives larger ones an address and a hash.

    Raises:
        CheckFailed: If a file is too large, or an entry has no address or no valid hash, or its file is packed as well.
    """
    largest = max(
        (path for path in submission.folder.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size
    )
    size = largest.stat().st_size
    if size > LIMIT:
        raise CheckFailed(
            f"{largest.relative_to(submission.folder)} has {size / 1e6:.1f} MB, more than the zoo's "
            f"{LIMIT / 1e6:.0f} MB; upload it and name it in large_files.yml."
        )
    entries = large_files(submission.folder)
    for entry in entries:
        if not str(entry.get("url", "")).startswith("https://"):
            raise CheckFailed(
                f"large_files.yml gives {entry['path']} the url {entry.get('url')!r}; it must be https://..."
            )
        kind, value = entry.get("hash_type", ""), entry.get("hash_val", "")
        if kind not in ("md5", "sha1", "sha256", "sha512") or len(value) != 2 * hashlib.new(kind).digest_size:
            raise CheckFailed(f"large_files.yml gives {entry['path']} no valid hash; give hash_type and hash_val.")
        if (submission.folder / entry["path"]).exists():
            raise CheckFailed(f"{entry['path']} is packed and in large_files.yml; leave it out of one of them.")
    return f"largest {largest.name}, {size / 1e6:.1f} MB; {len(entries)} to download"


def personal_paths(submission: Submission) -> str:
    """Check that no text file names a home folder.

    Raises:
        CheckFailed: If one does.
    """
    texts = [path for path in submission.folder.rglob("*") if path.is_file() and path.suffix not in (".pt", ".png")]
    for path in texts:
        match = PERSONAL.search(path.read_text(encoding="utf-8"))
        if match:
            name = path.relative_to(submission.folder)
            raise CheckFailed(f"{name} names {match[0]}; the zoo allows none, take a path below @bundle_root.")
    return f"{len(texts)} texts"
