"""What a header claims is compared with its files and the free memory, before any is taken for it."""

import gzip
import zlib

import nibabel
import numpy as np
import pytest
from PIL import Image

from bundle.images import claims, open_image
from bundle.images.image import ImageError

SIDES = (2000, 2000, 2000)
META = """ObjectType = Image
NDims = 3
BinaryData = True
BinaryDataByteOrderMSB = False
CompressedData = {packed}
TransformMatrix = 1 0 0 0 1 0 0 0 1
Offset = 0 0 0
CenterOfRotation = 0 0 0
ElementSpacing = 1 1 1
DimSize = 2000 2000 2000
ElementType = MET_SHORT
ElementDataFile = {file}
"""
NRRD = """NRRD0004
type: short
dimension: 3
space: left-posterior-superior
sizes: 2000 2000 2000
space directions: (1,0,0) (0,1,0) (0,0,1)
endian: little
encoding: {encoding}
space origin: (0,0,0)

"""
ZEROS = b"\0" * 600


def nifti():
    header = nibabel.Nifti1Header()
    header.set_data_shape(SIDES)
    header.set_data_dtype(np.int16)
    header["vox_offset"], header["magic"] = 352, header.single_magic
    return header.binaryblock + b"\0" * 4 + ZEROS


def mgh():
    header = nibabel.freesurfer.mghformat.MGHHeader()
    header.set_data_shape(SIDES)
    header.set_data_dtype(np.int16)
    return header.binaryblock + ZEROS


LIES = {
    "a.nii": nifti,
    "a.nii.gz": lambda: gzip.compress(nifti()),
    "a.mgz": lambda: gzip.compress(mgh()),
    "raw.mha": lambda: META.format(packed=False, file="LOCAL").encode() + ZEROS,
    "zip.mha": lambda: META.format(packed=True, file="LOCAL").encode() + zlib.compress(ZEROS),
    "raw.nrrd": lambda: NRRD.format(encoding="raw").encode() + ZEROS,
    "zip.nrrd": lambda: NRRD.format(encoding="gzip").encode() + gzip.compress(ZEROS),
}


@pytest.mark.parametrize("name", LIES)
def test_a_claim_beyond_the_file_is_refused(tmp_path, name):
    (tmp_path / name).write_bytes(LIES[name]())
    with pytest.raises(ImageError, match=rf"image '.*{name}' is cut short") as raised:
        open_image(tmp_path / name)
    assert "16000000" in str(raised.value) and "fetch it again" in str(raised.value)


def test_a_claim_is_compared_with_the_files_that_a_header_names(tmp_path):
    (tmp_path / "a.mhd").write_text(META.format(packed=False, file="a.raw"))
    (tmp_path / "a.raw").write_bytes(ZEROS)
    with pytest.raises(ImageError, match=r"a\.mhd' is cut short.* its 1 files have 600"):
        open_image(tmp_path / "a.mhd")
    full = META.format(packed=False, file="a.raw").replace("2000 2000 2000", "5 6 10")
    (tmp_path / "a.mhd").write_text(full)
    assert open_image(tmp_path / "a.mhd").whole().nbytes == 600


def test_what_is_compressed_as_well_as_can_be_is_read(tmp_path):
    voxels = np.zeros((256, 256, 64), np.int16)
    nibabel.Nifti1Image(voxels, np.eye(4)).to_filename(tmp_path / "a.nii.gz")
    packed = zlib.compress(voxels.tobytes(), 9)
    text = META.format(packed=True, file="LOCAL").replace("2000 2000 2000", "256 256 64")
    (tmp_path / "a.mha").write_bytes(text.encode() + packed)
    for name in ("a.nii.gz", "a.mha"):
        assert not open_image(tmp_path / name).whole().any()


@pytest.mark.parametrize("name", ["a.nrrd", "a.mha", "a.png"])
def test_what_is_read_whole_has_to_fit_into_memory(tmp_path, monkeypatch, name):
    sides = "64 64 64"
    if name == "a.png":
        Image.new("L", (512, 512)).save(tmp_path / name)
    elif name == "a.mha":
        text = META.format(packed=True, file="LOCAL").replace("2000 2000 2000", sides)
        (tmp_path / name).write_bytes(text.encode() + zlib.compress(bytes(2 * 64**3)))
    else:
        (tmp_path / name).write_bytes(NRRD.format(encoding="raw").replace("2000 2000 2000", sides).encode())
        with (tmp_path / name).open("ab") as file:
            file.write(bytes(2 * 64**3))
    assert not open_image(tmp_path / name).whole().any()
    monkeypatch.setattr(claims, "free_memory", lambda: 2**20 - 1)
    with pytest.raises(ImageError, match=rf"{name}' of .* voxels is read whole, which takes .* GiB are free; save it"):
        open_image(tmp_path / name).whole()


@pytest.mark.parametrize("size", [False, True])
@pytest.mark.parametrize("big", [False, True])
def test_a_compressed_metaimage_is_read_as_it_is_or_refused(tmp_path, size, big):
    """ITK makes other voxels of a damaged one, or of one that does not tell its size, without a word."""
    voxels = np.random.default_rng(0).integers(-1000, 1000, (24, 20, 16), np.int16)
    packed = zlib.compress(voxels.astype(">i2" if big else "<i2").tobytes("F"))
    text = META.format(packed=True, file="a.zraw").replace("2000 2000 2000", "24 20 16")
    text = text.replace("MSB = False", f"MSB = {big}")
    text = text.replace("ElementDataFile", f"CompressedDataSize = {len(packed)}\nElementDataFile") if size else text
    (tmp_path / "a.mhd").write_text(text)
    for wrong in (b"", packed[:-9], packed[:200] + b"\0" * 8 + packed[208:], zlib.compress(b"\0" * 100)):
        (tmp_path / "a.zraw").write_bytes(wrong or packed)
        (tmp_path / "a.mha").write_bytes(text.replace("a.zraw", "LOCAL").encode() + (wrong or packed))
        for name in ("a.mhd", "a.mha"):
            if not wrong:
                assert np.array_equal(open_image(tmp_path / name).whole(), voxels)
                continue
            with pytest.raises(ImageError, match=rf"{name}' is (damaged|cut short)"):
                open_image(tmp_path / name).whole()
