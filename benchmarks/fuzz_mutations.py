"""Damage to files: of any bytes, and of what a format's header holds, so that more than its magic word is reached.

All of it follows from a `random.Random`: the same state gives the same damage.
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

#: What numbers of text are replaced by.
NUMBERS = (
    *("-1", "0", "1", "2", "7", "255", "32767", "32768", "65535", "65536", "2147483647", "2147483648", "4294967296"),
    *("-2147483648", "99999999999999999999", "1e308", "-1e308", "1e-308", "1e400", "nan", "inf", "-0", "", "x", "0.5"),
)
#: What values of JSON are replaced by.
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
#: Names of a file that lies outside of the input's folder.
OUTSIDE = ("../outside/scan.raw", "../outside", "..", "/etc/hostname", "~/x", "./scan.raw/../../outside/scan.raw")
#: A PNG's first bytes.
PNG = b"\x89PNG\r\n\x1a\n"
#: Bytes that are taken for a header.
HEADER = 600

Damage = Callable[[bytes, Random], bytes]


def place(data: bytes, random: Random) -> int:
    """A place in a file: as often in its first bytes as in all of it."""
    return random.randrange(min(len(data), HEADER) if random.random() < 0.5 else len(data)) if data else 0


def span(data: bytes, random: Random) -> tuple[int, int]:
    """Start and stop of a piece of a file, short more often than long."""
    start = place(data, random)
    return start, min(start + int(2 ** random.uniform(0, 9)), len(data))


def flipped(data: bytes, random: Random) -> bytes:
    """Some bits are flipped."""
    changed = bytearray(data)
    for _ in range(random.choice((1, 1, 2, 8))):
        if changed:
            changed[place(data, random)] ^= 1 << random.randrange(8)
    return bytes(changed)


def overwritten(data: bytes, random: Random) -> bytes:
    """A piece holds one value, or noise."""
    start, stop = span(data, random)
    if random.random() < 0.5:
        stop = min(start + random.choice((1, 2, 4, 8)), len(data))
    noise = bytes(random.randrange(256) for _ in range(stop - start))
    return data[:start] + random.choice((bytes(stop - start), b"\xff" * (stop - start), noise)) + data[stop:]


def cut(data: bytes, random: Random) -> bytes:
    """A piece is missing."""
    start, stop = span(data, random)
    return data[:start] + data[stop:]


def doubled(data: bytes, random: Random) -> bytes:
    """A piece comes twice."""
    start, stop = span(data, random)
    return data[:stop] + data[start:]


def swapped(data: bytes, random: Random) -> bytes:
    """Two pieces have changed places."""
    (a, b), (c, d) = sorted((span(data, random), span(data, random)))
    return data if c < b else data[:a] + data[c:d] + data[b:c] + data[a:b] + data[d:]


def truncated(data: bytes, random: Random) -> bytes:
    """The end is missing."""
    return data[: random.randrange(len(data)) if random.random() < 0.7 else max(len(data) - 9, 0)] if data else data


def renumbered(data: bytes, random: Random) -> bytes:
    """A number of a text header is another one, or a file's name leads out of the folder."""
    head = data[:2000]
    found = list(re.finditer(rb"(?<![\w.])-?\d+\.?\d*|(?<=DataFile = )\S+|(?<=data file: )\S+", head))
    if not found:
        return flipped(data, random)
    chosen = random.choice(found)
    names = OUTSIDE if random.random() < 0.2 or not chosen[0][:1].strip(b"-").isdigit() else NUMBERS
    return data[: chosen.start()] + random.choice(names).encode() + data[chosen.end() :]


def relined(data: bytes, random: Random) -> bytes:
    """A line of a text header is missing, comes twice, or has lost its value."""
    head, lines = data[:2000], data.split(b"\n")
    count = max(head.count(b"\n"), 1)
    at = random.randrange(min(count, len(lines)))
    line = lines[at]
    lines[at : at + 1] = random.choice(([], [line, line], [re.split(rb"[=:]", line)[0]], [line + b" 1"], [b"", line]))
    return b"\n".join(lines)


def revalued(data: bytes, random: Random) -> bytes:
    """A value of JSON is another one, or is missing."""
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
    """An element of DICOM holds other bytes, as many or more, or is missing; bytes of no DICOM are flipped."""
    try:
        header = pydicom.dcmread(pydicom.filebase.DicomBytesIO(data), force=True, stop_before_pixels=True)
        raw: list[Any] = [*header.file_meta.values(), *header.values()]
        placed = [(e.value_tell, e.length) for e in raw if hasattr(e, "value_tell") and 0 < e.length < 2**16]
    except Exception:  # whatever pydicom makes of what has been damaged before
        placed = []
    placed = [(start, size) for start, size in placed if start + size <= len(data)]
    if not placed:
        return flipped(data, random)
    start, size = random.choice(placed)
    kind = random.randrange(4)
    if kind == 0:  # missing
        return data[: start - 8] + data[start + size :]
    text = random.choice((*NUMBERS, "\\".join("1" * 9), "1\\0\\0\\0\\1\\0", "0\\0\\0\\0\\0\\0", "\0" * 8)).encode()
    if kind == 1:  # of another length
        text += b" " * (len(text) % 2)
        return data[: start - 2] + struct.pack("<H", len(text)) + text + data[start + size :]
    if kind == 2:
        text = bytes(random.randrange(256) for _ in range(size))
    return data[:start] + (text + b" " * size)[:size] + data[start + size :]


def inside_gzip(data: bytes, random: Random) -> bytes:
    """What a gzip file holds is damaged, and packed again."""
    try:
        held = gzip.decompress(data)
    except (OSError, EOFError, zlib.error):
        return flipped(data, random)
    return gzip.compress(random.choice(ANYWHERE)(held, random), 1, mtime=0)


def behind_header(data: bytes, random: Random) -> bytes:
    """The gzip stream behind a NRRD's header holds what is damaged."""
    head, border, packed = data.partition(b"\n\n")
    return head + border + inside_gzip(packed, random)


def with_checksums(data: bytes, random: Random) -> bytes:
    """A chunk of a PNG is damaged, and its checksum is right."""
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


#: Damage that knows nothing of a format.
ANYWHERE: tuple[Damage, ...] = (flipped, overwritten, cut, doubled, swapped, truncated)
#: Damage that knows a format, by the end of a file's name.
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
    """The damage that knows the format of a file."""
    ends = [end for end in KNOWING if name.endswith(end)]
    return KNOWING[ends[0]] if ends else (retagged,) if is_dicom else ()


def mutate(folder: Path, random: Random) -> str:
    """Damage one file of a folder, and say what was done.

    Args:
        folder: of the files, which may lie in folders of their own.
        random: what draws.
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
