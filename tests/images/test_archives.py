"""Zips are unpacked safely or refused in one line, and nothing of them stays."""

import io
import os
import stat
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest

from bundle.images import ImageError, archives
from bundle.images.archives import Unpacked
from bundle.runtime import fingerprint
from bundle.runtime.files import NotWrittenError
from bundle.runtime.job import place_of
from bundle.runtime.origins import archive_of, in_words, origin_of
from tests.processes import ran


def write(path, members, method=zipfile.ZIP_DEFLATED):
    """A zip of members: names, or what describes them, and their content."""
    with zipfile.ZipFile(path, "w", method) as file:
        for name, content in members:
            file.writestr(name, content)
    return path


def special(name, kind, content="/etc/passwd"):
    """A member of another kind than a file."""
    member = zipfile.ZipInfo(name)
    member.create_system, member.external_attr = 3, (kind | 0o777) << 16
    return member, content


def refused(path, into, match, error=ImageError):
    """The archive is refused in one line, and nothing of it is left."""
    with pytest.raises(error, match=match) as raised:
        Unpacked(path, into)
    assert "\n" not in str(raised.value)
    assert not into.exists() or not list(into.iterdir())


def test_what_is_in_it_lies_in_a_folder_of_its_name_until_it_is_closed(tmp_path):
    members = [
        ("a/b/one.bin", bytes(range(256)) * 9),
        ("two ü.txt", b""),
        ("a/", b""),
        ("win\\x.bin", b"1"),
        ("./y", b"2"),
    ]
    unpacked = Unpacked(write(tmp_path / "scan.zip", members), tmp_path / "out")
    top = unpacked.folder
    assert top.name == "scan" and top.is_relative_to(tmp_path / "out")
    assert (top / "a" / "b" / "one.bin").read_bytes() == members[0][1] and (top / "two ü.txt").read_bytes() == b""
    assert (top / "win" / "x.bin").read_bytes() == b"1" and (top / "y").read_bytes() == b"2"
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [top.parent.name, f"{top.parent.name}.lock"]
    assert stat.S_IMODE(top.parent.stat().st_mode) == 0o700
    unpacked.close()
    unpacked.close()
    assert not list((tmp_path / "out").iterdir()) and (tmp_path / "scan.zip").exists()


@pytest.mark.skipif(os.name == "nt", reason="no name there may have a colon")
def test_a_colon_in_a_name_is_a_plain_letter(tmp_path):
    unpacked = Unpacked(write(tmp_path / "s.zip", [("scan 10:30/a:b", b"1")]), tmp_path / "out")
    assert (unpacked.folder / "scan 10:30" / "a:b").read_bytes() == b"1"


def test_folders_are_known_by_their_slash_or_their_kind(tmp_path):
    """Of which archives of Windows have the slash alone."""
    slash = zipfile.ZipInfo("one/")
    slash.create_system, slash.external_attr = 0, 0
    members = [(slash, b""), special("two", stat.S_IFDIR, b""), ("one/a", b"1"), ("two/b", b"2")]
    unpacked = Unpacked(write(tmp_path / "s.zip", members), tmp_path / "out")
    assert (unpacked.folder / "one" / "a").read_bytes() + (unpacked.folder / "two" / "b").read_bytes() == b"12"


def test_an_archive_of_more_members_than_16_bits_count_is_unpacked(tmp_path, monkeypatch):
    """It ends in a Zip64 record."""
    monkeypatch.setattr(zipfile, "ZIP_FILECOUNT_LIMIT", 1)
    path = write(tmp_path / "s.zip", [("a", b"1"), ("b", b"2")])
    assert b"PK\6\6" in path.read_bytes()
    unpacked = Unpacked(path, tmp_path / "out")
    assert sorted(file.name for file in unpacked.folder.iterdir()) == ["a", "b"]


def test_its_files_are_known_by_their_place_in_it(tmp_path):
    """Wherever it was unpacked; another archive, or one that has changed, is another."""
    path = write(tmp_path / "scan.zip", [("a/x", b"1"), ("y", b"2")])
    one, two = Unpacked(path, tmp_path / "1"), Unpacked(path, tmp_path / "2")
    assert one.folder != two.folder
    for name in ("a/x", "a", "y", "."):
        assert place_of(one.folder / name) == place_of(two.folder / name) == place_of(path / name)
        assert fingerprint(one.folder / name) == fingerprint(two.folder / name)
        assert origin_of(one.folder / name) == path / name and archive_of(one.folder / name) == path
    assert fingerprint(one.folder / "y") != fingerprint(one.folder / "a" / "x")
    assert archive_of(tmp_path / "scan") is None and origin_of(tmp_path / "scan") == tmp_path / "scan"
    assert in_words(f"file '{one.folder}/a/x' is bad") == f"file '{path}/a/x' is bad"
    before = fingerprint(one.folder / "y")
    os.utime(path, (1, 1))
    assert fingerprint(one.folder / "y") != before


@pytest.mark.parametrize(
    ("name", "match"),
    [
        ("../x", "no plain relative name"),
        ("a/../../x", "no plain relative name"),
        ("/etc/x", "no plain relative name"),
        ("..\\x", "no plain relative name"),
        ("\\\\host\\x", "no plain relative name"),
        ("C:\\x", "no plain relative name"),
        ("a/\nb", "no plain relative name"),
        ("a" * 300, "too long"),
    ],
)
def test_names_that_lead_elsewhere_are_refused(tmp_path, name, match):
    path = write(tmp_path / "s.zip", [("good", b"1"), (name, b"2")])
    refused(path, tmp_path / "out", match)
    assert sorted(entry.name for entry in tmp_path.iterdir()) in (["out", "s.zip"], ["s.zip"])


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR, stat.S_IFSOCK])
def test_links_and_devices_are_refused(tmp_path, kind):
    refused(write(tmp_path / "s.zip", [special("a", kind)]), tmp_path / "out", "'a' is a link or a device")


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize(
    ("members", "match"),
    [
        ([("a", b"1"), ("a", b"2")], "'a' is there twice"),
        ([("x/a", b"1"), ("x\\a", b"2")], "'x/a' is there twice"),
        ([("a", b"1"), ("a/b", b"2")], "'a/b' lies in a member that is a file"),
    ],
)
def test_names_of_two_members_are_refused(tmp_path, members, match):
    refused(write(tmp_path / "s.zip", members), tmp_path / "out", match)


def patched(path, offset, form, value, signature=b"PK\1\2"):
    """Change a field of the last record of a kind, by default the list's; or of a member's own record."""
    data = bytearray(path.read_bytes())
    struct.pack_into(form, data, data.rindex(signature) + offset, value)
    path.write_bytes(data)
    return path


def test_encrypted_ones_are_refused(tmp_path):
    path = patched(write(tmp_path / "s.zip", [("a", b"1" * 99)]), 8, "<H", 1)
    refused(path, tmp_path / "out", r"'a' is encrypted; unpack it with its password")


def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "_write", None)
    path = patched(write(tmp_path / "s.zip", [("a", bytes(10**6))]), 24, "<L", 2**31)
    refused(path, tmp_path / "out", r"claims to hold \d+ packed bytes, 2147483648 unpacked, at most")


def test_members_that_share_bytes_are_refused(tmp_path):
    """Which make a small archive large: the list names one member many times."""
    path = write(tmp_path / "s.zip", [("a", os.urandom(5000))])
    data = path.read_bytes()
    at = data.rindex(b"PK\1\2")
    end = data.rindex(b"PK\5\6")
    listed = b"".join(data[at : at + 46] + bytes([letter]) for letter in b"abcdefgh")
    tail = bytearray(data[end:])
    struct.pack_into("<HHL", tail, 8, 8, 8, len(listed))
    path.write_bytes(data[:at] + listed + bytes(tail))
    assert len(zipfile.ZipFile(path).infolist()) == 8
    refused(path, tmp_path / "out", r"claims to hold 400\d\d packed bytes")


def test_what_the_disk_has_no_room_for_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("bundle.runtime.files.free_space", lambda _: 100)
    path = write(tmp_path / "s.zip", [("a", bytes(101))])
    refused(path, tmp_path / "out", "disk full: .* needs at least 101 bytes, and 100 bytes are free", NotWrittenError)


def test_a_disk_that_fills_up_is_told(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("shutil.copyfileobj", full)
    refused(write(tmp_path / "s.zip", [("a", bytes(9))]), tmp_path / "out", "disk full", NotWrittenError)


def test_a_list_that_memory_does_not_hold_is_refused(tmp_path, monkeypatch):
    """Before it is read."""
    path = write(tmp_path / "s.zip", [(f"{number:05d}", b"") for number in range(999)])
    monkeypatch.setattr(archives, "free_memory", lambda: 2**19)
    monkeypatch.setattr(zipfile, "ZipFile", None)
    refused(path, tmp_path / "out", rf"has a list of members of {999 * (46 + 5)} bytes")


def test_a_list_takes_no_more_memory_than_is_thought():
    import tracemalloc

    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as opened:
        for number in range(4000):
            opened.writestr(str(number), b"")
    length = len(file.getvalue()) - file.getvalue().index(b"PK\1\2")
    tracemalloc.start()
    try:
        with zipfile.ZipFile(file) as opened:
            assert len(opened.infolist()) == 4000
            peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < archives.LISTED * length


@pytest.mark.parametrize("kind", ["cut", "empty", "text", "byte", "claims more", "claims less", "unknown method"])
def test_a_damaged_one_is_refused(tmp_path, kind):
    path = write(tmp_path / "s.zip", [("a", np.random.default_rng(0).bytes(9999)), ("b", b"1" * 5000)])
    data = path.read_bytes()
    if kind == "cut":
        path.write_bytes(data[:-200])
    elif kind in ("empty", "text"):
        path.write_bytes(b"" if kind == "empty" else b"no zip at all" * 99)
    elif kind == "byte":
        path.write_bytes(data[:5000] + bytes([data[5000] ^ 1]) + data[5001:])
    elif kind == "unknown method":
        patched(patched(path, 10, "<H", 9), 8, "<H", 9, b"PK\3\4")
    else:
        patched(path, 24, "<L", 5001 if kind == "claims more" else 4999)
    match = (
        "not read here" if kind == "unknown method" else r"s\.zip' is damaged, cut short, or no zip \(.*fetch it again"
    )
    refused(path, tmp_path / "out", match)


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_whatever_is_changed_it_is_right_or_refused(tmp_path, method, monkeypatch):
    """One to four bytes anywhere: what is unpacked has its content, and all lies in its folder."""
    monkeypatch.setattr("bundle.runtime.system.PAUSES", ())  # in which the threads of other libraries may still write
    random = np.random.default_rng(method)
    contents = {"a/x": random.bytes(300), "b": b"1" * 3000, "c": b""}
    whole = write(tmp_path / "s.zip", contents.items(), method).read_bytes()
    unpacked = refusals = 0
    for _ in range(300):
        data = bytearray(whole)
        for at in random.integers(0, len(data), random.integers(1, 5)):
            data[at] = random.integers(0, 256)
        (tmp_path / "s.zip").write_bytes(bytes(data))
        try:
            archive = Unpacked(tmp_path / "s.zip", tmp_path / "out")
        except ImageError as error:
            assert "\n" not in str(error) and "s.zip" in str(error)
            refusals += 1
        else:
            files = [path for path in archive.folder.rglob("*") if path.is_file()]
            assert all(path.read_bytes() in contents.values() for path in files)
            archive.close()
            unpacked += 1
        assert not list((tmp_path / "out").glob("*")) and {e.name for e in tmp_path.iterdir()} <= {"s.zip", "out"}
    assert unpacked > 5 and refusals > 50


def test_what_macos_adds_and_zips_within_are_passed_over(tmp_path):
    members = [("a", b"1"), ("__MACOSX/._a", b"2"), ("x/._b", b"3"), ("x/in.zip", b"4")]
    unpacked = Unpacked(write(tmp_path / "s.zip", members), tmp_path / "out")
    assert [path.name for path in unpacked.folder.rglob("*")] == ["a"]
    assert unpacked.passed == [
        f"{tmp_path / 's.zip'}, 2 files in it that macOS wrote beside others",
        f"{tmp_path / 's.zip'}/x/in.zip, a zip within a zip; unpack it and give it itself",
    ]


KILLED = """
import os, sys
from pathlib import Path
from bundle.images.archives import Unpacked
unpacked = Unpacked(Path(sys.argv[1]), Path(sys.argv[2]))
print(unpacked.folder, flush=True)
if sys.argv[3] == "killed":
    os._exit(9)
if sys.argv[3] == "fails":
    raise ValueError("something else")
"""


@pytest.mark.parametrize("how", ["ends", "fails", "killed"])
def test_nothing_stays_of_a_process_that_ends(tmp_path, how):
    """One that is killed leaves it to the next one, which does not touch what is in use."""
    path, out = write(tmp_path / "s.zip", [("a", b"1")]), tmp_path / "out"
    used = Unpacked(path, out)
    ended = ran("-c", KILLED, str(path), str(out), how)
    assert ended.returncode == {"ends": 0, "fails": 1, "killed": 9}[how], ended.stderr
    left = Path(ended.stdout.strip())
    assert left.exists() == (how == "killed")
    others = [out / ".part_scan_0123", out / ".part_zip_0123456789ab"]  # scratch that may still resume
    for other in others:
        other.mkdir()
    again = Unpacked(path, out)
    assert not left.parent.exists() and used.folder.exists()
    used.close()
    again.close()
    assert sorted(out.iterdir()) == others
