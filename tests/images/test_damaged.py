"""What `benchmarks/fuzz.py` has found: damage that a library passes over, or tells otherwise, is told in one line."""

import gzip
import json
import struct
import zlib

import itk
import nibabel
import numpy as np
import pydicom
import pytest
from PIL import Image

from bundle.images import ImageError, open_image
from bundle.images.packed import BLOCK, unpacked
from tests.dicom_series import hounsfield, write_series
from tests.images.ways import both_ways, through

VOXELS = hounsfield((9, 8, 7))
PACKED = [".mha", ".mhd", ".nrrd", ".nhdr.nrrd"]


def write_packed(folder, end, voxels=VOXELS):
    """A compressed image; returns its file, and the file and first byte of its compressed voxels."""
    folder.mkdir(exist_ok=True)
    path = folder / f"scan{end}"
    itk.imwrite(itk.image_from_array(np.ascontiguousarray(voxels.T)), str(path), compression=True)
    data = path.read_bytes()
    if end == ".mhd":
        return path, folder / "scan.zraw", 0
    if end == ".mha":
        return path, path, data.index(b"LOCAL\n") + 6
    start = data.index(b"\n\n") + 2
    if end == ".nhdr.nrrd":  # the voxels in a file of their own
        (folder / "scan.gz").write_bytes(data[start:])
        path.write_bytes(data[: start - 1] + b"data file: scan.gz\n\n")
        return path, folder / "scan.gz", 0
    return path, path, start


@both_ways
@pytest.mark.parametrize("end", PACKED)
def test_compressed_voxels_are_read(tmp_path, end, streaming):
    path = write_packed(tmp_path / "in", end)[0]
    made = through(path, tmp_path / "out", streaming, output_ext=".nii")
    np.testing.assert_array_equal(open_image(made).whole(), VOXELS)


@pytest.mark.parametrize("length", [31, 32, 64, 1000])
def test_a_line_of_a_header_may_have_any_length(tmp_path, length):
    path = write_packed(tmp_path, ".nrrd")[0]
    first, rest = path.read_bytes().split(b"\n", 1)
    path.write_bytes(first + b"\n#" + b"x" * (length - 1) + b"\n" + rest)
    np.testing.assert_array_equal(open_image(path).whole(), VOXELS)


@pytest.mark.parametrize("end", PACKED)
@pytest.mark.parametrize("damage", ["flipped", "checksum", "cut", "more", "fewer"])
def test_damaged_compressed_voxels_are_refused(tmp_path, end, damage):
    """ITK's MetaImage gives what it has unpacked until then, and takes what memory held before for the rest."""
    path, file, start = write_packed(tmp_path, end)
    data = file.read_bytes()
    packed, size = data[start:], VOXELS.nbytes
    middle = len(packed) // 2
    voxels = VOXELS.tobytes("F")
    pack = zlib.compress if end.startswith(".m") else gzip.compress
    packed = {
        "flipped": packed[:middle] + bytes([packed[middle] ^ 16]) + packed[middle + 1 :],
        "checksum": packed[:-5] + bytes([packed[-5] ^ 1]) + packed[-4:],
        "cut": packed[:-9],
        "more": pack(voxels + bytes(2)),
        "fewer": pack(voxels[:-2]),
    }[damage]
    file.write_bytes(data[:start] + packed)
    if end.startswith(".m"):
        head, key, tail = path.read_bytes().partition(b"CompressedDataSize = ")
        path.write_bytes(head + key + str(len(packed)).encode() + tail[tail.index(b"\n") :])
    with pytest.raises(ImageError, match=f"{path.name}' is .*damaged: its compressed voxels .*fetch it again") as error:
        open_image(path).whole()
    if damage == "fewer":
        assert f"{size - 2} of {size} bytes" in str(error.value)


@pytest.mark.parametrize("size", ["255", "0"])
@pytest.mark.parametrize("end", [".mha", ".mhd"])
def test_a_metaimage_that_tells_another_size_of_its_compressed_voxels_is_refused(tmp_path, end, size):
    path, _, _ = write_packed(tmp_path, end)
    lines = path.read_bytes().split(b"\n")
    (at,) = [i for i, line in enumerate(lines) if line.startswith(b"CompressedDataSize")]
    lines[at] = f"CompressedDataSize = {size}".encode()
    path.write_bytes(b"\n".join(lines))
    with pytest.raises(ImageError, match=rf"scan\{end}' (is damaged: its|: its)? ?CompressedDataSize"):
        open_image(path).whole()


def test_a_stream_of_several_gzip_members_is_whole(tmp_path):
    path, file, start = write_packed(tmp_path, ".nrrd")
    raw, head = VOXELS.tobytes("F"), file.read_bytes()[:start]
    path.write_bytes(head + gzip.compress(raw))
    np.testing.assert_array_equal(open_image(path).whole(), VOXELS)
    path.write_bytes(head + gzip.compress(raw) + gzip.compress(b"12"))
    with pytest.raises(ImageError, match="damaged"):
        open_image(path).whole()


@pytest.mark.parametrize("form", ["mgh", "mha", "zarr"])
@pytest.mark.parametrize("value", ["nan", "flat"])
def test_an_affine_that_is_no_place_is_refused(tmp_path, form, value):
    """Before, nibabel's orientation or NumPy's SVD failed later, and named no file."""
    path = tmp_path / f"scan.{form}"
    if form == "mgh":
        nibabel.MGHImage(VOXELS, np.eye(4)).to_filename(path)
        data = bytearray(path.read_bytes())
        struct.pack_into(">3f", data, 30 + 12, *([np.nan] * 3 if value == "nan" else [0] * 3))  # the first direction
        path.write_bytes(data)
    elif form == "mha":
        itk.imwrite(itk.image_from_array(VOXELS), str(path))
        new = b"1e999 1 1" if value == "nan" else b"0 1 1"
        path.write_bytes(path.read_bytes().replace(b"ElementSpacing = 1 1 1", b"ElementSpacing = " + new))
    else:
        zarr = pytest.importorskip("zarr", minversion="3")
        group = zarr.open_group(store=str(path), mode="w")
        group.create_array("0", shape=(7, 8, 9), dtype="i2")
        group.attrs["multiscales"] = [{"datasets": [{"path": "0"}], "axes": ["z", "y", "x"]}]
        affine = np.diag([1.0, 1, 0 if value == "flat" else 1, 1])
        group.attrs["affine"] = [["NaN"] * 4] * 4 if value == "nan" else affine.tolist()
    with pytest.raises(ValueError, match=f"scan.{form}") as error:
        open_image(path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("sizes", ["0 8 7", "9 8 0"])
def test_an_image_without_voxels_is_refused(tmp_path, sizes):
    path = tmp_path / "scan.nrrd"
    path.write_bytes(f"NRRD0004\ntype: short\ndimension: 3\nsizes: {sizes}\nencoding: raw\nendian: little\n\n".encode())
    with pytest.raises(ImageError, match=r"scan.nrrd"):
        open_image(path)


def test_a_png_whose_header_is_short_is_named(tmp_path):
    chunk = b"IHDR" + bytes(6)
    path = tmp_path / "photo.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + struct.pack(">L", 6) + chunk + struct.pack(">L", zlib.crc32(chunk)))
    with pytest.raises(ImageError, match=r"photo\.png.*Truncated IHDR"):
        open_image(path)


def test_a_tiff_without_dimensions_is_named(tmp_path):
    path = tmp_path / "photo.tif"
    Image.fromarray(np.zeros((5, 6), np.uint8)).save(path)
    data = path.read_bytes()
    path.write_bytes(data.replace(struct.pack("<HH", 256, 4), struct.pack("<HH", 255, 4)))
    assert path.read_bytes() != data
    with pytest.raises(ImageError, match=r"photo\.tif"):
        open_image(path)


@pytest.mark.parametrize(
    "change",
    [
        {"multiscales": [{"datasets": [{}]}]},
        {"multiscales": [{"datasets": [{"path": "0", "coordinateTransformations": [3]}]}]},
        {"multiscales": [{"datasets": [{"path": "0", "coordinateTransformations": [{"type": "scale", "scale": {}}]}]}]},
        {"multiscales": [{"datasets": [{"path": "0"}], "axes": [{}, {}, {}]}]},
        {"multiscales": [{"datasets": [{"path": "0"}], "axes": [{"name": n, "unit": []} for n in "zyx"]}]},
        {"multiscales": [{"datasets": [{"path": "inner"}]}]},
        {"affine": "x"},
        {"affine": [1, 2]},
        {"affine": {}},
    ],
)
def test_odd_json_of_zarr_is_named(tmp_path, change):
    zarr = pytest.importorskip("zarr", minversion="3")
    path = tmp_path / "scan.zarr"
    group = zarr.open_group(store=str(path), mode="w", zarr_format=3)
    group.create_array("0", shape=(7, 8, 9), dtype="i2")
    group.create_group("inner")
    group.attrs["multiscales"] = [{"datasets": [{"path": "0"}], "axes": ["z", "y", "x"]}]
    assert open_image(path).shape == (9, 8, 7)
    header = json.loads((path / "zarr.json").read_text())
    header["attributes"].update(change)
    (path / "zarr.json").write_text(json.dumps(header))
    with pytest.raises(ImageError, match=r"scan\.zarr") as error:
        open_image(path)
    assert "\n" not in str(error.value)


def test_a_description_of_several_lines_is_told_in_one(tmp_path):
    write_series(tmp_path, VOXELS)
    for file in write_series(tmp_path, VOXELS, series="1.2.3.5"):
        header = pydicom.dcmread(file)
        header.SeriesDescription = "a\nb"
        header.save_as(file)
    with pytest.raises(ImageError, match=r"'a\\nb'") as error:
        open_image(tmp_path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("more", [-1, 0, 1])
def test_voxels_of_several_blocks_are_counted_to_the_last(tmp_path, more):
    path, size = tmp_path / "scan.bin", 5 * BLOCK + 77
    noise = np.random.default_rng(0).integers(0, 256, 3 * BLOCK, np.uint8).tobytes()
    whole = noise + bytes(size - len(noise) + more)
    path.write_bytes(b"head" + zlib.compress(whole))
    packed = path.stat().st_size - 4
    if more:
        with pytest.raises(ImageError, match="damaged"):
            list(unpacked(path, path, 4, size))
        return
    blocks = list(unpacked(path, path, 4, size))
    assert b"".join(blocks) == whole == b"".join(unpacked(path, path, 4, size, packed))
    assert max(map(len, blocks)) == BLOCK
    with path.open("ab") as file:
        file.write(b"more")
    assert b"".join(unpacked(path, path, 4, size)) == whole
    for told in (packed - 1, packed + 1):
        with pytest.raises(ImageError, match=f"CompressedDataSize is {told}, and its .* are {packed} bytes"):
            list(unpacked(path, path, 4, size, told))
    path.write_bytes(path.read_bytes()[: packed + 3])
    with pytest.raises(ImageError, match="without an end"):
        list(unpacked(path, path, 4, size))


@pytest.mark.parametrize("value", ["False", "rMSB = False", ""])
def test_a_metaimage_of_text_is_refused_before_itk_reads_it(tmp_path, value):
    """ITK writes beyond the memory of its voxels, and another image that is read later ends the process."""
    path = tmp_path / "scan.mha"
    itk.imwrite(itk.image_from_array(VOXELS), str(path))
    path.write_bytes(path.read_bytes().replace(b"BinaryData = True", f"BinaryData = {value}".encode()))
    with pytest.raises(ImageError, match=r"scan\.mha' has voxels as text"):
        open_image(path)
