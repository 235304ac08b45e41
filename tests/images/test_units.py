"""Units of length that a file names are heeded, in every format that has them."""

import sys

import nibabel
import numpy as np
import pytest

from bundle.images import ImageError, open_image
from tests.images.ways import through

VOXELS = np.random.default_rng(0).integers(-1000, 1000, (6, 5, 4), dtype=np.int16)
UNITS = {"mm": 1.0, "um": 1e-3, "cm": 10.0, "m": 1e3, "": 1.0}


def nrrd(path, units):
    fields = f"space units: {' '.join(chr(34) + unit + chr(34) for unit in units)}\n" if any(units) else ""
    header = (
        "NRRD0004\ntype: short\ndimension: 3\nspace: left-posterior-superior\nsizes: 6 5 4\nencoding: raw\n"
        f"endian: little\nspace directions: (2,0,0) (0,3,0) (0,0,4)\nspace origin: (10,0,0)\n{fields}\n"
    )
    path.write_bytes(header.encode() + VOXELS.tobytes("F"))
    return path


def metaimage(path, units):
    header = (
        "ObjectType = Image\nNDims = 3\nBinaryData = True\nBinaryDataByteOrderMSB = False\nOffset = 10 0 0\n"
        f"ElementSpacing = 2 3 4\nDimSize = 6 5 4\n{f'DistanceUnits = {units[0]}' if units[0] else 'ID = 1'}\n"
        "ElementType = MET_SHORT\nElementDataFile = LOCAL\n"
    )
    path.write_bytes(header.encode() + VOXELS.tobytes("F"))
    return path


WAYS = {"a.nrrd": nrrd, "a.mha": metaimage}


@pytest.mark.parametrize("name", WAYS)
@pytest.mark.parametrize("unit", UNITS)
def test_a_unit_becomes_mm(tmp_path, name, unit):
    opened = open_image(WAYS[name](tmp_path / name, [unit] * 3))
    np.testing.assert_allclose(opened.spacing, np.array([2, 3, 4]) * UNITS[unit])
    assert abs(opened.affine[0, 3]) == pytest.approx(10 * UNITS[unit])
    for streaming in (False, *[True] * (sys.version_info >= (3, 11))):
        made = open_image(through(opened.path, tmp_path / "out", streaming))
        np.testing.assert_allclose(made.affine, opened.affine)
        np.testing.assert_array_equal(made.whole(), VOXELS)


@pytest.mark.parametrize("name", WAYS)
def test_what_is_no_length_is_refused(tmp_path, name):
    with pytest.raises(ImageError, match="unit of space 'HU', which is not one of length"):
        open_image(WAYS[name](tmp_path / name, ["HU"] * 3))


def test_axes_in_different_units_are_refused(tmp_path):
    with pytest.raises(ImageError, match="different units, mm, mm, um"):
        open_image(nrrd(tmp_path / "a.nrrd", ["mm", "mm", "um"]))


@pytest.mark.parametrize(
    ("unit", "size"), [("centimeter", 10.0), ("nanometer", 1e-6), ("inch", 25.4), ("micrometer", 1e-3), (None, 1.0)]
)
def test_a_zarr_has_many_units(tmp_path, unit, size):
    zarr = pytest.importorskip("zarr", minversion="3", reason="zarr 3 needs Python 3.11")
    group = zarr.open_group(str(tmp_path / "a.ome.zarr"), mode="w", zarr_format=2)
    group.create_array("0", shape=(4, 5, 6), dtype="i2")[:] = VOXELS.T
    axes = [{"name": name, "type": "space", **({"unit": unit} if unit else {})} for name in "zyx"]
    steps = [{"type": "scale", "scale": [4, 3, 2]}]
    group.attrs["multiscales"] = [
        {"version": "0.4", "axes": axes, "datasets": [{"path": "0", "coordinateTransformations": steps}]}
    ]
    opened = open_image(tmp_path / "a.ome.zarr")
    np.testing.assert_allclose(opened.spacing, np.array([2, 3, 4]) * size)


def test_a_unit_of_time_that_is_unknown_does_not_hide_that_of_space(tmp_path):
    image = nibabel.Nifti1Image(VOXELS, np.diag([2000, 3000, 4000, 1]))
    image.header["xyzt_units"] = 3 + 56  # micron, and no unit of time
    nibabel.save(image, tmp_path / "a.nii")
    np.testing.assert_allclose(open_image(tmp_path / "a.nii").spacing, [2, 3, 4])


@pytest.mark.parametrize("kind", ["i1", "u4", "i4", "i8", "u8", ">i4"])
def test_types_that_itk_does_not_read_in_parts(tmp_path, kind):
    """A MetaImage is read all the same, in its own header's file or in another."""
    names = {"i1": "CHAR", "u4": "UINT", "i4": "INT", "i8": "LONG_LONG", "u8": "ULONG_LONG"}
    voxels = np.abs(VOXELS // 10).astype(kind)
    header = (
        f"ObjectType = Image\nNDims = 3\nBinaryData = True\nBinaryDataByteOrderMSB = {kind.startswith('>')}\n"
        f"ElementSpacing = 2 3 4\nDimSize = 6 5 4\nElementType = MET_{names[kind.strip('>')]}\nElementDataFile = "
    ).encode()
    (tmp_path / "a.mha").write_bytes(header + b"LOCAL\n" + voxels.tobytes("F"))
    (tmp_path / "b.mhd").write_bytes(header + b"b.raw\n")
    (tmp_path / "b.raw").write_bytes(voxels.tobytes("F"))
    for name in ("a.mha", "b.mhd"):
        opened = open_image(tmp_path / name)
        np.testing.assert_array_equal(opened[1:4, 0:5, 2:3], voxels[1:4, 0:5, 2:3])
        assert opened.whole().dtype.isnative and opened.dtype == kind.strip(">")


def test_a_nrrd_of_64_bits_is_refused_in_one_line(tmp_path):
    path = nrrd(tmp_path / "a.nrrd", [""])
    content = path.read_bytes().replace(b"type: short", b"type: longlong", 1)
    path.write_bytes(content[: content.index(b"\n\n") + 2] + VOXELS.astype("<i8").tobytes("F"))
    with pytest.raises(ImageError, match="voxels of int64, which ITK does not read"):
        open_image(path)
