"""Unpack zips of images into a temporary folder, which is locked while it is in use and always removed afterwards.

::

    scan.zip  --check every member--> RESULTS/.part_zip_1f2e/scan/...  --translate--> removed

Names, kinds and sizes of all members are checked before the first byte is written. The claims of an archive are not
trusted: an unpacked file must have the size and the checksum that were claimed.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import stat
import struct
import weakref
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from bundle.images.claims import UNPACKED
from bundle.images.image import ImageError
from bundle.runtime import first, free_memory, of_first
from bundle.runtime.files import PART, NotWrittenError, check_space, remove_abandoned, telling_space, temporary_folder
from bundle.runtime.origins import add_origin

#: The suffix of an archive.
SUFFIX = ".zip"
#: Second part of the prefix of the temporary folders, after `PART`.
KIND = "zip_"
#: A complete name of such a folder; the scratch folder of an image, with its longer hash, never matches.
HOLDER = re.compile(rf"{re.escape(PART + KIND)}[0-9a-f]{{8}}")
#: Folder that macOS adds to an archive.
MACOS = "__MACOSX"
#: Most bytes of memory per byte of an archive's list of members, measured.
LISTED = 16
#: Bytes that are unpacked at once.
BLOCK = 2**20
#: Signatures of the end record of an archive, and of a large (Zip64) one.
END, END_64 = b"PK\5\6", b"PK\6\6"
#: Characters that no name may contain: systems interpret them differently.
CONTROL = frozenset(map(chr, [*range(32), 127]))
#: A path with a Windows drive; on Windows, a colon anywhere is refused.
DRIVE = re.compile(r".*:" if os.name == "nt" else r"[A-Za-z]:(/|$)")
#: Remedy for a refused archive, for error messages.
WAY_OUT = "unpack it yourself, look at what is in it, and give the folder"


class Unpacked:
    """An archive unpacked into a temporary folder, which is removed on close, at the latest when the process ends.

    Args:
        archive: a zip.
        into: a folder on a disk with enough space; created if missing. Archives that killed processes have left there
            are removed.

    Raises:
        ImageError: If a member is encrypted, has an unsafe or duplicate name or is not a regular file; if the claimed
            sizes cannot fit into an archive of its length; or if it is damaged.
        NotWrittenError: If there is not enough disk space.
    """

    def __init__(self, archive: Path, into: Path) -> None:
        self.archive, self.passed = archive, list[str]()
        stack = ExitStack()
        self.close = weakref.finalize(self, stack.close)
        place, refused = "", ""
        try:
            place = str(self._unpack(into, stack)) if first() else ""
        except ImageError as error:
            refused = str(error)
        except BaseException:
            self.close()
            raise
        place, refused = of_first((place, refused))  # also on error: the other processes wait for it
        if refused:
            self.close()
            raise ImageError(refused)
        self.folder = Path(place)
        add_origin(self.folder, archive)

    def _unpack(self, into: Path, stack: ExitStack) -> Path:
        """Unpack all members and return their folder, which is named after the archive."""
        into = into.absolute()
        with _damage_told(self.archive), self.archive.open("rb") as file:
            _check_list(self.archive, file)
            with zipfile.ZipFile(file) as opened:
                members = checked(self.archive, opened.infolist())
                remove_abandoned(into, lambda folder: not HOLDER.fullmatch(folder.name))
                holder = stack.enter_context(temporary_folder(into, KIND))
                stem = self.archive.name[: -len(SUFFIX)]
                top = holder / (stem if stem.strip(". ") else "archive")
                top.mkdir()
                add_origin(top, self.archive)
                check_space(top, sum(member.file_size for member, _ in members))
                beside = {name for _, name in members if MACOS in name.parts or name.name.startswith("._")}
                if beside:
                    self.passed.append(f"{self.archive}, {len(beside)} files in it that macOS wrote beside others")
                for member, name in members:
                    if name in beside:
                        continue
                    if name.name.lower().endswith(SUFFIX):
                        self.passed.append(f"{self.archive / name}, a zip within a zip; unpack it and give it itself")
                    else:
                        _write(opened, member, top / name)
        return top


def checked(archive: Path, members: Sequence[zipfile.ZipInfo]) -> list[tuple[zipfile.ZipInfo, PurePosixPath]]:
    """Return the files of an archive and their paths; folders are left out.

    Raises:
        ImageError: If a member is refused.
    """
    found: dict[PurePosixPath, zipfile.ZipInfo] = {}
    for member in members:
        name, kind = member.filename.replace("\\", "/"), stat.S_IFMT(member.external_attr >> 16)
        folder, parts = name.endswith("/") or kind == stat.S_IFDIR, name.rstrip("/").split("/")
        if member.flag_bits & 1:
            raise _refusal(archive, name, "is encrypted", "unpack it with its password, and give the folder")
        if not all(parts) or ".." in parts or CONTROL & set(name) or DRIVE.match(name):
            raise _refusal(archive, name, "has no plain relative name: it may lead out of the folder", WAY_OUT)
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise _refusal(archive, name, "is a link or a device, and no plain file", WAY_OUT)
        place = PurePosixPath(name)
        if folder:
            continue
        if place in found:
            raise _refusal(archive, name, "is there twice", WAY_OUT)
        found[place] = member
    for place in found:
        if not found.keys().isdisjoint(place.parents):
            raise _refusal(archive, str(place), "lies in a member that is a file", WAY_OUT)
    _check_sizes(archive, list(found.values()))
    return [(member, place) for place, member in found.items()]


def _check_sizes(archive: Path, members: Sequence[zipfile.ZipInfo]) -> None:
    """Refuse more bytes than an archive of this length can hold: zip bombs, or members that share bytes."""
    size, packed = archive.stat().st_size, sum(member.compress_size for member in members)
    unpacked = sum(member.file_size for member in members)
    if packed > size or unpacked > UNPACKED * size:
        raise ImageError(
            f"zip {str(archive)!r} of {size} bytes claims to hold {packed} packed bytes, {unpacked} unpacked, at most "
            f"{size} and {UNPACKED * size} fit in; do not trust it, or fetch it again."
        )


def _check_list(archive: Path, file: BinaryIO) -> None:
    """Refuse an archive whose list of members, which is read whole, takes more memory than is free.

    ::

        members | list | [Zip64 end] | end, comment      length of the list: at byte 12 of the end, 40 of the Zip64 end
    """
    size = file.seek(0, 2)
    file.seek(max(size - 2**16 - 2**10, 0))
    tail = file.read()
    at, at_64 = tail.rfind(END), tail.rfind(END_64)
    length = struct.unpack_from("<L", tail, at + 12)[0] if 0 <= at <= len(tail) - 22 else 0
    if 0 <= at_64 <= len(tail) - 56:
        length = max(length, struct.unpack_from("<Q", tail, at_64 + 40)[0])
    needed, free = LISTED * min(length, size), free_memory()
    if needed > free:
        raise ImageError(
            f"zip {str(archive)!r} has a list of members of {length} bytes, which takes {needed / 2**30:.1f} GiB of "
            f"memory, and {free / 2**30:.1f} GiB are free; {WAY_OUT}."
        )


def _write(opened: zipfile.ZipFile, member: zipfile.ZipInfo, path: Path) -> None:
    """Unpack a member to a new file.

    Raises:
        BadZipFile: If its size or checksum is not the claimed one.
    """
    with telling_space(path, member.file_size):
        path.parent.mkdir(parents=True, exist_ok=True)
        with opened.open(member) as source, path.open("xb") as file:
            shutil.copyfileobj(source, file, BLOCK)
    if path.stat().st_size != member.file_size:
        raise zipfile.BadZipFile(f"member {member.filename!r} is cut short")


@contextmanager
def _damage_told(archive: Path) -> Iterator[None]:
    """Turn any error in reading an archive into one line that names it."""
    try:
        yield
    except (ImageError, NotWrittenError):
        raise
    except OSError as error:
        if error.errno in (errno.EEXIST, errno.ENAMETOOLONG):
            way_out = "has names that this system takes for one, or that are too long for it"
            raise ImageError(f"zip {str(archive)!r} {way_out} ({error}); {WAY_OUT}.") from error
        if error.errno not in (None, errno.EINVAL):
            raise
        raise _damaged(archive, error) from error
    except NotImplementedError as error:
        raise ImageError(
            f"zip {str(archive)!r} is packed in a way that is not read here ({error}); unpack it, and give the folder."
        ) from error
    except Exception as error:  # zipfile and the decoders raise many kinds
        raise _damaged(archive, error) from error


def _damaged(archive: Path, error: Exception) -> ImageError:
    said = " ".join(str(error).split()) or type(error).__name__
    return ImageError(f"zip {str(archive)!r} is damaged, cut short, or no zip ({said[:120]}); fetch it again.")


def _refusal(archive: Path, name: str, rule: str, way_out: str) -> ImageError:
    return ImageError(f"zip {str(archive)!r}: its member {name[:120]!a} {rule}; {way_out}.")
