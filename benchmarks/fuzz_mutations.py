"""Damage files: any bytes, and the contents of a format's header, so that readers get past its magic number.

All damage is drawn from a `random.Random`: the same state gives the same damage.
"""

from __future__ import annotations

import gzip
import json
import re
import struct
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any

import pydicom

#: Replacements for numbers in text.
NUMBERS = (
    *("-1", "0", "1", "2", "7", "255", "32767", "32768", "65535", "65536", "2147483647", "2147483648", "4294967296"),
    *("-2147483648", "99999999999999999999", "1e308", "-1e308", "1e-308", "1e400", "nan", "inf", "-0", "", "x", "0.5"),
)
#: Replacements for values in JSON.
VALUES: tuple[Any, ...] = (
    None,
    -1,
    0,
    1,
    3,
    2**31,
    2**63,
    1e308,
    float("nan"),
    True,
    "",
    "x",
    "/",
    [],
    [0],
    {},
    {"x": 0},
    "int64",
)
#: Names of files outside the input's folder.
OUTSIDE = ("../outside/scan.raw", "../outside", "..", "/etc/hostname", "~/x", "./scan.raw/../../outside/scan.raw")
#: First bytes of a PNG.
PNG = b"\x89PNG\r\n\x1a\n"
#: Number of bytes that count as a header.
HEADER = 600

Damage = Callable[[bytes, Random], bytes]


def place(data: bytes, random: Random) -> int:
    """Draw a position in a file: with equal probability in its first bytes or anywhere."""
    return random.randrange(min(len(data), HEADER) if random.random() < 0.5 else len(data)) if data else 0


def span(data: bytes, random: Random) -> tuple[int, int]:
    """Draw start and stop of a piece of a file, more often short than long."""
    start = place(data, random)
    return start, min(start + int(2 ** random.uniform(0, 9)), len(data))


def flipped(data: bytes, random: Random) -> bytes:
    """Flip some bits."""
    changed = bytearray(data)
    for _ in range(random.choice((1, 1, 2, 8))):
        if changed:
            changed[place(data, random)] ^= 1 << random.randrange(8)
    return bytes(changed)


def overwritten(data: bytes, random: Random) -> bytes:
    """Overwrite a piece with one value or noise."""
    start, stop = span(data, random)
    if random.random() < 0.5:
        stop = min(start + random.choice((1, 2, 4, 8)), len(data))
    noise = bytes(random.randrange(256) for _ in range(stop - start))
    return data[:start] + random.choice((bytes(stop - start), b"\xff" * (stop - start), noise)) + data[stop:]


def cut(data: bytes, random: Random) -> bytes:
    """Remove a piece."""
    start, stop = span(data, random)
    return data[:start] + data[stop:]


def doubled(data: bytes, random: Random) -> bytes:
    """Duplicate a piece."""
    start, stop = span(data, random)
    return data[:stop] + data[start:]


def swapped(data: bytes, random: Random) -> bytes:
    """Swap two pieces."""
    (a, b), (c, d) = sorted((span(data, random), span(data, random)))
    return data if c < b else data[:a] + data[c:d] + data[b:c] + data[a:b] + data[d:]


def truncated(data: bytes, random: Random) -> bytes:
    """Remove the end."""
    return data[: random.randrange(len(data)) if random.random() < 0.7 else max(len(data) - 9, 0)] if data else data


def renumbered(data: bytes, random: Random) -> bytes:
    """Replace a number in a text header, or a file name by one that leads out of the folder."""
    head = data[:2000]
    found = list(re.finditer(rb"(?<![\w.])-?\d+\.?\d*|(?<=DataFile = )\S+|(?<=data file: )\S+", head))
    if not found:
        return flipped(data, random)
    chosen = random.choice(found)
    names = OUTSIDE if random.random() < 0.2 or not chosen[0][:1].strip(b"-").isdigit() else NUMBERS
    return data[: chosen.start()] + random.choice(names).encode() + data[chosen.end() :]


def relined(data: bytes, random: Random) -> bytes:
    """Remove or duplicate a line of a text header, or remove its value."""
    head, lines = data[:2000], data.split(b"\n")
    count = max(head.count(b"\n"), 1)
    at = random.randrange(min(count, len(lines)))
    line = lines[at]
    lines[at : at + 1] = random.choice(([], [line, line], [re.split(rb"[=:]", line)[0]], [line + b" 1"], [b"", line]))
    return b"\n".join(lines)


def revalued(data: bytes, random: Random) -> bytes:
    """Replace or remove a value in JSON."""
    try:
        told = json.loads(data)
    except ValueError:
        return flipped(data, random)
    holders: list[tuple[Any, Any]] = []

    def walk(node: Any) -> None:
        for key, value in node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ():
            holders.append((node, key))
            walk(value)

    walk(told)
    if not holders:
        return b"{}"
    node, key = random.choice(holders)
    if random.random() < 0.2:
        del node[key]
    else:
        node[key] = random.choice(OUTSIDE if random.random() < 0.1 else VALUES)
    return json.dumps(told).encode()


def retagged(data: bytes, random: Random) -> bytes:
    """Overwrite, resize or remove an element of a DICOM file; flip bits in any other file."""
    try:
        header = pydicom.dcmread(pydicom.filebase.DicomBytesIO(data), force=True, stop_before_pixels=True)
        raw: list[Any] = [*header.file_meta.values(), *header.values()]
        placed = [(e.value_tell, e.length) for e in raw if hasattr(e, "value_tell") and 0 < e.length < 2**16]
    except Exception:  # pydicom may raise anything for files damaged before
        placed = []
    placed = [(start, size) for start, size in placed if start + size <= len(data)]
    if not placed:
        return flipped(data, random)
    start, size = random.choice(placed)
    kind = random.randrange(4)
    if kind == 0:  # remove
        return data[: start - 8] + data[start + size :]
    text = random.choice((*NUMBERS, "\\".join("1" * 9), "1\\0\\0\\0\\1\\0", "0\\0\\0\\0\\0\\0", "\0" * 8)).encode()
    if kind == 1:  # change the length
        text += b" " * (len(text) % 2)
        return data[: start - 2] + struct.pack("<H", len(text)) + text + data[start + size :]
    if kind == 2:
        text = bytes(random.randrange(256) for _ in range(size))
    return data[:start] + (text + b" " * size)[:size] + data[start + size :]


def inside_gzip(data: bytes, random: Random) -> bytes:
    """Damage the contents of a gzip file and compress them again."""
    try:
        held = gzip.decompress(data)
    except (OSError, EOFError, zlib.error):
        return flipped(data, random)
    return gzip.compress(random.choice(ANYWHERE)(held, random), 1, mtime=0)


def behind_header(data: bytes, random: Random) -> bytes:
    """Damage the contents of the gzip stream after a NRRD header."""
    head, border, packed = data.partition(b"\n\n")
    return head + border + inside_gzip(packed, random)


def with_checksums(data: bytes, random: Random) -> bytes:
    """Damage a chunk of a PNG and correct its checksum."""
    chunks, at = [], len(PNG)
    while at + 12 <= len(data):
        size = struct.unpack_from(">L", data, at)[0]
        chunks.append((data[at + 4 : at + 8], data[at + 8 : at + 8 + size]))
        at += 12 + size
    if not data.startswith(PNG) or not chunks:
        return flipped(data, random)
    chosen = random.randrange(len(chunks))
    kind, held = chunks[chosen]
    inner = held
    if kind == b"IDAT" and random.random() < 0.5:
        with suppress(zlib.error):
            inner = zlib.compress(random.choice(ANYWHERE)(zlib.decompress(held), random))
    held = random.choice(ANYWHERE)(held, random) if inner is held else inner
    chunks[chosen] = kind, held
    return PNG + b"".join(
        struct.pack(">L", len(part)) + name + part + struct.pack(">L", zlib.crc32(name + part)) for name, part in chunks
    )


#: Damage that is independent of the format.
ANYWHERE: tuple[Damage, ...] = (flipped, overwritten, cut, doubled, swapped, truncated)
#: Damage that is specific to a format, by file suffix.
KNOWING: dict[str, tuple[Damage, ...]] = {
    ".gz": (inside_gzip,),
    ".mgz": (inside_gzip,),
    ".mha": (renumbered, relined),
    ".mhd": (renumbered, relined),
    ".nrrd": (renumbered, relined, behind_header),
    ".png": (with_checksums,),
    ".json": (revalued,),
    ".zarray": (revalued,),
    ".zattrs": (revalued,),
    ".dcm": (retagged,),
}


def damages_of(name: str, is_dicom: bool) -> tuple[Damage, ...]:
    """Return the damage that is specific to a file's format."""
    ends = [end for end in KNOWING if name.endswith(end)]
    return KNOWING[ends[0]] if ends else (retagged,) if is_dicom else ()


def mutate(folder: Path, random: Random) -> str:
    """Damage one file of a folder, and return a description of the damage.

    Args:
        folder: folder of the files, which may be in subfolders.
        random: random number generator.
    """
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    headers = [path for path in files if path.name.endswith((".json", ".zarray", ".mhd"))]
    file = random.choice(headers if headers and random.random() < 0.7 else files)
    name = str(file.relative_to(folder))
    if len(files) > 1 and random.random() < 0.02:
        file.unlink()
        return f"{name}: removed"
    if len(files) > 1 and random.random() < 0.02:
        other = random.choice(files)
        other.write_bytes(file.read_bytes())
        return f"{name}: copied to {other.name}"
    data, done = file.read_bytes(), []
    knowing = damages_of(file.name, data[128:132] == b"DICM")
    for _ in range(random.choice((1, 1, 1, 2, 3))):
        damage = random.choice(knowing if knowing and random.random() < 0.6 else ANYWHERE)
        data = damage(data, random)
        done.append(damage.__name__)
    file.write_bytes(data)
    return f"{name}: {', '.join(done)}"
