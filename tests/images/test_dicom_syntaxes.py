"""Compressed pixels are read voxel by voxel as they were, or refused; what was cut off is not filled up."""

import base64
import io
import struct

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.encaps import encapsulate
from pydicom.uid import MPEG2MPML, JPEG2000Lossless, JPEGBaseline8Bit, JPEGLSLossless, RLELossless

from bundle.images import ImageError, open_image
from bundle.images.codestreams import Grid, fragments, grid_of
from bundle.images.dicom_rle import decode_rle
from bundle.images.reader import load_image
from bundle.runtime.errors import last_line
from tests.dicom_series import write_series
from tests.dicom_syntaxes import CODE_STREAMS, RAMP, TRANSFER_SYNTAXES, encode
from tests.images.ways import both_ways, through
from tests.xray_files import write_xray

#: What encodes a transfer syntax besides pydicom itself.
ENCODERS = {RLELossless: "pydicom", JPEGLSLossless: "jpeg_ls", JPEG2000Lossless: "openjpeg"}
#: Transfer syntaxes in fragments.
ENCAPSULATED = [syntax for syntax in TRANSFER_SYNTAXES if syntax.is_compressed and syntax.is_encapsulated]


def stored(shape, bits, signed):
    """Values of a depth, the lowest and the highest among them; smooth, and with noise."""
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    rng = np.random.default_rng(bits)
    values = np.linspace(low, high, shape[0])[:, None] + rng.normal(0, (high - low) / 50, shape)
    values = values.round().clip(low, high).astype(int)
    values.flat[[0, -1]] = low, high
    return values


def write(folder, values, bits, signed):
    """Write a series of one slice of stored values, `(columns, rows)`, which are HU."""

    def edit(header, **_):
        header.BitsStored, header.HighBit, header.PixelRepresentation = bits, bits - 1, int(signed)
        header.RescaleIntercept = 0
        header.PixelData = values.T.astype("<i2" if signed else "<u2").tobytes()

    (file,) = write_series(folder, np.zeros((*values.shape, 1), np.int16), edit=edit)
    return file


def with_frame(file, *parts):
    """Put other fragments into a file."""
    header = pydicom.dcmread(file)
    header.PixelData = encapsulate(list(parts))
    header["PixelData"].is_undefined_length = True
    header.save_as(file)


def frame_of(file):
    return b"".join(fragments(pydicom.dcmread(file).PixelData))


# Exact


@pytest.mark.parametrize("syntax", ENCODERS, ids=lambda syntax: syntax.name)
@pytest.mark.parametrize("signed", [False, True], ids=["unsigned", "signed"])
@pytest.mark.parametrize("bits", [12, 16])
def test_every_value_comes_back(tmp_path, syntax, bits, signed):
    """Of a slice as large as noise needs to fill all bits; with the encoders that are installed."""
    pytest.importorskip(ENCODERS[syntax], reason=f"encoding needs the package of {ENCODERS[syntax]}")
    values = stored((64, 50), bits, signed)
    file = write(tmp_path, values, bits, signed)
    header = pydicom.dcmread(file)
    header.compress(syntax)
    header.save_as(file)
    np.testing.assert_array_equal(load_image(tmp_path)[..., 0], values)


@pytest.mark.parametrize("shape", [(1, 7), (7, 1), (300, 2)])
@pytest.mark.parametrize("runs", [True, False], ids=["runs", "no runs"])
def test_rle_of_any_shape(tmp_path, shape, runs):
    """Runs of up to 128 bytes, and none."""
    values = np.full(shape, 1000) if runs else np.arange(np.prod(shape)).reshape(shape) * 7 % 4096
    file = write(tmp_path, values, 12, False)
    header = pydicom.dcmread(file)
    header.compress(RLELossless)
    header.save_as(file)
    np.testing.assert_array_equal(load_image(tmp_path)[..., 0], values)


def test_rle_small():
    """One can see it: two segments, the high bytes first; a run of three, then one byte as it is."""
    head = np.array([2, 64, 68, *[0] * 13], "<u4").tobytes()
    frame = head + bytes([254, 1, 0, 2]) + bytes([3, 10, 11, 12, 13])
    assert decode_rle(frame, 4, 2).tolist() == [266, 267, 268, 525]


@pytest.mark.parametrize("syntax", [syntax for syntax in ENCAPSULATED if syntax != RLELossless])
def test_a_frame_may_lie_in_several_fragments(tmp_path, syntax):
    (file,) = write_series(tmp_path, RAMP)
    encode(file, syntax)
    frame = frame_of(file)
    with_frame(file, frame[:20], frame[20:60], frame[60:])
    np.testing.assert_array_equal(load_image(tmp_path), RAMP)


@pytest.mark.parametrize("syntax", CODE_STREAMS)
def test_a_code_stream_tells_its_grid(syntax):
    found = grid_of(base64.b64decode(CODE_STREAMS[syntax]))
    assert (found.rows, found.columns, found.channels) == (6, 8, 1) and found.bits in (10, 12, 16)
    assert found.signed in (None, False)
    with pytest.raises(ValueError, match=r"ends within its header|no JPEG"):
        grid_of(base64.b64decode(CODE_STREAMS[syntax])[:12])
    assert Grid(6, 8, 12) == Grid(6, 8, 12, None, 1)


def siz(right, down, left, top, depth):
    """The start of a JPEG 2000 of one channel: its area on the reference grid, and its sign and bits less one."""
    return struct.pack(">4sHH4L16xHB", b"\xff\x4f\xff\x51", 41, 0, right, down, left, top, 1, depth)


JP2 = b"\0\0\0\x0cjP  \r\n\x87\n" + b"\0\0\0\x14ftypjp2 \0\0\0\0jp2 " + b"\0\0\0\0jp2c"
LOSSLESS = base64.b64decode(CODE_STREAMS["1.2.840.10008.1.2.4.70"])


@pytest.mark.parametrize(
    ("frame", "grid"),
    [
        (siz(8, 6, 0, 0, 11), Grid(6, 8, 12, False)),
        (siz(10, 9, 2, 3, 143), Grid(6, 8, 16, True)),
        (siz(8, 6, 0, 0, 128), Grid(6, 8, 1, True)),
        (JP2 + siz(8, 6, 0, 0, 11), Grid(6, 8, 12, False)),
        (LOSSLESS[:2] + b"\xff" * 3 + LOSSLESS[2:], Grid(6, 8, 12)),
    ],
    ids=["plain", "off the origin, signed", "one bit, signed", "in a JP2 file", "fill bytes before a marker"],
)
def test_a_grid_one_can_see(frame, grid):
    assert grid_of(frame) == grid


def test_an_xray_of_jpeg_baseline_is_read(tmp_path):
    """The transfer syntax of 8 bits; blocks of one grey lose nothing but by rounding."""
    image = np.kron(np.array([[0, 60], [200, 255], [9, 120]]), np.ones((8, 8))).astype(np.uint8)
    file = write_xray(tmp_path / "a.dcm", image, bits=8)
    coded = io.BytesIO()
    Image.fromarray(image.T).save(coded, "JPEG", quality=100)
    header = pydicom.dcmread(file)
    header.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    header.PixelData = encapsulate([coded.getvalue()])
    header["PixelData"].is_undefined_length = True
    header.save_as(file)
    np.testing.assert_allclose(load_image(file), image, atol=1)


# Refused


@both_ways
@pytest.mark.parametrize("syntax", ENCAPSULATED, ids=lambda syntax: syntax.name)
@pytest.mark.parametrize("cut", [4, 10, 20, 40])
def test_a_code_stream_that_is_cut_is_told(tmp_path, streaming, syntax, cut):
    files = write_series(tmp_path / "ct", np.concatenate([RAMP] * 3, -1))
    for file in files:
        encode(tmp_path / "ct" / file, syntax)
    with_frame(tmp_path / "ct" / files[1], frame_of(tmp_path / "ct" / files[1])[:-cut])
    with pytest.raises((ImageError, RuntimeError)) as told:
        through(tmp_path / "ct", tmp_path / "out", streaming)
    line = last_line(told.value)
    assert files[1] in line and syntax.name in line and "cannot be decoded" in line
    assert not list((tmp_path / "out").glob("ct*"))


@pytest.mark.parametrize("syntax", ENCAPSULATED, ids=lambda syntax: syntax.name)
@pytest.mark.parametrize("cut", [6, 8, 12, 20, 40, 90])
def test_a_compressed_file_that_is_cut_is_told(tmp_path, syntax, cut):
    (file,) = write_series(tmp_path, RAMP)
    encode(file, syntax)
    (tmp_path / file).write_bytes((tmp_path / file).read_bytes()[:-cut])
    with pytest.raises(ImageError, match=rf"{file}.*cut short"):
        load_image(tmp_path)


@pytest.mark.parametrize("syntax", ENCAPSULATED, ids=lambda syntax: syntax.name)
@pytest.mark.parametrize(("keyword", "value"), [("Rows", 5), ("Rows", 7), ("Columns", 7), ("Rows", 65535)])
def test_a_header_of_another_size_is_told(tmp_path, syntax, keyword, value):
    """Before anything of that size is made."""
    (file,) = write_series(tmp_path, RAMP)
    encode(file, syntax)
    header = pydicom.dcmread(file)
    setattr(header, keyword, value)
    header.save_as(file)
    with pytest.raises(ImageError, match=rf"{file}.*cannot be decoded \((rows|columns|a segment)"):
        open_image(tmp_path)[:1, :1, :1]


@pytest.mark.parametrize("syntax", ENCAPSULATED, ids=lambda syntax: syntax.name)
def test_too_few_bits_are_told(tmp_path, syntax):
    """Decoders clear the others."""
    (file,) = write_series(tmp_path, RAMP)
    encode(file, syntax)
    header = pydicom.dcmread(file)
    header.BitsStored, header.HighBit = 8, 7
    header.save_as(file)
    with pytest.raises(ImageError, match=r"stores values up to 940; BitsStored 8 has to be enough"):
        load_image(tmp_path)


@pytest.mark.parametrize("syntax", ENCAPSULATED, ids=lambda syntax: syntax.name)
def test_more_frames_than_one_are_told(tmp_path, syntax):
    """Of which a decoder would take the first."""
    (file,) = write_series(tmp_path, RAMP)
    encode(file, syntax)
    with_frame(file, frame_of(file), frame_of(file))
    with pytest.raises(ImageError, match=r"there are 2 frames, and one is needed"):
        load_image(tmp_path)


JPEG_2000 = [syntax for syntax in ENCAPSULATED if "JPEG 2000" in syntax.name]


@pytest.mark.parametrize("syntax", JPEG_2000, ids=lambda syntax: syntax.name)
def test_signs_that_differ_are_told(tmp_path, syntax):
    """Of JPEG 2000, whose code stream tells; an unsigned one under a signed header is two's complement."""
    (file,) = write_series(tmp_path, RAMP, edit=lambda header, **_: setattr(header, "PixelRepresentation", 1))
    encode(file, syntax)
    np.testing.assert_array_equal(load_image(tmp_path), RAMP)
    header, frame = pydicom.dcmread(file), bytearray(frame_of(file))
    frame[42] |= 128
    header.PixelRepresentation = 0
    header.save_as(file)
    with_frame(file, bytes(frame))
    with pytest.raises(ImageError, match=r"signed in the code stream, and not in the header"):
        load_image(tmp_path)


@pytest.mark.parametrize("syntax", [s for s in ENCAPSULATED if s != RLELossless], ids=lambda syntax: syntax.name)
@pytest.mark.parametrize("fill", [b"\0", b"\xff", b"\0\0"])
def test_what_fills_up_the_length_does_not_matter(tmp_path, syntax, fill):
    (file,) = write_series(tmp_path, RAMP)
    encode(file, syntax)
    with_frame(file, frame_of(file) + fill)
    np.testing.assert_array_equal(load_image(tmp_path), RAMP)


@pytest.mark.parametrize(
    ("syntax", "name"),
    [
        ("1.2.840.10008.1.2.4.100", "MPEG2 Main Profile"),
        ("1.2.840.10008.1.2.4.94", "JPIP Referenced"),
        ("1.2.840.10008.1.2.4.110", ""),
        ("1.2.840.113619.5.2", r"1\.2\.840\.113619\.5\.2"),  # a maker's own
    ],
)
def test_what_cannot_be_decoded_is_named_with_what_can(tmp_path, syntax, name):
    """Also one that this pydicom does not know, under which it writes no file: its name is put over another's."""
    (file,) = write_series(tmp_path, RAMP)
    encode(file, MPEG2MPML)
    known, other = MPEG2MPML.encode() + b"\0", syntax.encode().ljust(len(MPEG2MPML) + 1, b"\0")
    (tmp_path / file).write_bytes((tmp_path / file).read_bytes().replace(known, other))
    with pytest.raises(ImageError, match=rf"{file}.*{name}.*\({syntax}\).*Explicit VR Little Endian.*install libgdcm"):
        load_image(tmp_path)


def test_bits_above_those_that_are_stored_may_hold_an_overlay(tmp_path):
    """If the header says so; it is cleared."""
    values = stored((9, 8), 12, False)

    def edit(header, **_):
        header.RescaleIntercept = 0
        header.PixelData = (values.T + 4096).astype("<u2").tobytes()
        header.add_new(0x60000102, "US", 12)

    write_series(tmp_path, np.zeros((9, 8, 1), np.int16), edit=edit)
    np.testing.assert_array_equal(load_image(tmp_path)[..., 0], values)
