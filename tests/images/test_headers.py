"""Headers name files in their own folder or below, or are refused before any byte of another file is read."""

import builtins
import io
import json
import os
import re
import sys

import itk
import numpy as np
import pytest
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.uid import MediaStorageDirectoryStorage

from apps.preview import read as read_preview
from bundle.images import Volume, create_image, files_of, find_images, held, open_image
from bundle.images.headers import check_references
from bundle.images.provenance import content_hash
from bundle.images.reader import ScanReader, load_image
from bundle.runtime import fingerprint
from bundle.training.data.packing import read as read_packed
from bundle.transforms import LoadImageOrSeriesd
from tests.dicom_series import dataset, hounsfield, write_series

SHAPE = (4, 3, 2)
VOXELS = np.arange(24, dtype="<i2").reshape(SHAPE, order="F")
META = """ObjectType = Image
NDims = 3
BinaryData = True
BinaryDataByteOrderMSB = False
TransformMatrix = 1 0 0 0 1 0 0 0 1
Offset = 0 0 0
ElementSpacing = 1 1 1
DimSize = 4 3 2
ElementType = MET_SHORT
"""
NRRD = "NRRD0004\ntype: short\ndimension: 3\nsizes: 4 3 2\nendian: little\nencoding: raw\n"
RAW = VOXELS.tobytes(order="F")
HALVES = RAW[:24], RAW[24:]


@pytest.fixture
def folder(tmp_path):
    """A folder of data files, a secret beside it, and links from one to the other."""
    here = tmp_path / "study"
    (here / "below").mkdir(parents=True)
    for name in ("voxels.raw", "below/voxels.raw", "two words.raw", "é.raw"):
        (here / name).write_bytes(RAW)
    for number, half in enumerate(HALVES):
        (here / f"part{number}.raw").write_bytes(half)
        (here / f"part{number:03d}.raw").write_bytes(half)
        (here / "below" / f"part{number}.raw").write_bytes(half)
    for name in ("secret.raw", "secret.raw.gz", "..\\secret.raw"):
        (tmp_path / name).write_bytes(RAW)
    (here / "..\\secret.raw").write_bytes(RAW)
    (here / "link.raw").symlink_to(tmp_path / "secret.raw")
    (here / "squeezed.raw.gz").symlink_to(tmp_path / "secret.raw.gz")
    (here / "out").symlink_to(tmp_path)
    (here / "loop.raw").symlink_to("loop.raw")
    (here / "inner.raw").symlink_to("below/voxels.raw")
    for number in range(2):
        (here / f"away{number}.raw").symlink_to(tmp_path / "secret.raw")
    return here


LEGAL = ["voxels.raw", "./voxels.raw", "below/voxels.raw", "two words.raw", "é.raw", "inner.raw"]
META_LEGAL = [
    *(f"ElementDataFile = {name}\n" for name in LEGAL),
    "ElementDataFile = voxels.raw",
    "  ElementDataFile  =\tvoxels.raw \r\n",
    "ElementDataFile:voxels.raw\n",
    "Comment =\nElementDataFile = voxels.raw\n",
    "ElementToIntensityFunctionSlope = 1\nElementDataFile = voxels.raw\n",
    "ElementToIntensityFunctionOffset = 0\nElementDataFile = voxels.raw\n",
    "ElementDataFile = LIST\npart0.raw\npart1.raw\n",
    "ElementDataFile = LIST\nbelow/part0.raw\nbelow/part1.raw\n",
    "ElementDataFile = LIST 2D\npart0.raw\npart1.raw\n",
    "ElementDataFile = LIST 2\npart0.raw\npart1.raw\n\n",
    "ElementDataFile = part%d.raw 0 1 1\n",
    "ElementDataFile = part%03d.raw 0 1 1\n",
    "ElementDataFile = below/part%d.raw 0 1 1\n",
]
NRRD_LEGAL = [
    *(f"data file: {name}\n" for name in LEGAL),
    "datafile: voxels.raw\r\n",
    "DATA FILE: voxels.raw\n",
    "# data file: ../secret.raw\nkey:=../secret.raw\ndata file: voxels.raw\n\n",
    "data file: LIST\npart0.raw\npart1.raw\n",
    "data file: LIST 2\nbelow/part0.raw\nbelow/part1.raw\n",
    "data file: LIST 3\nvoxels.raw\n",
    "data file: part%d.raw 0 1 1\n",
    "data file: part%03d.raw 0 1 1 2\n",
]
BAD = [
    "../secret.raw",
    "below/../../secret.raw",
    "{}/secret.raw",
    "{}/study/voxels.raw",  # absolute, even where it leads back
    "/etc/hostname",
    "..\\secret.raw",
    "C:\\secret.raw",
    "C:secret.raw",
    "~/secret.raw",
    "link.raw",
    "out/secret.raw",
    "loop.raw",
]
META_BAD = [
    *(f"ElementDataFile = {name}\n" for name in BAD),
    "ElementDataFile = \n",
    "ElementDataFile = squeezed.raw\n",
    "ElementDataFile:../secret.raw\n",
    "\t ElementDataFile \t= ../secret.raw \r\n",
    "elementdatafile = LOCAL\nElementDataFile = ../secret.raw\n",
    "elementdatafile = voxels.raw\n",
    "Element Data File = voxels.raw\n",
    "ElementDataFile\n= ../secret.raw\n",
    "ElementDataFile = voxels.raw\nElementDataFile = ../secret.raw\n",
    "ElementDataFile = LOCAL\nElementDataFile = ../secret.raw\n",
    "Color = 1 1 1\nElementDataFile = LOCAL\nElementDataFile = ../secret.raw\n",
    "Color = 1 1 1\nElementDataFile = voxels.raw\n",
    "ID =\nElementDataFile = voxels.raw\n",
    "NDims = 2\nElementDataFile = voxels.raw\n",
    "ElementToIntensityFunctionSlope = 1 1\nElementDataFile = voxels.raw\n",
    "Comment\nElementDataFile = voxels.raw\n",
    "Comment = \0\nElementDataFile = voxels.raw\n",
    "ElementDataFile = LOCAL\0../secret.raw\n",
    "ElementDataFile = LIST\npart0.raw\n../secret.raw\n",
    "ElementDataFile = LIST\npart0.raw\n{}/secret.raw\n",
    "ElementDataFile = LIST\npart0.raw\nlink.raw\n",
    "ElementDataFile = LIST\n\npart0.raw\npart1.raw\n",
    "ElementDataFile = LIST\npart0.raw\n",
    "ElementDataFile = LIST\npart0.raw\npart1.raw",
    "ElementDataFile = LIST 3D\nvoxels.raw\n",
    "ElementDataFile = LIST 0D\n" + "part0.raw\n" * 24,
    "ElementDataFile = LIST 3D ../secret.raw\nvoxels.raw\n",
    "ElementDataFile = LISTED\npart0.raw\npart1.raw\n",
    "ElementDataFile = ../secret%d.raw 0 1 1\n",
    "ElementDataFile = out/part%d.raw 0 1 1\n",
    "ElementDataFile = away%d.raw 0 1 1\n",
    "ElementDataFile = {}/study/part%d.raw 0 1 1\n",
    "ElementDataFile = part%s.raw 0 1 1\n",
    "ElementDataFile = part%d%n.raw 0 1 1\n",
    "ElementDataFile = part%99999d.raw 0 1 1\n",
    "ElementDataFile = part%d.raw 0 1\n",
    "ElementDataFile = part%d.raw\n",
    "ElementDataFile = part%d.raw 0 1 0\n",
    "ElementDataFile = part%d.raw 0 999999999 1\n",
    "ElementDataFile = part%d.raw 0 0 1\n",
    "Comment = " + "x" * 2**20 + "\nElementDataFile = voxels.raw\n",
]
NRRD_BAD = [
    *(f"data file: {name}\n" for name in BAD),
    "datafile: ../secret.raw\n",
    "DataFile: ../secret.raw\r\n",
    "data file:  ../secret.raw\n",
    "data  file: voxels.raw\n",
    " data file: voxels.raw\n",
    "data file:voxels.raw\n",
    "data file: -\n",
    "key:=value\rdata file: ../secret.raw\n",
    "data file: voxels.raw\ndata file: ../secret.raw\n",
    "data file: two  words.raw\n",
    "data file: voxels.raw \n",
    "data file: LIST\npart0.raw\n../secret.raw\n",
    "data file: LIST\npart0.raw\nlink.raw\n",
    "data file: LIST 3\n{}/secret.raw\n",
    "data file: LIST x\nvoxels.raw\n",
    "data file: ../secret%d.raw 0 1 1\n",
    "data file: away%d.raw 0 1 1\n",
    "data file: part%d%s.raw 0 1 1\n",
    "data file: part%999d.raw 0 1 1\n",
    "content: " + "x" * 2**20 + "\ndata file: voxels.raw\n",
]

WAYS = {
    "ScanReader": lambda path: ScanReader().read(path),
    "in memory": lambda path: LoadImageOrSeriesd("image")({"image": str(path)}),
    "load_image": load_image,
    "streamed": Volume,
    "opened": open_image,
    "for training": read_packed,
    "preview": lambda path: read_preview(str(path)),
}


def write(folder, name, text):
    """Write a header, with the folder beside it put in."""
    path = folder / name
    path.write_bytes(text.replace("{}", str(folder.parent)).encode())
    return path


def assert_read(path):
    np.testing.assert_array_equal(load_image(path), VOXELS)
    np.testing.assert_array_equal(open_image(path).whole(), VOXELS)
    assert find_images(path) == [str(path)]


@pytest.mark.parametrize("tail", META_LEGAL)
@pytest.mark.parametrize("name", ["scan.mhd", "scan.mha", "SCAN.MHD"])
def test_meta_images_of_their_own_folder_are_read(folder, name, tail):
    """In memory and in parts, with the right voxels."""
    assert_read(write(folder, name, META + tail))


@pytest.mark.parametrize("tail", NRRD_LEGAL)
def test_nrrds_of_their_own_folder_are_read(folder, tail):
    assert_read(write(folder, "scan.nrrd", NRRD + tail))


@pytest.mark.parametrize("word", ["LOCAL", "Local", "local"])
def test_voxels_behind_the_header_are_read(folder, word):
    for name, text in (("a.mha", META + f"ElementDataFile = {word}\n"), ("a.nrrd", NRRD + "\n")):
        path = folder / name
        path.write_bytes(text.encode() + RAW)
        assert_read(path)


@pytest.mark.parametrize(
    ("name", "text"),
    [("scan.mhd", META + tail) for tail in META_BAD]
    + [("scan.MHA", META + "ElementDataFile = ../secret.raw\n")]
    + [("scan.nrrd", NRRD + tail) for tail in NRRD_BAD],
)
def test_what_leads_elsewhere_is_refused(folder, name, text):
    """In one line that names the file and the way out."""
    path = write(folder, name, text)
    with pytest.raises(ValueError, match=r"scan.*Only files in the folder of the header or below are .*\.$") as told:
        check_references(path)
    assert "\n" not in str(told.value) and len(str(told.value)) < 600
    assert re.search(r"its (header|header line|data ?file|ElementDataFile|[A-Z][A-Za-z]+) '", str(told.value), re.I)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", ["scan.mhd", "scan.nrrd"])
def test_every_way_of_reading_refuses(folder, way, name):
    """Opening does; a folder that holds one such image among others is read on."""
    key = "data file:" if name.endswith("nrrd") else "ElementDataFile ="
    path = write(folder, name, (NRRD if name.endswith("nrrd") else META) + f"{key} ../secret.raw\n")
    with pytest.raises(ValueError, match=rf"{name}.*\.\./secret\.raw.*leads out"):
        WAYS[way](path)
    assert str(path) in find_images(folder)


@pytest.mark.parametrize("name", ["scan.mhd", "scan.nrrd"])
def test_the_files_that_a_header_names_count_for_what_is_the_same(folder, name):
    """A run that resumes, or skips what is done, sees that the voxels were changed in place."""
    key = "data file:" if name.endswith("nrrd") else "ElementDataFile ="
    path = write(folder, name, (NRRD if name.endswith("nrrd") else META) + f"{key} voxels.raw\n")
    assert files_of(path) == [path, folder / "voxels.raw"]
    before = fingerprint(path, files_of(path)), content_hash(path)
    voxels = (folder / "voxels.raw").read_bytes()
    (folder / "voxels.raw").write_bytes(voxels[::-1])
    os.utime(folder / "voxels.raw", (1, 1))
    after = fingerprint(path, files_of(path)), content_hash(path)
    assert before[0] != after[0] and before[1] != after[1]
    (folder / "voxels.raw").unlink()
    assert files_of(path) == [path]  # refused when it is opened


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_nothing_but_the_header_is_opened(folder, monkeypatch):
    """A file that cannot be opened twice: neither Python nor ITK opens the secret."""
    (folder.parent / "secret.raw").unlink()
    os.mkfifo(folder.parent / "secret.raw")  # whoever opens it waits for ever
    opened = []

    def watched(file, *args, **kwargs):
        opened.append(str(file))
        return real(file, *args, **kwargs)

    real = builtins.open
    monkeypatch.setattr(io, "open", watched)
    for path in (
        write(folder, "scan.mhd", META + "ElementDataFile = ../secret.raw\n"),
        write(folder, "scan.nrrd", NRRD + "data file: link.raw\n"),
    ):
        for way in WAYS.values():
            with pytest.raises(ValueError, match="leads out"):
                way(path)
    assert {name for name in opened if "secret" in name or "link" in name} == set()


def test_a_missing_file_is_told(folder):
    path = write(folder, "scan.mhd", META + "ElementDataFile = gone.raw\n")
    with pytest.raises(FileNotFoundError, match=r"scan\.mhd.*ElementDataFile names 'gone\.raw', which is not a file"):
        load_image(path)


@pytest.mark.parametrize("name", ["scan.nhdr", "scan.hdr", "scan.img"])
def test_other_detached_headers_are_not_images(folder, name):
    path = write(folder, name, NRRD + "data file: voxels.raw\n")
    with pytest.raises(FileNotFoundError, match="is not an image"):
        find_images(path)
    with pytest.raises(ValueError, match="of no known format"):
        load_image(path)
    with pytest.raises(ValueError, match="of no known format"):
        Volume(path)


@pytest.mark.parametrize("name", ["scan.nii", "scan.nrrd", "scan.mha", "scan.tif", "scan.png"])
def test_the_suffix_decides_on_the_reader(folder, name):
    """Bytes of another format that ITK, nibabel or Pillow would know and that may lead elsewhere are not tried."""
    (folder / name).write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 4 4\n%%EndComments\n")
    with pytest.raises(Exception) as told:
        load_image(folder / name)
    assert not isinstance(told.value, FileNotFoundError)
    itk.imwrite(itk.image_from_array(np.asarray(VOXELS[..., 0])), str(folder / "other.hdf5"))
    (folder / "other.hdf5").rename(folder / name)
    with pytest.raises(Exception) as told:
        load_image(folder / name)
    with pytest.raises(Exception) as told:
        open_image(folder / name).whole()


# Folders


def test_a_dicomdir_is_not_followed(tmp_path):
    """The index of a disc names files as well; by itself it is not an image, and beside a series it is not a slice."""
    volume = hounsfield(SHAPE)
    write_series(tmp_path / "disc" / "SECRET", volume // 2)
    write_series(tmp_path / "disc", volume)
    index = dataset(tmp_path / "disc" / "DICOMDIR", "1.2.3.8", MediaStorageDirectoryStorage)
    record = Dataset()
    record.DirectoryRecordType = "IMAGE"
    record.ReferencedFileID = ["SECRET", "1"]
    index.DirectoryRecordSequence = [record]
    index.save_as(tmp_path / "disc" / "DICOMDIR")
    for way in (load_image, Volume):
        with pytest.raises(ValueError, match="holds no pixels"):
            way(tmp_path / "disc" / "DICOMDIR")
    np.testing.assert_array_equal(load_image(tmp_path / "disc"), volume)


ELSEWHERE = [
    *("../secret.zarr/0", "/secret.zarr/0", "{}/secret.zarr/0", "0/../../secret.zarr/0", "..\\secret.zarr\\0"),
    *("file:///0", "", ".", 0),
]


@pytest.fixture
def zarr_folder(tmp_path):
    pytest.importorskip("zarr")
    for name in ("secret.zarr", "scan.zarr"):
        with create_image(tmp_path / name, held(VOXELS, np.eye(4)), np.int16) as write:
            write(tuple(slice(0, side) for side in SHAPE), VOXELS)
    return tmp_path / "scan.zarr"


@pytest.mark.skipif(sys.version_info < (3, 11), reason="zarr 3 needs Python 3.11")
@pytest.mark.parametrize("name", ELSEWHERE)
def test_a_scale_elsewhere_is_refused(zarr_folder, name):
    noted = json.loads((zarr_folder / "zarr.json").read_text())
    name = name.replace("{}", str(zarr_folder.parent)) if isinstance(name, str) else name
    noted["attributes"]["ome"]["multiscales"][0]["datasets"][0]["path"] = name
    (zarr_folder / "zarr.json").write_text(json.dumps(noted))
    for way in (load_image, Volume, open_image):
        with pytest.raises(ValueError, match=r"scan\.zarr.*of its multiscales is not that of an array in the group"):
            way(zarr_folder)


@pytest.mark.skipif(sys.version_info < (3, 11), reason="zarr 3 needs Python 3.11")
@pytest.mark.parametrize("place", ["0", "0/zarr.json", "0/c", "0/c/0/0/0", "zarr.json"])
def test_links_out_of_a_zarr_folder_are_refused(zarr_folder, place):
    """Within the folder they are followed."""
    inside = zarr_folder / place
    inside.rename(inside.with_name(f"kept_{inside.name}"))
    inside.symlink_to(inside.with_name(f"kept_{inside.name}").name)
    np.testing.assert_array_equal(load_image(zarr_folder), VOXELS)
    inside.unlink()
    inside.symlink_to(zarr_folder.parent / "secret.zarr" / place)
    for way in (load_image, Volume, open_image):
        with pytest.raises(ValueError, match=r"scan\.zarr.*symbolic link that leads out"):
            way(zarr_folder)


def test_a_linked_image_is_the_users_own_choice(folder):
    """What is given by its name may be a link; only what a header names may not lead out."""
    (folder.parent / "linked.png").symlink_to(folder / "photo.png")
    Image.fromarray(VOXELS[..., 0].astype(np.uint8).T).save(folder / "photo.png")
    np.testing.assert_array_equal(load_image(folder.parent / "linked.png"), VOXELS[..., 0])
