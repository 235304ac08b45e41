"""Pack a submission: exactly the bundle's own files, the same bytes on every machine.

The archive has the layout and name of the zoo's releases, `<name>_v<version>.zip` with the folder `<name>/` in it, so
that `monai.bundle.download` and a plain unzip both give the folder of a bundle.
"""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

from monai.bundle import ConfigParser

from apps.zoo import hub
from apps.zoo.submission import CheckFailed

#: The bundle's name in the zoo, used for its folder and archive.
NAME = "ct_kernel_translation_gan"
#: Files of a submission, relative to the bundle's folder.
INCLUDED = (
    "LICENSE",
    "large_files.yml",
    "configs/*.json",
    "configs/*.conf",
    "models/*.pt",
    "bundle/**/*.py",
    "bundle/scanner/kernels.json",
    "bundle/report/page.html",
    "docs/*.md",
    "docs/*.ipynb",
    "docs/*.txt",
    "docs/*.schema.json",
    "docs/*.csv",
    "docs/figures/*.png",
)
#: Largest size of a single file in bytes; the zoo's limit is 25 MB.
LIMIT = 25_000_000


def large_files(root: Path) -> list[dict[str, str]]:
    """Return the entries of `large_files.yml`, one for each file to download; empty without that file.

    Raises:
        CheckFailed: If `large_files.yml` is not a list of entries with a `path`.
    """
    path = root / "large_files.yml"
    if not path.exists():
        return []
    entries = (ConfigParser.load_config_file(str(path)) or {}).get("large_files")
    if not isinstance(entries, list) or not all(isinstance(entry, dict) and entry.get("path") for entry in entries):
        raise CheckFailed("large_files.yml must hold a list `large_files` of entries with `path` and `url`.")
    return entries


def submission_files(root: Path) -> list[Path]:
    """Return the files of a submission in a fixed order, relative to the bundle's folder, without those to download.

    Raises:
        CheckFailed: If a file exceeds `LIMIT` and `large_files.yml` does not name it.
    """
    files = {path.relative_to(root) for pattern in INCLUDED for path in root.glob(pattern) if path.is_file()}
    downloads = {Path(entry["path"]) for entry in large_files(root)}
    for path in sorted(files - downloads):
        size = (root / path).stat().st_size
        if size > LIMIT:
            raise CheckFailed(
                f"{path.as_posix()} has {size / 1e6:.1f} MB, more than the zoo's {LIMIT / 1e6:.0f} MB; upload it and "
                "name it in large_files.yml with path, url, hash_val and hash_type."
            )
    return sorted(files - downloads)


def pack(root: Path, folder: Path) -> Path:
    """Write the submission's archive into a folder, with the hub's model card; the same files give the same bytes.

    Entries have a fixed order and date and are not compressed: the weights would not shrink, and another version of the
    compressor would give other bytes.

    Raises:
        CheckFailed: If `submission_files` raises it.
    """
    version = json.loads((root / "configs" / "metadata.json").read_text(encoding="utf-8"))["version"]
    packed = {path.as_posix(): (root / path).read_bytes() for path in submission_files(root)}
    packed[hub.CARD] = hub.card(root).encode()
    folder.mkdir(parents=True, exist_ok=True)
    archive = folder / f"{NAME}_v{version}.zip"
    with zipfile.ZipFile(archive, "w") as out:
        for path, content in sorted(packed.items()):
            entry = zipfile.ZipInfo(f"{NAME}/{path}")
            entry.create_system = 3  # Unix, so that the permissions are honoured
            entry.external_attr = 0o100644 << 16
            out.writestr(entry, content)
    return archive


def unpack(archive: Path, folder: Path) -> Path:
    """Unpack a submission's archive into a folder; return the bundle's folder in it."""
    with zipfile.ZipFile(archive) as file:
        file.extractall(folder)
    return folder / NAME
