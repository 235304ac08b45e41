"""Check headers that name other files: a MetaImage or NRRD may keep its voxels in separate files within its folder.

========================  ==========================================================================================
MetaImage                 ``ElementDataFile = LOCAL | NAME | LIST [k] + lines | PATTERN MIN MAX STEP``
NRRD                      ``data file: NAME | LIST [k] + lines | PATTERN MIN MAX STEP [k]``, or none
========================  ==========================================================================================

ITK follows such a name wherever it leads. So this module parses the header first, and more strictly than ITK: whatever
ITK could interpret in two ways is refused. Zarr is checked in `bundle.images.ome_zarr`; the other formats do not name
other files.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

#: Maximum length of a header in bytes, including its list of files.
LIMIT = 2**20
#: Maximum number of files that a pattern may name.
MOST_FILES = 2**16
#: White space within a line.
BLANK = " \t\r"
#: ITK's spellings of "in this file".
LOCAL = ("LOCAL", "Local", "local")
#: Suffixes that ITK tries for a file that it does not find.
COMPRESSED = ("", ".gz", ".Z")
#: How many numbers a field of a MetaImage holds: a fixed count, one per axis ("n"), or a square matrix ("nn").
NUMBERS: dict[str, int | str] = {
    **dict.fromkeys(("NDims", "ID", "ParentID", "CompressedDataSize", "CompressionLevel", "HeaderSize"), 1),
    **dict.fromkeys(("ElementMin", "ElementMax", "ElementNumberOfChannels", "ElementNBits"), 1),
    **dict.fromkeys(("ElementToIntensityFunctionSlope", "ElementToIntensityFunctionOffset"), 1),
    "Color": 4,
    **dict.fromkeys(("DimSize", "Position", "Origin", "Offset", "CenterOfRotation", "ElementSpacing"), "n"),
    **dict.fromkeys(("ImagePosition", "SequenceID", "ElementSize"), "n"),
    **dict.fromkeys(("TransformMatrix", "Rotation", "Orientation"), "nn"),
}


def check_references(path: str | Path) -> list[Path]:
    """Return the files that an image's header names, and refuse any outside its folder; reads the header only.

    Args:
        path: image file of any format.

    Raises:
        FileNotFoundError: If a file that the header names does not exist.
        ValueError: If the header names a file by an absolute path, through ``..``, or by a symbolic link that leads out
            of the header's folder, or if the header is ambiguous.
    """
    path = Path(path)
    name = path.name.lower()
    if name.endswith((".mha", ".mhd")):
        return _check_meta_image(path)
    return _check_nrrd(path) if name.endswith(".nrrd") else []


def references(path: str | Path) -> list[Path]:
    """Return the files that an image's header names; none if it is refused, which opening the image reports."""
    with suppress(OSError, ValueError):
        return check_references(path)
    return []


def _check_meta_image(path: Path) -> list[Path]:
    key, text = "ElementDataFile", _text(path)
    numbers: dict[str, list[float]] = {}
    for line, end in _lines(text, r"\n"):
        if not line.strip(BLANK):
            continue
        found = re.fullmatch(r"[ \t]*([^=: \t][^=:]*?)[ \t]*[=:]([^\r]*)\r?", line)
        if not found or _has_control(line.rstrip("\r")):
            raise _refusal(path, "header line", line, "is not written 'Key = value'", "rewrite the file")
        name, value = found[1], found[2].strip(BLANK)
        if name == key:
            return _check_meta_image_data(path, value, text, end, [int(side) for side in numbers.get("DimSize", [])])
        if re.sub(r"[ \t_-]", "", name).lower() == key.lower():
            raise _refusal(path, "header line", line, f"is not spelled '{key} = value'", "correct the header")
        if name in NUMBERS:
            if name in numbers:
                raise _refusal(path, name, value, "is given twice", "correct the header")
            numbers[name] = _numbers(path, name, value, int(numbers.get("NDims", [0])[0]))
    if len(text) > LIMIT:
        raise _refusal(path, "header", text[:20], f"has no {key} in its first {LIMIT} bytes", "rewrite the file")
    return []


def _numbers(path: Path, name: str, value: str, dims: int) -> list[float]:
    """Return the numbers of a field and check their count: ITK would look for a missing one on the next line."""
    kind = NUMBERS[name]
    count = kind if isinstance(kind, int) else dims ** len(kind)
    words = re.split(f"[{BLANK}]+", value)
    plain = [word for word in words if re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,2})?", word)]
    if len(words) != count or len(plain) != count or not 0 <= dims <= 10:
        raise _refusal(path, name, value, f"has to be {count} numbers, after NDims", "correct the header")
    return [float(word) for word in words]


def _check_meta_image_data(path: Path, value: str, text: str, end: int, shape: Sequence[int]) -> list[Path]:
    """Check an ``ElementDataFile`` and what follows it; return the files that it names."""
    key = "ElementDataFile"
    if value in LOCAL:
        if key in text[end:]:
            raise _refusal(path, key, value, "is given twice", "keep one")
        return []
    listed = re.fullmatch(r"LIST(?:[ \t]+(\d)D?)?", value)
    if value.startswith("LIST") and not listed:
        raise _refusal(path, key, value, "has to be 'LIST' or 'LIST k' for files of k axes", "correct the header")
    if listed and not text.endswith("\n"):  # ITK would make up voxels
        raise _refusal(path, key, value, "is followed by a last line without a line break", "add one")
    if listed:
        names = _list(path, key, text, end)
    elif "%" in value:
        names = _pattern(path, key, value, (4,))
    else:
        if text[end:].strip(BLANK + "\n"):
            raise _refusal(path, key, value, "is followed by more lines", "keep it as the header's last line")
        return [_check_name(path, key, value, COMPRESSED)]
    axes = int(listed[1]) if listed and listed[1] else len(shape) - 1
    needed = math.prod(shape[axes:])
    if not 0 < axes < len(shape) or len(names) != needed:
        raise _refusal(
            path, key, value, f"names {len(names)} files for DimSize {list(shape)}", f"name {needed}, one each"
        )
    return [_check_name(path, key, name) for name in names]


def _check_nrrd(path: Path) -> list[Path]:
    text = _text(path)
    if not text.startswith("NRRD"):
        return []  # ITK refuses it
    names: list[str] | None = None
    for line, end in _lines(text, r"\r\n|\r|\n"):
        if not line:
            break
        if _has_control(line):
            raise _refusal(path, "header line", line, "holds control characters", "rewrite the file")
        if re.sub(r"[ \t_-]", "", line.partition(":")[0]).lower() != "datafile":
            continue
        found = re.fullmatch(r"(data ?file): ([^ \t](?:.*[^ \t])?)", line, re.IGNORECASE)
        if not found or names is not None:
            rule = "is not spelled 'data file: NAME'" if names is None else "is given twice"
            raise _refusal(path, "header line", line, rule, "correct the header")
        value = found[2]
        if value.startswith("LIST") and not re.fullmatch(r"LIST(?: \d)?", value):
            raise _refusal(path, found[1], value, "has to be 'LIST' or 'LIST k' for files of k axes", "correct it")
        if value.startswith("LIST"):
            names = _list(path, found[1], text, end)
            break
        names = _pattern(path, found[1], value, (4, 5)) if "%" in value else [value]
    else:
        if len(text) > LIMIT:
            raise _refusal(path, "header", text[:20], f"does not end in its first {LIMIT} bytes", "rewrite the file")
    return [_check_name(path, "data file", name) for name in names or ()]


def _text(path: Path) -> str:
    """Return the start of a file as text, one byte more than a header may have."""
    with path.open("rb") as file:
        return file.read(LIMIT + 1).decode("latin-1")


def _lines(text: str, ends: str) -> Iterator[tuple[str, int]]:
    """Yield each line of a text, and the index at which the next line starts."""
    start = 0
    for found in re.finditer(f"{ends}|$", text):
        if start < len(text):
            yield text[start : found.start()], found.end()
        start = found.end()


def _list(path: Path, key: str, text: str, end: int) -> list[str]:
    """Return the file names below a ``LIST``."""
    if len(text) > LIMIT:
        raise _refusal(path, key, "LIST", f"is longer than {LIMIT} bytes", "keep the voxels in one file")
    return text[end:].rstrip("\r\n").replace("\r\n", "\n").split("\n")


def _pattern(path: Path, key: str, value: str, words: Sequence[int]) -> list[str]:
    """Return the file names that a pattern and its range of numbers stand for."""
    parts = re.split(f"[{BLANK}]+", value)
    plain = re.fullmatch(r"[^%]*%(0?[1-9])?d[^%]*", parts[0])
    whole = [re.fullmatch(r"\d{1,9}", part) for part in parts[1:]]
    if not plain or not all(whole) or len(parts) not in words or int(parts[3]) < 1:
        raise _refusal(path, key, value, "has to be a name with one '%d' or '%03d', then MIN MAX STEP", "correct it")
    numbers = range(int(parts[1]), int(parts[2]) + 1, int(parts[3]))
    if not 0 < len(numbers) <= MOST_FILES:
        raise _refusal(path, key, value, f"stands for {len(numbers)} files, not 1 to {MOST_FILES}", "correct it")
    return [parts[0] % number for number in numbers]


def _check_name(path: Path, key: str, name: str, ends: Sequence[str] = ("",)) -> Path:
    """Return the file of a name; refuse one outside the header's folder, or one that programs may read differently."""
    way_out = "copy the file into the folder of the header and name it there"
    if not name or name != name.strip(BLANK) or re.search("  |\t", name) or _has_control(name):
        raise _refusal(path, key, name, "is not a plain file name", "rename the file")
    if name[0] in "/~-" or name[1:2] == ":":
        raise _refusal(path, key, name, "is an absolute path, or not a file's name", way_out)
    if "\\" in name or ".." in name.split("/"):
        raise _refusal(path, key, name, "leads out of its folder by '..', or has a backslash", way_out)
    folder = path.parent.resolve()
    files = [folder / (os.fsdecode(name.encode("latin-1")) + end) for end in ends]
    for file in files:
        try:
            inside = file.resolve().is_relative_to(folder)
        except (OSError, RuntimeError):  # a link to itself
            inside = False
        if not inside:
            raise _refusal(path, key, name, "is a symbolic link that leads out of its folder", way_out)
    for file in files:
        if file.is_file():
            return file
    raise FileNotFoundError(f"image {str(path)!r}: its {key} names {name!r}, which is not a file; put it there.")


def _has_control(text: str) -> bool:
    """Return whether a text contains control characters other than tabs."""
    return re.search(r"[\x00-\x08\x0a-\x1f\x7f]", text) is not None


def _refusal(path: Path, key: str, value: str, rule: str, way_out: str) -> ValueError:
    """Return the error for a header: file, key, value, violated rule and remedy."""
    shown = value if len(value) <= 120 else value[:120] + "..."
    return ValueError(
        f"image {str(path)!r}: its {key} {shown!r} {rule}. Only files in the folder of the header or below are read; "
        f"{way_out}."
    )
